"""The last word: the judges compare the winner with the default, and the winner becomes a recipe.

Choosing the best of many flatters it, as the selector reads it (the winner's curse), so its score there is no result.
The judges see other prompts from other seeds, the same for both, and what is told is the paired difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.core.plain_text import format_count
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.generate import Prompt
from emoscene.evaluation.intervals import Array, interval_text
from emoscene.evaluation.statistics import Difference, paired_difference
from emoscene.training import state
from emoscene.tuning import studies
from emoscene.tuning.objective import TuningObjective
from emoscene.tuning.selector import Observation
from emoscene.tuning.studies import FrozenTrial, Study


@dataclass(frozen=True)
class FinalEvaluation:
    """The judges of the final comparison, with its prompts and seeds."""

    judges: list[str]
    prompts: list[Prompt]
    seeds: list[int]


def conclude_study(bench: TuningObjective, study: Study, jury: FinalEvaluation, command: str) -> dict[str, Any]:
    """Let the judges compare the best trial with the default, and write the comparison and the recipes.

    Args:
        bench: What the trials share.
        study: The study.
        jury: The judges, prompts and seeds of the comparison.
        command: The call, for the recipes.

    Returns:
        The content of `comparison.json`.

    Raises:
        EmosceneError: The default failed, or no trial keeps enough content.
    """
    done = studies.finished_trials(study)
    default = None
    for trial in reversed(done):
        if trial.params == bench.first and trial.values:
            default = trial
    if default is None:
        raise EmosceneError(
            "the default configuration failed, and there is nothing to compare with: fix others, or a lower lr="
        )
    best = studies.best_trial(study)
    if best is None:
        least = bench.config.floor * study.user_attrs["content"]
        kept = [trial.user_attrs.get("content", 0.0) for trial in done]
        raise EmosceneError(
            f"no trial keeps a content of {least:.3f}, the best has {max(kept):.3f}: give a lower floor="
        )
    best_folder, default_folder = judge_trial(bench, best, jury), judge_trial(bench, default, jury)
    best_rows = list(run_dir.read_jsonl(best_folder / "verdicts.jsonl"))
    differences = compare_verdicts(best_rows, list(run_dir.read_jsonl(default_folder / "verdicts.jsonl")))
    scores = [f"selector: {bench.config.objective} {best.value:.3f}, the default's {default.value:.3f}"]
    for what, gap in differences.items():
        found = f"{gap.value:+.3f}{interval_text(gap.low, gap.high, '+.3f')}, p {gap.p:.3f}, n {gap.n}"
        scores.append(f"{what}: trial {best.number} less the default {found}")
    for line in scores:
        bench.on_message(line)
    gist = {}
    for name, trial in (("winner", best), ("default", default)):
        gist[name] = {"trial": trial.number, "params": trial.params, **trial_observation(trial)}
    facts = {**gist, "differences": {what: difference.to_dict() for what, difference in differences.items()}}
    run_dir.write_atomic(bench.out / "comparison.json", json.dumps(facts, indent=1).encode())
    spent = sum((trial.duration.total_seconds() for trial in done if trial.duration), 0.0)
    write_recipes(bench, best, [command, f"cost: {format_count(len(done), 'trial')}, {spent:.0f} s of work", *scores])
    return facts


def trial_observation(trial: FrozenTrial) -> dict[str, float]:
    """Read what the selector observed in a trial.

    Args:
        trial: The trial.

    Returns:
        The fields of `Observation`.
    """
    return {field.name: trial.user_attrs[field.name] for field in fields(Observation)}


def judge_trial(bench: TuningObjective, trial: FrozenTrial, jury: FinalEvaluation) -> Path:
    """Evaluate a trial; its adapter records the selector, which may never judge it.

    Args:
        bench: What the trials share.
        trial: The trial.
        jury: The judges, prompts and seeds.

    Returns:
        The folder of its scores.
    """
    chosen = bench.full_settings(trial.params)
    folder, out = bench.train_artifact(chosen), bench.out / "scores" / f"trial-{trial.number}"
    made = run_dir.RunDir(folder, run_dir.read_manifest(folder))
    if not bench.adapters and "selected_by" not in made.manifest:
        made.finish(selected_by=bench.mark)
    late = {key: chosen[key] for key in sorted(bench.late)}
    asked: dict[str, Any] = {
        "method": bench.name,
        "base": bench.backbone.name,
        "guidance_scale": chosen["guidance_scale"],
    }
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
    """Compute paired differences of verdicts on the same prompts, emotions and seeds.

    Args:
        ours: The rows of one side.
        theirs: The rows of the other, in the same order.

    Returns:
        The difference for each judge and for the scene; without those that have no pair.
    """
    prompt, seed = np.array([row["prompt"] for row in ours]), np.array([row["seed"] for row in ours])
    differences = {}
    for judge in ours[0]["likely"]:
        one, other = _judge_hits(ours, judge), _judge_hits(theirs, judge)
        differences[f"emotion as asked, by {judge}"] = paired_difference(one, other, prompt, seed)
    differences["scene kept"] = paired_difference(_scene_hits(ours), _scene_hits(theirs), prompt, seed)
    return {what: difference for what, difference in differences.items() if difference.n}


def _judge_hits(rows: Sequence[Mapping[str, Any]], judge: str) -> Array:
    """1 where a judge saw the emotion asked, 0 where it saw another, nan where it did not judge [N]."""
    values = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        if judge in row["seen"]:
            values[place] = float(row["seen"][judge] == row["asked"])
    return values


def _scene_hits(rows: Sequence[Mapping[str, Any]]) -> Array:
    """1 where the scene was kept, 0 where it was not, nan where it is not known [N]."""
    values = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        if row["kept"] is not None:
            values[place] = float(row["kept"])
    return values


def write_recipes(bench: TuningObjective, best: FrozenTrial, header: Sequence[str]) -> None:
    """Write the best trial as `evaluate.toml` and, where it was trained here, `train.toml`.

    Args:
        bench: What the trials share.
        best: The best trial.
        header: Lines of comment.
    """
    chosen = bench.full_settings(best.params)
    folder = bench.train_artifact(chosen)
    use = {"base": bench.backbone.name, "method": bench.name, "adapter": [str(folder)]}
    use["guidance_scale"] = chosen["guidance_scale"]
    for key in sorted(bench.late):
        if chosen[key] is not None:
            use[key] = chosen[key]
    texts = {"evaluate": "".join(f"{key} = {json.dumps(value)}\n" for key, value in use.items())}
    header = [*header, f"its training: {json.dumps(run_dir.read_manifest(folder).get('cost', {}))}"]
    if not bench.adapters:
        texts["train"] = ""
        for part in (state.Config(), bench.cls.Config()):
            values = {field.name: chosen[field.name] for field in configs.list_options(part)}
            texts["train"] += configs.to_toml(configs.replace_fields(part, values))
    for verb, text in texts.items():
        use_it = f"{bench.name}, trial {best.number} of a search: emoscene {verb} --recipe {bench.out / verb}.toml ..."
        lines = "".join(f"# {line}\n" for line in [use_it, *header])
        run_dir.write_atomic(bench.out / f"{verb}.toml", f"{lines}{text}".encode())
