"""Reads folders of scores: names them, finds their figures, and finds those that differ in one setting alone.

A `ScoreEntry` is one folder that `evaluate` wrote. Entries of one method are told apart by the settings in which they
differ (`name_entries`); entries that differ in a single number are the points of a curve (`find_curves`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.parameter import COMPARE
from emoscene.core.paths import fault_of_name, is_inside
from emoscene.core.request import PARAMETERS, list_parameters
from emoscene.core.setting_names import migrate_runtime_settings
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, measure_share
from emoscene.evaluation.score_files import AGAIN, SCORES, read_draws, read_scores, read_verdicts

ACCURACY = "emotion accuracy"
APART = ("base", *list_parameters(COMPARE), "adapters")
"""What may tell two scores of one method apart, in the order in which it is said; after it, the method's settings."""
SAME = {
    "prompts": "generated other prompts",
    "seeds": "generated other seeds",
    "base": "generated on another base",
    "num_inference_steps": "took another number of steps",
    "sampler": "took another sampler",
}
"""What two scores must share to be compared, and what is wrong where they do not."""


@dataclass(frozen=True)
class ScoreEntry:
    """One folder of scores: its name in the report, `scores.json`, a row an image, its manifest, bootstrap draws."""

    name: str
    folder: Path
    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]
    draws: Mapping[str, Array] = field(default_factory=dict)

    @property
    def judge(self) -> str:
        """The first judge, by which a figure is that is shown once."""
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

    def figure_of_judge(self, what: str, judge: str = "") -> Mapping[str, Any] | None:
        """Find a figure by a judge.

        Args:
            what: the figure's name in `scores.json`.
            judge: the judge's name; the first judge, if left out.

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

    def shortcut(self, what: str) -> Mapping[str, Any] | None:
        """Find a figure of what is reached without learning an emotion.

        Args:
            what: the figure's name in `scores.json`.

        Returns:
            value, low and high; None where there is no such figure.
        """
        return _find_figure(self.scores.get("shortcuts", {}), what)

    def need(self, what: str) -> str:
        """Say why there is no such figure, and how to get it.

        Args:
            what: the figure's name in `scores.json`.

        Returns:
            A sentence; empty where nothing is missing, or an earlier version did not say it.
        """
        return str(self.scores.get("needs", {}).get(what, ""))

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

    def image_file(self, row: Mapping[str, Any]) -> Path | None:
        """Find the file of a row's image.

        Args:
            row: one of `self.rows`.

        Returns:
            The file; None where it is gone, or lies outside of the folder.
        """
        if not self.holds(row):
            return None
        file = self.folder / row["file"]
        if not file.is_file():
            return None
        return file

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
        if value is None:
            return None
        return float(value)


def _find_figure(figures: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    figure: Mapping[str, Any] | None = figures.get(what)
    if figure is None or figure["value"] is None:
        return None
    return figure


def unique(names: Iterable[str]) -> list[str]:
    """Remove repeated names.

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
    names: list[str] = []
    for entry in entries:
        names += entry.scores["judges"]
    return unique(names)


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
    for folder in dict.fromkeys(map(Path, folders)):
        manifest = run_dir.read_manifest(folder, "scores")
        if manifest["state"] != "done":
            raise UsageError(f"{folder} is not finished: call `emoscene evaluate` again as before, it goes on")
        scores = read_scores(folder)
        name = scores.get("method")
        if not name and not isinstance(scores.get("from"), str):
            raise EmosceneError(f"{folder / SCORES} is damaged (it says neither a method nor where from): {AGAIN}")
        if not name:
            name = Path(scores["from"]).name
        entries.append(ScoreEntry(name, folder, scores, list(read_verdicts(folder)), manifest, read_draws(folder)))
    if not entries:
        raise UsageError("report needs SCORES: the folders that `emoscene evaluate` made")
    return name_entries(entries)


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
            words.append(_format_setting(key, _settings(entry)[key]))
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
    label = setting_label(key)
    if isinstance(value, float):
        return f"{label} {value:g}"
    return f"{label} {value}"


def setting_label(key: str) -> str:
    """Name a setting in the words of the report.

    Args:
        key: a parameter of a generation, or a method's own setting, as `guidance.classifier_scale`.

    Returns:
        The parameter's label in lower case (an abbreviation stays as it is), or the key's last part with spaces.
    """
    parameter = PARAMETERS.get(key)
    if parameter is None or not parameter.label:
        return key.rpartition(".")[2].replace("_", " ")
    if parameter.label[:2].isupper():
        return parameter.label
    return parameter.label.lower()


def select_judged(rows: Iterable[Mapping[str, Any]], judge: str) -> list[Mapping[str, Any]]:
    """Select the rows that a judge has an answer to.

    Args:
        rows: rows of verdicts.
        judge: the judge's name.

    Returns:
        The rows of images that were asked to have an emotion which is among the judge's labels.
    """
    return [row for row in rows if row["asked"] and judge in row["seen"]]


def accuracy_of(rows: Sequence[Mapping[str, Any]], judge: str) -> Value | None:
    """Compute the emotion accuracy: how often a judge sees the emotion asked for.

    Args:
        rows: rows of verdicts.
        judge: the judge's name.

    Returns:
        The share between 0 and 1 with its interval; None where the judge read none of these images.
    """
    prompts, seeds, hits = [], [], []
    for row in select_judged(rows, judge):
        prompts.append(row["prompt"])
        seeds.append(row["seed"])
        hits.append(float(row["seen"][judge] == row["asked"]))
    count = len(hits)
    if not count:
        return None
    unread = np.zeros((count, 0))
    predictions = Predictions(
        np.array(prompts), np.array(seeds), np.zeros(count, np.int64), unread, unread, np.zeros(count), unread
    )
    return measure_share(np.array(hits), np.ones(count), predictions, by=judge)


def find_curves(entries: Sequence[ScoreEntry], axis: str) -> dict[str, list[tuple[float, ScoreEntry]]]:
    """Find entries that differ in one setting alone.

    Args:
        entries: the scores.
        axis: the setting: `emotion_scale`, `guidance_scale`, or one of a method's own.

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
