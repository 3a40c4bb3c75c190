"""Folders of scores, read: what each is called, whether they may be compared, and how they differ, paired.

Two scores compare where the same judge saw pictures of the same prompts and seeds. Where they do not, `comparison_remarks` says
so; differences are taken over what both have, and never across judges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.paths import fault_of_name, is_inside, resolve_inside
from emoscene.evaluation.metrics.base import Predictions, Value, measure_share
from emoscene.evaluation.statistics import Difference, holm, paired_difference
from emoscene.reporting.checks import check_manifest, check_scores, check_verdict

APART = ("base", "strength", "cfg", "steps", "sampler", "adapters")
"""What may tell two scores of one method apart, in the order in which it is said; after it, the method's settings."""
SAME = {
    "prompts": "painted other prompts",
    "seeds": "painted other seeds",
    "base": "painted on another base",
    "steps": "took another number of steps",
    "sampler": "took another sampler",
}
"""What two scores must share to be compared, and what is wrong where they do not."""


@dataclass(frozen=True)
class ScoreEntry:
    """One folder of scores: its name in the report, `scores.json`, a row a picture, and its manifest."""

    name: str
    folder: Path
    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]

    @property
    def judge(self) -> str:
        """The first judge: what is told once is told by it."""
        return next(iter(self.scores["judges"]))

    def mark(self, judge: str) -> str | None:
        """The fingerprint of a judge; None for one that is not known."""
        found: str | None = self.scores.get("judged_by", {}).get(judge)
        return found

    def judged(self, what: str, judge: str = "") -> Mapping[str, Any] | None:
        """A figure by a judge, as `scores.json` has it: value, low, high; None where there is none."""
        return _figure(self.scores["judges"].get(judge or self.judge, {}), what)

    def metric(self, what: str) -> Mapping[str, Any] | None:
        """Any other figure; None where there is none."""
        return _figure(self.scores["metrics"], what)

    def setting(self, names: Iterable[str]) -> float | None:
        """The first of these settings that is a number; None where it has none."""
        found = (_settings(self).get(name) for name in names)
        return next((float(one) for one in found if isinstance(one, int | float)), None)

    def picture(self, row: Mapping[str, Any]) -> Path | None:
        """The file of a row's picture; None where it is gone, or lies outside of the folder."""
        file = self.folder / row["file"] if self.holds(row) else None
        return file if file is not None and file.is_file() else None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row names a file in the folder of these scores, whatever a stranger may have written into it."""
        return not fault_of_name(row["file"]) and is_inside(self.folder, self.folder / row["file"])

    def cost(self, what: str) -> float | None:
        """What it cost; None where nobody counted."""
        found = self.scores.get("cost", {}).get(what, self.scores.get(what))
        return None if found is None else float(found)


def _figure(found: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    figure = found.get(what)
    return None if figure is None or None in (figure["value"], figure["low"], figure["high"]) else figure


def load_entries(folders: Iterable[str | Path]) -> list[ScoreEntry]:
    """The scores in these folders, each under a name of its own. Raises Usage for what holds none or is unfinished."""
    found = []
    for folder in dict.fromkeys(Path(folder) for folder in folders):
        manifest = run_dir.read_manifest(folder, "scores")
        if manifest["state"] != "done":
            raise UsageError(f"{folder} is not finished: call `emoscene evaluate` again as before, it goes on")
        for name in ("scores.json", "verdicts.jsonl"):
            file = resolve_inside(folder, name)
            if file.exists() and not file.is_file():
                raise EmosceneError(f"{file} is no file: evaluate into the folder again")
        try:
            scores = run_dir.parse_json((folder / "scores.json").read_text(encoding="utf8"))
            check_scores(scores)
            check_manifest(manifest)
            name = str(scores.get("method") or Path(scores["from"]).name)
            found.append(ScoreEntry(name, folder, scores, list(_verdicts(folder)), manifest))
            found[-1].judged("emotion_accuracy")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration) as error:
            raise EmosceneError(f"{folder / 'scores.json'} is damaged: evaluate into the folder again") from error
    if not found:
        raise UsageError("report needs SCORES: the folders that `emoscene evaluate` made")
    return name_entries(found)


def _verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of verdicts. Raises KeyError, TypeError or ValueError for one that is none of `evaluate`'s."""
    for row in run_dir.read_jsonl(folder / "verdicts.jsonl"):
        check_verdict(row)
        yield row


def name_entries(found: Sequence[ScoreEntry]) -> list[ScoreEntry]:
    """The entries, those of one method told apart by what differs between them, else by their folders' names."""
    told = []
    for entry in found:
        alike = [other for other in found if other.name == entry.name]
        words = [
            _format_setting(key, entry.scores.get(key)) for key in _differing_keys(alike, APART, lambda one: one.scores)
        ]
        apart = _differing_keys(alike, _settings(entry), _settings)
        words += [_format_setting(key.rpartition(".")[2], _settings(entry)[key]) for key in apart]
        told.append(replace(entry, name=", ".join([entry.name, *words])))
    names = [entry.name for entry in told]
    return [
        replace(entry, name=f"{entry.name} ({entry.folder.name})") if names.count(entry.name) > 1 else entry
        for entry in told
    ]


def _settings(entry: ScoreEntry) -> Mapping[str, Any]:
    return entry.scores.get("settings") or {}


def _differing_keys(
    alike: Sequence[ScoreEntry], keys: Iterable[str], table: Callable[[ScoreEntry], Mapping[str, Any]]
) -> list[str]:
    """The keys whose values are not the same in all these entries."""
    return [key for key in keys if len({json.dumps(table(entry).get(key)) for entry in alike}) > 1]


def _format_setting(key: str, value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(str(one)[:8] for one in value) or "no adapter"
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def comparison_remarks(found: Sequence[ScoreEntry]) -> list[str]:
    """What a reader must know before comparing these entries, a sentence each."""
    first, told = found[0], []
    if strangers := [
        entry.name for entry in found[1:] if (entry.judge, first.judge) not in common_judges(entry, first)
    ]:
        told.append(f"{'; '.join(strangers)}: had other judges than {first.name}, so their figures do not compare.")
    for key, sentence in SAME.items():
        if apart := [entry.name for entry in found[1:] if entry.scores.get(key) != first.scores.get(key)]:
            told.append(f"{'; '.join(apart)}: {sentence} than {first.name}, and part of any difference may be that.")
    for entry in found:
        if not entry.rows:
            told.append(f"{entry.name} has no verdicts.jsonl, so it is in no paired difference: evaluate it again.")
        told += [f"{entry.name}: {sentence}." for sentence in entry.scores.get("cautions", ())]
        if outside := sum(not entry.holds(row) for row in entry.rows):
            told.append(f"{entry.name}: {outside} of its pictures lie outside of {entry.folder} and are not shown.")
        told += [f"{entry.name}: {sentence}." for sentence in entry.scores.get("missing", {}).values()]
    if len(counts := {figure["n"] for entry in found if (figure := entry.metric("frechet"))}) > 1:
        told.append(
            f"The Frechet distances are over {' and '.join(map(str, sorted(counts)))} pictures: fewer are farther, so "
            "compare those of one number."
        )
    return told


def common_judges(one: ScoreEntry, other: ScoreEntry) -> list[tuple[str, str]]:
    """The judges of emotions that saw both, as each of the two calls them."""
    pairs = product(one.scores["judges"], other.scores["judges"])
    return [(mine, its) for mine, its in pairs if one.mark(mine) is not None and one.mark(mine) == other.mark(its)]


@dataclass(frozen=True)
class Comparison:
    """What one entry has over another in one respect; `p` is corrected for all comparisons made."""

    one: str
    other: str
    what: str
    difference: Difference
    p: float


def compare_all(found: Sequence[ScoreEntry]) -> list[Comparison]:
    """All pairs of entries, the later less the earlier, by every judge that saw both; Holm's correction over all."""
    several = len({judge for entry in found for judge in entry.scores["judges"]}) > 1
    made = []
    for other, one in combinations(found, 2):
        sides = {
            f"emotion as asked, by {mine}" if several else "emotion as asked": (
                _hits_by_place(one, mine),
                _hits_by_place(other, its),
            )
            for mine, its in common_judges(one, other)
        }
        if _scene_judge(one) and _scene_judge(one) == _scene_judge(other):
            sides["scene kept"] = _content_by_place(one), _content_by_place(other)
        differences = {what: paired_values(*side) for what, side in sides.items()}
        made += [(one.name, other.name, what, difference) for what, difference in differences.items() if difference.n]
    return [
        Comparison(*words, p) for words, p in zip(made, holm([difference.p for *_, difference in made]), strict=True)
    ]


Place = tuple[str, int, str]
"""The prompt, the seed and the emotion asked of a picture."""


def paired_values(one: Mapping[Place, float], other: Mapping[Place, float]) -> Difference:
    """The difference over the places that both have."""
    places = sorted(one.keys() & other.keys())
    ours, theirs = (np.array([side[place] for place in places]) for side in (one, other))
    prompt, seed = (np.array([place[axis] for place in places]) for axis in (0, 1))
    return paired_difference(ours, theirs, prompt, seed)


def _hits_by_place(entry: ScoreEntry, judge: str) -> dict[Place, float]:
    """1 where a judge sees the emotion asked, by place."""
    return {
        (row["prompt"], row["seed"], row["asked"]): float(row["seen"][judge] == row["asked"])
        for row in judged_rows(entry.rows, judge)
    }


def judged_rows(rows: Iterable[Mapping[str, Any]], judge: str) -> list[Mapping[str, Any]]:
    """The rows of pictures for which an emotion was asked that the judge has a word for."""
    return [row for row in rows if row["asked"] and judge in row["seen"]]


def accuracy_of(rows: Sequence[Mapping[str, Any]], judge: str) -> Value | None:
    """How often the judge sees the emotion asked in these rows, with its interval; None where it judged none."""
    rows = judged_rows(rows, judge)
    if not rows:
        return None
    prompt, seed = (np.array([row[key] for row in rows]) for key in ("prompt", "seed"))
    unread, count = np.zeros((len(rows), 0)), len(rows)
    made = Predictions(prompt, seed, np.zeros(count, np.int64), unread, unread, np.zeros(count), unread)
    hit = np.array([float(row["seen"][judge] == row["asked"]) for row in rows])
    return measure_share(hit, np.ones(count), made, by=judge)


def _scene_judge(entry: ScoreEntry) -> str | None:
    """The fingerprint of what tells whether the scene is kept; None where nothing does."""
    figure = entry.metric("scene_accuracy")
    return entry.mark(figure["by"]) if figure else None


def _content_by_place(entry: ScoreEntry) -> dict[Place, float]:
    """1 where the scene asked is there, by place."""
    known = [row for row in entry.rows if row["kept"] is not None]
    return {(row["prompt"], row["seed"], row["asked"] or ""): float(row["kept"]) for row in known}


def find_curves(found: Sequence[ScoreEntry], axis: str) -> dict[str, list[tuple[float, ScoreEntry]]]:
    """Entries that differ in nothing but `axis` (strength, cfg, or a setting), in its order; two are a curve."""
    groups: dict[str, list[tuple[float, ScoreEntry]]] = {}
    for entry in found:
        settings = dict(entry.scores.get("settings") or {})
        value = settings.pop(axis, entry.scores.get(axis))
        if isinstance(value, int | float):
            rest = {key: entry.scores.get(key) for key in ("method", "from", *APART, *SAME) if key != axis}
            key = json.dumps({**rest, "settings": settings, "judge": entry.scores.get("judged_by")})
            groups.setdefault(key, []).append((float(value), entry))
    several = [sorted(group, key=lambda pair: pair[0]) for group in groups.values() if len(group) > 1]
    return {str(group[0][1].scores.get("method") or group[0][1].name): group for group in several}
