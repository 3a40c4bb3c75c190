"""The last word: the judges compare the winner with the default, and the winner becomes a recipe.

Choosing the best of many flatters it in the selector's eyes (the winner's curse), so its score there is no result.
The judges see other prompts from other seeds, the same for both, and what is told is the paired difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.generate import Prompt
from emoscene.evaluation.statistics import Difference, paired_difference
from emoscene.training import state
from emoscene.tuning import studies
from emoscene.tuning.objective import TuningObjective
from emoscene.tuning.selector import Observation
from emoscene.tuning.studies import FrozenTrial, Study


@dataclass(frozen=True)
class FinalEvaluation:
    """Who judges in the end, and what is painted for them."""

    judges: list[str]
    prompts: list[Prompt]
    seeds: list[int]


def conclude_study(bench: TuningObjective, study: Study, jury: FinalEvaluation, command: str) -> dict[str, Any]:
    """Have the winner and the default judged, write their difference and the recipes; returns the gist of it.

    Raises Failure where the default could not be tried, or no trial kept the floor.
    """
    done = studies.finished_trials(study)
    default = next((trial for trial in done if trial.params == bench.first and trial.values), None)
    if default is None:
        raise EmosceneError(
            "the default configuration failed, and there is nothing to compare with: fix others, or a lower lr="
        )
    best = studies.best_trial(study)
    if best is None:
        least, kept = bench.config.floor * study.user_attrs["content"], [t.user_attrs.get("content", 0.0) for t in done]
        raise EmosceneError(
            f"no trial keeps a content of {least:.3f}, the best has {max(kept):.3f}: give a lower floor="
        )
    folders = [judge_trial(bench, trial, jury) for trial in (best, default)]
    differences = compare_verdicts(*(list(run_dir.read_jsonl(folder / "verdicts.jsonl")) for folder in folders))
    scores = [f"selector: {bench.config.objective} {best.value:.3f}, the default's {default.value:.3f}"]
    for what, gap in differences.items():
        found = f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], p {gap.p:.3f}, n {gap.n}"
        scores.append(f"{what}: trial {best.number} less the default {found}")
    for line in scores:
        bench.on_message(line)
    gist = {
        name: {"trial": trial.number, "params": trial.params, **trial_observation(trial)}
        for name, trial in (("winner", best), ("default", default))
    }
    facts = {**gist, "differences": {what: asdict(difference) for what, difference in differences.items()}}
    run_dir.write_atomic(bench.out / "comparison.json", json.dumps(facts, indent=1).encode())
    spent = sum((trial.duration.total_seconds() for trial in done if trial.duration), 0.0)
    write_recipes(bench, best, [command, f"cost: {len(done)} trials, {spent:.0f} s of work", *scores])
    return facts


def trial_observation(trial: FrozenTrial) -> dict[str, float]:
    """What the selector saw of a trial."""
    return {field.name: trial.user_attrs[field.name] for field in fields(Observation)}


def judge_trial(bench: TuningObjective, trial: FrozenTrial, jury: FinalEvaluation) -> Path:
    """The scores of a trial by the judges; its artifact remembers who picked it, which may never judge it."""
    chosen = bench.full_settings(trial.params)
    folder, out = bench.train_artifact(chosen), bench.out / "scores" / f"trial-{trial.number}"
    made = run_dir.RunDir(folder, run_dir.read_manifest(folder))
    if not bench.adapters and "selected_by" not in made.manifest:
        made.finish(selected_by=bench.mark)
    late = {key: chosen[key] for key in sorted(bench.late)}
    asked: dict[str, Any] = {"method": bench.name, "base": bench.backbone.name, "guidance_scale": chosen["cfg"]}
    asked |= late
    asked |= {"judge": jury.judges, "prompts": jury.prompts, "seeds": jury.seeds, "on_message": bench.on_message}
    try:
        return evaluate(out=out, adapter=folder, **asked)
    except EmosceneError as error:
        if not (out / run_dir.MANIFEST).is_file() or run_dir.read_manifest(out)["state"] != "done":
            raise
        bench.on_message(str(error))
    return out


def compare_verdicts(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Difference]:
    """Paired differences of two lists of verdicts on the same pictures asked: each judge's, and the scene's."""
    prompt, seed = (np.array([row[key] for row in ours]) for key in ("prompt", "seed"))

    def hit(row: Mapping[str, Any], judge: str) -> float:
        return float(row["seen"][judge] == row["asked"]) if judge in row["seen"] else float("nan")

    sides: dict[str, list[list[float]]] = {
        f"emotion as asked, by {judge}": [[hit(row, judge) for row in rows] for rows in (ours, theirs)]
        for judge in ours[0]["likely"]
    }
    sides["scene kept"] = [
        [float("nan") if row["kept"] is None else float(row["kept"]) for row in rows] for rows in (ours, theirs)
    ]
    found = {
        what: paired_difference(np.array(one), np.array(other), prompt, seed) for what, (one, other) in sides.items()
    }
    return {what: difference for what, difference in found.items() if difference.n}


def write_recipes(bench: TuningObjective, best: FrozenTrial, header: Sequence[str]) -> None:
    """Write the winner as `evaluate.toml` and, where it was trained here, `train.toml`."""
    chosen = bench.full_settings(best.params)
    folder = bench.train_artifact(chosen)
    use = {"base": bench.backbone.name, "method": bench.name, "adapter": [str(folder)]}
    use["guidance_scale"] = chosen["cfg"]
    use |= {key: chosen[key] for key in sorted(bench.late) if chosen[key] is not None}
    texts = {"evaluate": "".join(f"{key} = {json.dumps(value)}\n" for key, value in use.items())}
    header = [*header, f"its training: {json.dumps(run_dir.read_manifest(folder).get('cost', {}))}"]
    if not bench.adapters:
        parts = (state.Config(), bench.cls.Config())
        whole = [
            configs.replace_fields(part, {f.name: chosen[f.name] for f in configs.list_options(part)}) for part in parts
        ]
        texts["train"] = "".join(map(configs.to_toml, whole))
    for verb, text in texts.items():
        use_it = f"{bench.name}, trial {best.number} of a search: emoscene {verb} --recipe {bench.out / verb}.toml ..."
        lines = "".join(f"# {line}\n" for line in [use_it, *header])
        run_dir.write_atomic(bench.out / f"{verb}.toml", f"{lines}{text}".encode())
