"""How entries of a report differ, paired, and whether they may be compared at all.

Two scores compare where the same judge saw images of the same prompts and seeds. Where they do not,
`comparison_remarks` says so; differences are taken over what both have, and never across judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from emoscene.evaluation.statistics import Difference, holm, paired_difference
from emoscene.reporting.scores import ACCURACY, SAME, ScoreEntry, judge_names, select_judged
from emoscene.reporting.study_files import JUDGE


def comparison_remarks(entries: Sequence[ScoreEntry]) -> list[str]:
    """Say what a reader must know before comparing these entries.

    Args:
        entries: the scores; all others are compared with the first.

    Returns:
        A sentence each: other judges, other settings, what is missing.
    """
    first, others = entries[0], entries[1:]
    remarks = []
    strangers = [entry.name for entry in others if (entry.judge, first.judge) not in common_judges(entry, first)]
    if strangers:
        remarks.append(f"{'; '.join(strangers)}: had other judges than {first.name}, so their figures do not compare.")
    for key, sentence in SAME.items():
        apart = [entry.name for entry in others if entry.scores.get(key) != first.scores.get(key)]
        if apart:
            remarks.append(f"{'; '.join(apart)}: {sentence} than {first.name}, and part of any difference may be that.")
    counts = set()
    for entry in entries:
        remarks += _own_remarks(entry)
        distance = entry.metric("frechet")
        if distance is not None:
            counts.add(distance["n"])
    if len(counts) > 1:
        numbers = " and ".join(map(str, sorted(counts)))
        remarks.append(
            f"The Frechet distances are over {numbers} images: the distance grows with fewer, so compare those of one "
            "number."
        )
    return remarks


def _own_remarks(entry: ScoreEntry) -> list[str]:
    """What must be known of one entry alone."""
    remarks = []
    if not entry.rows and list(entry.scores["judges"]) != [JUDGE]:
        remarks.append(f"{entry.name} has no verdicts.jsonl, so it is in no paired difference: evaluate it again.")
    for sentence in entry.scores.get("cautions", ()):
        remarks.append(f"{entry.name}: {sentence}.")
    remarks += _above_ceiling(entry)
    outside = sum(not entry.holds(row) for row in entry.rows)
    if outside:
        verbs = ("lies", "is") if outside == 1 else ("lie", "are")
        remarks.append(
            f"{entry.name}: {outside} of its images {verbs[0]} outside of {entry.folder} and {verbs[1]} not shown."
        )
    for sentence in entry.scores.get("missing", {}).values():
        remarks.append(f"{entry.name}: {sentence}.")
    return remarks


def _above_ceiling(entry: ScoreEntry) -> list[str]:
    """What an accuracy says that is higher than the same judge's on real images."""
    remarks = []
    for judge in judge_names([entry]):
        figures = entry.scores["judges"].get(judge, {})
        accuracy, ceiling = figures.get("emotion_accuracy"), figures.get("ceiling")
        if not accuracy or not ceiling or accuracy["value"] is None or ceiling["value"] is None:
            continue
        if accuracy["value"] > ceiling["value"]:
            remarks.append(
                f"{entry.name}: {judge} reads more of these images as asked ({accuracy['value']:.1%}) than of real "
                f"images ({ceiling['value']:.1%}): they exaggerate the emotion, which is no merit."
            )
    return remarks


def common_judges(one: ScoreEntry, other: ScoreEntry) -> list[tuple[str, str]]:
    """Find the judges that saw the images of both entries.

    Args:
        one: some scores.
        other: some others.

    Returns:
        The names of each judge, as the two entries call it; the weights tell whether it is the same.
    """
    judges = []
    for mine, its in product(one.scores["judges"], other.scores["judges"]):
        if one.mark(mine) is not None and one.mark(mine) == other.mark(its):
            judges.append((mine, its))
    return judges


CONTENT = {"scene kept": ("scene_accuracy", "kept"), "object kept": ("object_accuracy", "object_kept")}
"""What may be kept of a prompt: its figure in `scores.json`, and its key in a row of verdicts."""


@dataclass(frozen=True)
class Comparison:
    """What one entry has over another in one respect; `p` is corrected for all comparisons made."""

    one: str
    other: str
    what: str
    difference: Difference
    p: float


Place = tuple[str, int, str]
"""The prompt, the seed and the emotion asked of an image."""


def compare_all(entries: Sequence[ScoreEntry]) -> list[Comparison]:
    """Compare all pairs of entries, the later less the earlier, by every judge that saw both.

    Args:
        entries: the scores.

    Returns:
        A comparison for each pair and respect in which both have an image of one place; Holm's correction is over all.
    """
    several = len(judge_names(entries)) > 1
    made: list[tuple[str, str, str, Difference]] = []
    for other, one in combinations(entries, 2):
        for what, difference in _compare_pair(one, other, several).items():
            if difference.n:
                made.append((one.name, other.name, what, difference))
    corrected = holm([difference.p for *_, difference in made])
    return [Comparison(*words, p) for words, p in zip(made, corrected, strict=True)]


def _compare_pair(one: ScoreEntry, other: ScoreEntry, several: bool) -> dict[str, Difference]:
    """The differences of two entries by what they are in; several: the judge's name is said."""
    differences = {}
    for mine, its in common_judges(one, other):
        what = ACCURACY
        if several:
            what = f"{ACCURACY}, by {mine}"
        differences[what] = paired_values(_hits_by_place(one, mine), _hits_by_place(other, its))
    for what, (figure, key) in CONTENT.items():
        judge = _content_judge(one, figure)
        if judge and judge == _content_judge(other, figure):
            differences[what] = paired_values(_content_by_place(one, key), _content_by_place(other, key))
    return differences


def paired_values(one: Mapping[Place, float], other: Mapping[Place, float]) -> Difference:
    """Compute the paired difference of two sets of values.

    Args:
        one: values by place.
        other: those that are taken away from them.

    Returns:
        The difference over the places that both have; its `n` is how many.
    """
    ours, theirs, prompts, seeds = [], [], [], []
    for place in sorted(one.keys() & other.keys()):
        prompt, seed, _ = place
        ours.append(one[place])
        theirs.append(other[place])
        prompts.append(prompt)
        seeds.append(seed)
    return paired_difference(np.array(ours), np.array(theirs), np.array(prompts), np.array(seeds))


def _hits_by_place(entry: ScoreEntry, judge: str) -> dict[Place, float]:
    """1 where a judge sees the emotion asked, by place."""
    hits = {}
    for row in select_judged(entry.rows, judge):
        place = (row["prompt"], row["seed"], row["asked"])
        hits[place] = float(row["seen"][judge] == row["asked"])
    return hits


def _content_judge(entry: ScoreEntry, figure: str) -> str | None:
    """The fingerprint of what tells whether content is kept; None where nothing does."""
    found = entry.metric(figure)
    if found is None:
        return None
    return entry.mark(found["by"])


def _content_by_place(entry: ScoreEntry, key: str) -> dict[Place, float]:
    """1 where what was asked is there, by place."""
    values = {}
    for row in entry.rows:
        if row.get(key) is not None:
            values[row["prompt"], row["seed"], row["asked"] or ""] = float(row[key])
    return values
