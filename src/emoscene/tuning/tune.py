"""The verb `tune`: settings are searched by training and generating with them, and the judges have the last word.

    tuned/
        manifest.json  study.db              the study, unless --storage names another place
        trained/DIGEST/                      artifacts; trials that only generate differently share one
        scores/trial-0  scores/trial-7       the default and the winner as the judges see them, for `report`
        comparison.json                      the paired difference of the two
        train.toml  evaluate.toml            the winner, as recipes

What can be searched are the fields of the method's `Config`, those of `training`'s, and `guidance_scale`, within their
spans and choices: `lr=1e-4..1e-2`, `width=32,64`, `scale=2..40`. Every other field is fixed, by you or by the method's
recipe. The first trial is the default. A trial trains and generates, and the `selector` measures how well the emotion
is met; content is a constraint. A few times during its training it is looked at in the same way, and stopped where it
lags behind the median of the others.

Choosing the best of many flatters the winner, as the selector reads it. So both generate once more, with other
prompts and seeds, and what is reported is the judges' verdict on these.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.config import Option
from emoscene.core.migration import check_search
from emoscene.core.paths import check_utf8
from emoscene.core.plain_text import format_count
from emoscene.core.processes import check_single
from emoscene.evaluation.generate import Prompt, default_prompts, load_prompts, parse_seeds
from emoscene.tuning import studies
from emoscene.tuning.final import FinalEvaluation, conclude_study
from emoscene.tuning.objective import TuningObjective

Folders = str | Path | Sequence[str | Path] | None


def tune(
    name: str,
    *,
    data: str | Path,
    out: str | Path,
    trials: int = 20,
    storage: str | None = None,
    base: str = "mini",
    adapter: Folders = None,
    selector: str | Path | None = None,
    judge: Folders = None,
    prompts: str | Path | Sequence[Prompt] | None = None,
    seeds: str | Sequence[int] = "0:4",
    on_message: Callable[[str], None] = print,
    **settings: Any,
) -> Path:
    """Search the settings of a method with Optuna.

    The same call, here or on another machine that reaches `storage`, joins as one more worker. It also continues
    where all workers stopped, or with more `trials`. Where no setting is a range, `lr`, `guidance_scale` and all spans
    and choices of the method are searched.

    Args:
        name: The method.
        data: The prepared folder.
        out: The folder to write.
        trials: The number of trials of all workers together, at least 1.
        storage: The URL of the study's database; a file in `out` if left out.
        base: The base.
        adapter: A trained adapter of the method, whose runtime fields and `guidance_scale` are searched without
            training.
        selector: The encoder that compares trials; the base's EmotionCLIP if left out.
        judge: Further judges of the final comparison, as for `evaluate`.
        prompts: The prompts of the final comparison, as for `evaluate`.
        seeds: The seeds of the final comparison, as for `evaluate`.
        on_message: Receives sentences about the progress.
        settings: Fields of `Config` here, of the training's and of the method's: a value, a range "LOW..HIGH" or a list
            "A,B".

    Returns:
        The folder, with the recipes of the best trial.

    Raises:
        UsageError: An argument is wrong.
        EmosceneError: The storage cannot be reached, or no trial keeps enough content.

    Example:
        >>> tune("lora", data="prepared", out="runs/tuned", trials=12, lr="1e-4..1e-2")
        PosixPath('runs/tuned')
    """
    check_single("tune", "call it once for each worker, with the same words")
    asked = load_prompts(prompts or default_prompts(base))
    out, jury = check_utf8(out), FinalEvaluation(run_dir.as_list(judge), asked, parse_seeds(seeds))
    url = storage or studies.locate_database(out)
    with studies.check_storage(url):
        bench = TuningObjective(
            name, Path(data), out, base, [Path(folder) for folder in run_dir.as_list(adapter)], on_message, settings
        )
        call = bench.set_selector(selector, jury.judges)
        call |= {"prompts": [prompt.text for prompt in jury.prompts], "seeds": jury.seeds}
        if (out / run_dir.MANIFEST).is_file():
            check_search(run_dir.read_manifest(out, "tuning")["config"], str(out))
        opened = run_dir.RunDir.open(out, "tuning", call, parents=[data, *bench.adapters])
        known = {**call, "data": bench.selected.fingerprint}
        told = {"data": data, "base": base, "adapter": adapter, "selector": selector, "judge": judge, "out": out}
        draw, pulse = bench.defaults["seed"], bench.config.pulse
        with studies.open_study(url, out.resolve().name, known, bench.first, pulse, bench.hold_lock("study")) as study:
            count = len(studies.finished_trials(study))
            on_message(f"{count} of {format_count(trials, 'trial')} finished in the study {study.study_name!r}")
            studies.run_trials(
                study, trials, partial(bench.run_trial, study), seed=draw, pulse=pulse, on_message=on_message
            )
            with bench.hold_lock("study"):
                count = len(studies.finished_trials(study))
                if run_dir.read_manifest(out).get("trials") != count:
                    command = _command(name, {"trials": count, **told}, settings)
                    opened.finish(trials=count, **conclude_study(bench, study, jury, command))
    return out


def _command(name: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The call as it is written on the command line."""
    words = [name]
    for key, value in options.items():
        values = [value]
        if isinstance(value, list | tuple):
            values = list(value)
        for one in values:
            if one is not None:
                words += [f"--{key}", str(one)]
    for key, value in settings.items():
        if isinstance(value, Option):
            if value.choices:
                value = ",".join(map(str, value.choices))
            else:
                value = "..".join(map(str, (value.span or ())[:2]))
        words.append(f"{key}={value}")
    return f"emoscene tune {shlex.join(words)}"
