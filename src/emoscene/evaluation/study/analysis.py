"""From answers to figures: what people chose and saw, how sure that is, and how much they agree.

    analyse/
        manifest.json
        people.json      the figures, and what was seen in each image: in `report` they are those of the judge `people`
        report.md        the same as tables, with what a paper should say about its study (after Otani et al. 2023)

Raters who fail more than a third of their attention checks are left out, and that is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import read_json
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.core.templates import render
from emoscene.evaluation.intervals import MIN_CLUSTERS, share_interval
from emoscene.evaluation.metrics.emotion import count_confusions, per_emotion
from emoscene.evaluation.study.agreement import krippendorff_alpha
from emoscene.evaluation.study.answers import Answers, read_answers
from emoscene.evaluation.study.design import NONE_OF_THESE, count_failed_checks
from emoscene.evaluation.study.making import PACKAGE, Study, read_study
from emoscene.evaluation.study.preferences import Comparisons, measure_preferences

KIND, RESULT, TEXT = "people", "people.json", "report.md"
JUDGE = "people"
PASSED = 2 / 3  # of the attention checks, which a rater must answer as they say


@dataclass(frozen=True)
class Choice:
    """One answer to one trial.

    Attributes:
        rater: The number of the rater.
        trial: The id of the trial.
        value: The answer.
    """

    rater: int
    trial: str
    value: Any


def analyse_study(
    places: Sequence[str | Path],
    folder: str | Path,
    out: str | Path,
    draws: int = 1000,
    on_message: Callable[[str], None] = print,
) -> Path:
    """Analyse the answers to a study.

    Args:
        places: Files of answers, folders of these, or the database of `study serve`.
        folder: The folder of the study.
        out: The folder to write.
        draws: The number of bootstrap draws for the intervals.
        on_message: Takes a sentence for each finding and for whatever is left out.

    Returns:
        The folder `out`.

    Raises:
        UsageError: There is nothing to analyse, or the folder is another call's.
    """
    study, told = read_study(folder), list[str]()

    def tell(sentence: str) -> None:
        told.append(sentence)
        on_message(sentence)

    answers = read_answers(places, study, tell)
    kept = [one for one in answers if is_attentive(study, one)]
    left_out = len(answers) - len(kept)
    if left_out:
        tell(
            f"{left_out} of {format_count(len(answers), 'rater')} failed attention checks and "
            f"{_were(left_out)} left out"
        )
    if not kept:
        raise UsageError("no rater passed the attention checks: look at the answers, or collect more")
    table = {
        "study": study.id,
        "design": study.design,
        "sources": study.sources,
        "raters": len(kept),
        "left_out": left_out,
        "checks": len(study.checks),
        **summarize_work(study, kept),
        **measure_study(study, kept, draws),
        "told": told,
    }
    checksums = sorted(one.checksum for one in answers)
    opened = run_dir.RunDir.open(out, KIND, {"study": study.id, "answers": checksums, "draws": draws}, parents=[folder])
    if opened.is_done:
        return opened.path
    for sentence in table["cautions"]:
        on_message(sentence)
    with opened.hold():
        run_dir.write_atomic(opened.path / RESULT, json.dumps(table, indent=1).encode())
        run_dir.write_atomic(opened.path / TEXT, _render_text(table))
        opened.finish(raters=len(kept))
    return opened.path


def _render_text(table: Mapping[str, Any]) -> bytes:
    pairs = list(zip(table["sources"], table["judged"], strict=True))
    return render((PACKAGE,), "study.md.j2", pairs=pairs, **table).encode()


def _were(count: int) -> str:
    if count == 1:
        return "was"
    return "were"


def is_attentive(study: Study, answers: Answers) -> bool:
    """Tell whether a rater passed the attention checks.

    Args:
        study: The study.
        answers: The rater's answers.

    Returns:
        Whether enough of the checks are right.
    """
    wrong = count_failed_checks(study.checks, answers.values)
    return not study.checks or 1 - wrong / len(study.checks) >= PASSED - 1e-9


def list_choices(study: Study, kept: Sequence[Answers]) -> list[Choice]:
    """List the answers to all trials, without the checks.

    Args:
        study: The study.
        kept: The answers of the raters that count.

    Returns:
        One entry a rater and trial.
    """
    choices = []
    for number, answers in enumerate(kept):
        for trial, value in answers.values.items():
            if trial in study.trials:
                choices.append(Choice(number, trial, value))
    return choices


def summarize_work(study: Study, kept: Sequence[Answers]) -> dict[str, Any]:
    """Count what raters did.

    Args:
        study: The study.
        kept: The answers of the raters that count.

    Returns:
        How many answers and trials there are, and the median seconds of an answer.
    """
    choices = list_choices(study, kept)
    times: list[int] = []
    for answers in kept:
        times += [ms for name, ms in answers.ms.items() if name in study.trials]
    answered = Counter(choice.trial for choice in choices)
    return {
        "answers": len(choices),
        "trials": len(study.trials),
        "answered_trials": len(answered),
        "answers_per_trial": round(len(choices) / len(answered), 2),
        "median_seconds": round(float(np.median(times)) / 1000, 2),
    }


def measure_study(study: Study, kept: Sequence[Answers], draws: int = 1000) -> dict[str, Any]:
    """Measure what the study asks.

    Args:
        study: The study.
        kept: The answers of the raters that count.
        draws: The number of bootstrap draws.

    Returns:
        `alpha`, `judged` (figures of each source, and what was seen in its images), `wins` (pairs of sources) and
        `cautions`.
    """
    choices = list_choices(study, kept)
    cautions = []
    prompts = len({study.trials[choice.trial].prompt for choice in choices})
    raters = len({choice.rater for choice in choices})
    if min(prompts, raters) < MIN_CLUSTERS:
        cautions.append(
            f"no figure has an interval: {format_count(raters, 'rater')} and {format_count(prompts, 'prompt')} tell "
            f"too little of others; collect {MIN_CLUSTERS} of both or more"
        )
    measured = {"alpha": _finite(measure_agreement(study, choices)), "cautions": cautions}
    if study.design == "label":
        return {**measured, "judged": judge_labels(study, choices), "wins": []}
    judged, wins = judge_preferences(study, choices, draws)
    return {**measured, "judged": judged, "wins": wins}


def measure_agreement(study: Study, choices: Sequence[Choice]) -> float:
    """Measure Krippendorff's alpha of the answers.

    Args:
        study: The study.
        choices: The answers.

    Returns:
        Alpha: nominal over trials, or ordinal over the places of each ranked image; nan where it is not defined.
    """
    numbers = {trial: number for number, trial in enumerate(study.trials)}
    units: list[int] = []
    values: list[float] = []
    for choice in choices:
        if study.design == "rank":
            for place, item in enumerate(choice.value):
                units.append(numbers[choice.trial] * 1000 + item)
                values.append(place)
        elif study.design == "label":
            units.append(numbers[choice.trial])
            values.append([*EMOTIONS, NONE_OF_THESE].index(choice.value))
        else:
            units.append(numbers[choice.trial])
            values.append(choice.value)
    level = "nominal"
    if study.design == "rank":
        level = "ordinal"
    return krippendorff_alpha(units, values, level)


def compare_sources(study: Study, choices: Sequence[Choice]) -> Comparisons:
    """Turn answers to pairs and rankings into wins of one source over another.

    Args:
        study: The study.
        choices: The answers.

    Returns:
        The comparisons.
    """
    rows: list[tuple[int, int, int, str, int]] = []
    for number, choice in enumerate(choices):
        trial = study.trials[choice.trial]
        order = choice.value
        if study.design == "2afc":
            order = [choice.value, 1 - choice.value]
        sources = [study.items[trial.items[place]].source for place in order]
        for winner, loser in combinations(sources, 2):
            rows.append((winner, loser, choice.rater, trial.prompt, number))
    winner, loser, rater, prompt, answer = zip(*rows, strict=True)
    return Comparisons(
        np.array(winner), np.array(loser), np.array(rater), np.array(prompt), np.array(answer), len(study.sources)
    )


def judge_preferences(
    study: Study, choices: Sequence[Choice], draws: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure how often people preferred each source.

    Args:
        study: The study.
        choices: The answers to pairs or rankings.
        draws: The number of bootstrap draws.

    Returns:
        Of each source its figures and no rows; and a row for each pair of sources.
    """
    preferences, table, ends = measure_preferences(compare_sources(study, choices), draws)
    judged: list[dict[str, Any]] = []
    for preference in preferences:
        figure = _make_figure(preference.value, preference.interval, preference.n)
        judged.append({"figures": {"preference": figure}, "seen": {}})
    wins = []
    for one, other in combinations(range(len(study.sources)), 2):
        names = {"one": study.sources[one]["name"], "other": study.sources[other]["name"]}
        wins.append({**names, **_make_figure(table[one, other], ends[one, other], 0)})
        del wins[-1]["n"]
    return judged, wins


def judge_labels(study: Study, choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Measure how often people saw the emotion that was asked for.

    Args:
        study: The study.
        choices: The answers that name an emotion.

    Returns:
        Of each source: the figures of a judge, and the emotion that most raters saw in each image, by file.
    """
    judged: list[dict[str, Any]] = []
    for number, source in enumerate(study.sources):
        own = [one for one in choices if study.items[study.trials[one.trial].items[0]].source == number]
        if not own:
            judged.append({"figures": {}, "seen": {}})
            continue
        asked = np.array([EMOTIONS.index(study.trials[one.trial].emotion) for one in own])
        likely = np.zeros((len(own), len(EMOTIONS) + 1))
        for row, one in zip(likely, own, strict=True):
            row[[*EMOTIONS, NONE_OF_THESE].index(one.value)] = 1
        hit = likely[np.arange(len(own)), asked]
        prompt = np.array([study.trials[one.trial].prompt for one in own])
        rater = np.array([one.rater for one in own])
        interval = float("nan"), float("nan")
        if len(set(rater.tolist())) >= MIN_CLUSTERS and len(set(prompt.tolist())) >= MIN_CLUSTERS:
            interval = share_interval(hit, prompt, rater)
        emotions = likely[:, :-1]
        named = emotions.sum(1) > 0  # who saw none of the emotions is in no column of the confusion
        figures = {
            "emotion_accuracy": _make_figure(hit.mean(), interval, len(own)),
            "none_of_these": _make_figure(1 - named.mean(), (float("nan"),) * 2, len(own)),
            "per_emotion": per_emotion(emotions[named], asked[named]),
            "confusion": count_confusions(emotions[named], asked[named]).tolist(),
        }
        judged.append({"figures": figures, "seen": _find_majority(study, own, Path(source["folder"]))})
    return judged


def _find_majority(study: Study, choices: Sequence[Choice], folder: Path) -> dict[str, str]:
    """The emotion that most raters saw in each image, by its file in the folder; images without one are left out."""
    votes: dict[str, Counter[str]] = {}
    for choice in choices:
        file = study.items[study.trials[choice.trial].items[0]].file
        votes.setdefault(file.relative_to(folder).as_posix(), Counter())[choice.value] += 1
    seen = {}
    for name, counts in votes.items():
        (first, most), *rest = counts.most_common(2)
        if first != NONE_OF_THESE and not (rest and rest[0][1] == most):
            seen[name] = first
    return seen


def _make_figure(value: float, interval: Sequence[float], n: int) -> dict[str, Any]:
    low, high = interval
    return {"value": _finite(value), "low": _finite(low), "high": _finite(high), "n": n}


def _finite(value: float) -> float | None:
    if np.isfinite(value):
        return float(value)
    return None


def read_result(folder: Path) -> Mapping[str, Any]:
    """Read what `analyse_study` wrote.

    Args:
        folder: Its folder.

    Returns:
        The content of `people.json`.
    """
    table: Mapping[str, Any] = read_json(folder / RESULT, remedy="analyse the answers again")
    return table
