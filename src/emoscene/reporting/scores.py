"""Folders of scores, read: what each is called, who judged it, and which of them differ in one setting alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.migration import migrate_scores
from emoscene.core.parameter import COMPARE
from emoscene.core.paths import fault_of_name, is_inside, resolve_inside
from emoscene.core.request import list_parameters
from emoscene.core.setting_names import migrate_runtime_settings
from emoscene.evaluation.metrics.base import Predictions, Value, measure_share
from emoscene.reporting.checks import check_manifest, check_scores, check_verdict

APART = ("base", *list_parameters(COMPARE), "adapters")
"""What may tell two scores of one method apart, in the order in which it is said; after it, the method's settings."""
SAME = {
    "prompts": "painted other prompts",
    "seeds": "painted other seeds",
    "base": "painted on another base",
    "num_inference_steps": "took another number of steps",
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
        """Find the fingerprint of a judge.

        Args:
            judge: its name in these scores.

        Returns:
            The fingerprint; None for a judge that is not known.
        """
        fingerprint: str | None = self.scores.get("judged_by", {}).get(judge)
        return fingerprint

    def judged(self, what: str, judge: str = "") -> Mapping[str, Any] | None:
        """Find a figure by a judge.

        Args:
            what: the figure's name in `scores.json`.
            judge: who tells it; the first judge, if left out.

        Returns:
            value, low and high; None where there is no such figure.
        """
        return _find_figure(self.scores["judges"].get(judge or self.judge, {}), what)

    def metric(self, what: str) -> Mapping[str, Any] | None:
        """Find any other figure.

        Args:
            what: the figure's name in `scores.json`.

        Returns:
            value, low and high; None where there is no such figure.
        """
        return _find_figure(self.scores["metrics"], what)

    def setting(self, names: Iterable[str]) -> float | None:
        """Find a setting that is a number.

        Args:
            names: the settings that it may be.

        Returns:
            The first of them that is a number; None where none is.
        """
        for name in names:
            value = _settings(self).get(name)
            if isinstance(value, int | float):
                return float(value)
        return None

    def picture(self, row: Mapping[str, Any]) -> Path | None:
        """Find the file of a row's picture.

        Args:
            row: one of `self.rows`.

        Returns:
            The file; None where it is gone, or lies outside of the folder.
        """
        if not self.holds(row):
            return None
        file = self.folder / row["file"]
        return file if file.is_file() else None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a row names a file in the folder of these scores.

        Args:
            row: one of `self.rows`, whatever a stranger may have written into it.

        Returns:
            False for a name that leads out of the folder.
        """
        return not fault_of_name(row["file"]) and is_inside(self.folder, self.folder / row["file"])

    def cost(self, what: str) -> float | None:
        """Find what it cost.

        Args:
            what: the cost's name in `scores.json`.

        Returns:
            The number; None where nobody counted.
        """
        value = self.scores.get("cost", {}).get(what, self.scores.get(what))
        return None if value is None else float(value)


def _find_figure(figures: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    figure: Mapping[str, Any] | None = figures.get(what)
    if figure is None or None in (figure["value"], figure["low"], figure["high"]):
        return None
    return figure


def unique(names: Iterable[str]) -> list[str]:
    """Leave out what comes again.

    Args:
        names: any names.

    Returns:
        Each name once, in the order of their first places.
    """
    return list(dict.fromkeys(names))


def judge_names(entries: Iterable[ScoreEntry]) -> list[str]:
    """List the judges of all entries.

    Args:
        entries: the scores.

    Returns:
        Each judge once, the first entry's first.
    """
    return unique(chain.from_iterable(entry.scores["judges"] for entry in entries))


def load_entries(folders: Iterable[str | Path]) -> list[ScoreEntry]:
    """Load the scores in these folders, each under a name of its own.

    Args:
        folders: what `evaluate` made; a folder that is named twice counts once.

    Returns:
        An entry a folder.

    Raises:
        UsageError: for a folder that holds no scores or is unfinished, and where there is no folder.
        EmosceneError: for damaged scores.
    """
    entries = []
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
            scores = migrate_scores(scores)
            name = str(scores.get("method") or Path(scores["from"]).name)
            entry = ScoreEntry(name, folder, scores, list(_read_verdicts(folder)), manifest)
            entry.judged("emotion_accuracy")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, StopIteration) as error:
            raise EmosceneError(f"{folder / 'scores.json'} is damaged: evaluate into the folder again") from error
        entries.append(entry)
    if not entries:
        raise UsageError("report needs SCORES: the folders that `emoscene evaluate` made")
    return name_entries(entries)


def _read_verdicts(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of verdicts. Raises KeyError, TypeError or ValueError for one that is none of `evaluate`'s."""
    for row in run_dir.read_jsonl(folder / "verdicts.jsonl"):
        check_verdict(row)
        yield row


def name_entries(entries: Sequence[ScoreEntry]) -> list[ScoreEntry]:
    """Tell entries of one method apart by what differs between them, else by their folders' names.

    Args:
        entries: the scores, under the names of their methods.

    Returns:
        The same entries under longer names.
    """
    named = []
    for entry in entries:
        alike = [other for other in entries if other.name == entry.name]
        words = [entry.name]
        for key in _differing_keys(alike, APART, lambda one: one.scores):
            words.append(_format_setting(key, entry.scores.get(key)))
        for key in _differing_keys(alike, _settings(entry), _settings):
            words.append(_format_setting(key.rpartition(".")[2], _settings(entry)[key]))
        named.append(replace(entry, name=", ".join(words)))
    names = [entry.name for entry in named]
    for place, entry in enumerate(named):
        if names.count(entry.name) > 1:
            named[place] = replace(entry, name=f"{entry.name} ({entry.folder.name})")
    return named


def _settings(entry: ScoreEntry) -> Mapping[str, Any]:
    settings = entry.scores.get("settings") or {}
    return migrate_runtime_settings(settings, alone=entry.scores.get("method") == "guidance")


def _differing_keys(
    alike: Sequence[ScoreEntry], keys: Iterable[str], table: Callable[[ScoreEntry], Mapping[str, Any]]
) -> list[str]:
    """The keys whose values are not the same in all these entries."""
    differing = []
    for key in keys:
        values = {json.dumps(table(entry).get(key)) for entry in alike}
        if len(values) > 1:
            differing.append(key)
    return differing


def _format_setting(key: str, value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(str(one)[:8] for one in value) or "no adapter"
    words = key.replace("_", " ")
    if isinstance(value, float):
        return f"{words} {value:g}"
    return f"{words} {value}"


def judged_rows(rows: Iterable[Mapping[str, Any]], judge: str) -> list[Mapping[str, Any]]:
    """Choose the rows that a judge has an answer to.

    Args:
        rows: rows of verdicts.
        judge: the judge's name.

    Returns:
        The rows of pictures for which an emotion was asked that the judge has a word for.
    """
    return [row for row in rows if row["asked"] and judge in row["seen"]]


def accuracy_of(rows: Sequence[Mapping[str, Any]], judge: str) -> Value | None:
    """Compute how often a judge sees the emotion asked.

    Args:
        rows: rows of verdicts.
        judge: the judge's name.

    Returns:
        The share between 0 and 1 with its interval; None where the judge read none of these pictures.
    """
    rows = judged_rows(rows, judge)
    count = len(rows)
    if not count:
        return None
    prompts = np.array([row["prompt"] for row in rows])
    seeds = np.array([row["seed"] for row in rows])
    unread = np.zeros((count, 0))
    made = Predictions(prompts, seeds, np.zeros(count, np.int64), unread, unread, np.zeros(count), unread)
    hit = np.array([float(row["seen"][judge] == row["asked"]) for row in rows])
    return measure_share(hit, np.ones(count), made, by=judge)


def find_curves(entries: Sequence[ScoreEntry], axis: str) -> dict[str, list[tuple[float, ScoreEntry]]]:
    """Find entries that differ in one setting alone.

    Args:
        entries: the scores.
        axis: the setting: strength, cfg, or one of a method's own.

    Returns:
        By method, the values of the setting and their entries in its order; at least two each.
    """
    groups: dict[str, list[tuple[float, ScoreEntry]]] = {}
    for entry in entries:
        settings = dict(_settings(entry))
        value = settings.pop(axis, entry.scores.get(axis))
        if not isinstance(value, int | float):
            continue
        rest = {key: entry.scores.get(key) for key in ("method", "from", *APART, *SAME) if key != axis}
        key = json.dumps({**rest, "settings": settings, "judge": entry.scores.get("judged_by")})
        groups.setdefault(key, []).append((float(value), entry))
    curves = {}
    for group in groups.values():
        if len(group) > 1:
            _, first = min(group, key=itemgetter(0))
            name = str(first.scores.get("method") or first.name)
            curves[name] = sorted(group, key=itemgetter(0))
    return curves
