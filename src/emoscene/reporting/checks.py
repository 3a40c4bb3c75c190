"""Checks that a folder of scores holds what `evaluate` writes, since anybody may have written it.

The report formats figures, multiplies costs and looks names up. So the kind of each value is checked once, where the
files are read; what a later version may have added is not looked at. A check raises one of Python's own errors, which
`scores.load_entries` turns into a sentence with the file's name.
"""

from collections.abc import Mapping
from typing import Any

from emoscene.core.taxonomy import EMOTIONS

TABLES = ("settings", "judged_by", "cost", "robustness", "missing")
"""Tables that may be left out."""
LISTS = ("cautions", "adapters", "remarks")
"""Lists that may be left out."""
COSTS = (
    "trainable",
    "bytes",
    "training_images",
    "training_seconds",
    "seconds_per_image",
    "images_per_second",
    "peak_memory_mb",
)
ENDS = ("value", "low", "high")
VERDICT = ("file", "prompt", "seed", "asked", "scene", "kept", "seen")
"""What every row of verdicts has."""


def check_scores(scores: Any) -> None:
    """Check what `scores.json` holds.

    Args:
        scores: its content, in today's form (`core.migration.migrate_scores`).

    Raises:
        TypeError: for a value of another kind.
        KeyError: for a value that is missing.
        ValueError: for a number that no figure can be.
    """
    for name in TABLES:
        check_table(scores.get(name) or {}, name)
    for name in LISTS:
        check_kind(scores.get(name, []), list, name)
    for name in ("cautions", "missing"):
        for sentence in scores.get(name, []):
            check_kind(sentence, str, name)
    for sentence in scores.get("missing", {}).values():
        check_kind(sentence, str, "missing")
    check_kind(scores["images"], int, "images")
    for costs in (scores, scores.get("cost", {})):
        for name in COSTS:
            if costs.get(name) is not None:
                check_number(costs[name], name)
    check_table(scores["judges"], "judges")
    for judge in scores["judges"].values():
        check_judge(judge)
    for name, figure in check_table(scores["metrics"], "metrics").items():
        check_figure(figure, name)
        check_kind(figure["by"], str, name)
    for judge, treated in scores.get("robustness", {}).items():
        for name, figure in check_table(treated, judge).items():
            check_figure(figure, name)


def check_judge(judge: Any) -> None:
    """Check the figures of one judge.

    Args:
        judge: its table in `judges`.

    Raises:
        TypeError: for a value of another kind.
        KeyError: for a value that is missing.
        ValueError: for a number that no figure can be.
    """
    for name, value in check_table(judge, "judges").items():
        if name == "per_emotion":
            for one in check_table(value, name).values():
                check_number(one["f1"], name)
        elif name == "confusion":
            check_grid(value, name, len(EMOTIONS), len(EMOTIONS))
        elif name == "reliability":
            check_grid(value, name, len(check_kind(value, list, name)), 3)
        elif isinstance(value, dict) or value is None:
            check_figure(value, name)
        else:
            check_kind(value, list, name)


def check_figure(figure: Any, name: str) -> None:
    """Check a figure with its interval; all three numbers are null where it could not be measured.

    Args:
        figure: a table with `value`, `low`, `high` and `n`.
        name: what it is called.

    Raises:
        TypeError: for a value of another kind.
        KeyError: for a value that is missing.
        ValueError: for a number that no figure can be.
    """
    check_table(figure, name)
    check_kind(figure["n"], int, name)
    for end in ENDS:
        if figure[end] is not None:
            check_number(figure[end], name)


def check_grid(rows: Any, name: str, high: int, wide: int) -> None:
    """Check a list of lists of numbers.

    Args:
        rows: the lists.
        name: what they are called.
        high: how many lists there are.
        wide: how many numbers each has.

    Raises:
        TypeError: for a value of another kind.
        ValueError: for another number of them.
    """
    if len(check_kind(rows, list, name)) != high:
        raise ValueError(f"{name} has {len(rows)} rows")
    for row in rows:
        if len(check_kind(row, list, name)) != wide:
            raise ValueError(f"{name} has a row of {len(row)}")
        for number in row:
            check_number(number, name)


def check_verdict(row: Mapping[str, Any]) -> None:
    """Check a row of `verdicts.jsonl`.

    Args:
        row: its content.

    Raises:
        TypeError: for a value of another kind.
        KeyError: for a value that is missing.
        ValueError: for a number that no figure can be.
    """
    for name in VERDICT:
        row[name]
    check_kind(row["prompt"], str, "prompt")
    check_kind(row["seed"], int, "seed")
    if row["asked"] not in (None, *EMOTIONS):
        raise ValueError("asked is no emotion")
    if row["scene"] is not None:
        check_kind(row["scene"], str, "scene")
    if row["kept"] is not None:
        check_number(row["kept"], "kept")
    for emotion in check_table(row["seen"], "seen").values():
        check_kind(emotion, str, "seen")


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check what the report uses of a manifest, and of those of the folders before it.

    Args:
        manifest: its content.

    Raises:
        TypeError: for a value of another kind.
        KeyError: for a value that is missing.
        ValueError: for a number that no figure can be.
    """
    for name in ("config", "versions"):
        check_table(manifest.get(name, {}), name)
    for parent in check_kind(manifest.get("parents", []), list, "parents"):
        check_kind(check_table(parent, "parents")["kind"], str, "kind")
        check_manifest(parent)


def check_table(value: Any, name: str) -> dict[str, Any]:
    """Check that a value is a table.

    Args:
        value: any value.
        name: what it is called.

    Returns:
        The table.

    Raises:
        TypeError: for anything else.
    """
    table: dict[str, Any] = check_kind(value, dict, name)
    return table


def check_number(value: Any, name: str) -> None:
    """Check that a value is a number.

    Args:
        value: any value.
        name: what it is called.

    Raises:
        TypeError: for what is no number, a boolean included.
        OverflowError: for a number that no float can hold.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} is {value} and no number")
    float(check_kind(value, (int, float), name))


def check_kind(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    """Check that a value is of a kind.

    Args:
        value: any value.
        kind: the kind, or several.
        name: what the value is called.

    Returns:
        The value.

    Raises:
        TypeError: for a value of another kind.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} is of another kind")
    return value
