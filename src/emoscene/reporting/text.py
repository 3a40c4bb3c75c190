"""The report as text: its tables as Markdown, and every figure as CSV, for spreadsheets and scripts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from emoscene.evaluation.intervals import interval_text
from emoscene.reporting.html import Cell, Quantity, Share
from emoscene.reporting.scores import ScoreEntry
from emoscene.reporting.tables import COSTS, Table

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet computes."""


def cell_text(cell: Cell) -> str:
    """Write a cell in words.

    Args:
        cell: the cell.

    Returns:
        Its text, with the interval in brackets.
    """
    if isinstance(cell, Share):
        return f"{cell.value:.1%}{interval_text(cell.low, cell.high, '.1%')}"
    if isinstance(cell, Quantity):
        return f"{cell.value:.3g}{interval_text(cell.low, cell.high, '.3g')}"
    return cell


def markdown(title: str, remarks: Sequence[str], tables: Mapping[str, Table]) -> str:
    """Write the report as Markdown.

    Args:
        title: the heading of all.
        remarks: what must be known before comparing.
        tables: the tables by their headings.

    Returns:
        The text of `report.md`.
    """
    parts = [f"# {title}"]
    for remark in remarks:
        parts.append(f"> {remark}")
    for name, (head, rows) in tables.items():
        lines = [_markdown_line(head), _markdown_line(["---"] * len(head))]
        for row in rows:
            lines.append(_markdown_line([cell_text(cell).replace("|", "\\|") for cell in row]))
        parts += [f"## {name}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table_of_all(entries: Sequence[ScoreEntry]) -> str:
    """Write every figure of every entry as CSV.

    Args:
        entries: the scores.

    Returns:
        The text of `scores.csv`: a line a figure.
    """
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "by", "figure", "value", "low", "high", "n"])
    for entry in entries:
        for by, name, one in _list_figures(entry):
            words = [_quote_formula(word) for word in (entry.name, by, name)]
            writer.writerow([*words, one["value"], one["low"], one["high"], one["n"]])
        for name in COSTS:
            writer.writerow([_quote_formula(entry.name), "cost", name, entry.cost(name), "", "", ""])
    return buffer.getvalue()


def _quote_formula(word: str) -> str:
    """A word that a spreadsheet takes for no formula, whoever chose it."""
    if word.startswith(FORMULA):
        return f"'{word}"
    return word


def _list_figures(entry: ScoreEntry) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """By whom a figure is, its name, and the figure."""
    for judge, figures in entry.scores["judges"].items():
        for name, one in figures.items():
            if isinstance(one, dict) and "low" in one:
                yield judge, name, one
        for name, one in entry.scores.get("robustness", {}).get(judge, {}).items():
            yield judge, f"emotion_accuracy after {name}", one
    for part in ("metrics", "shortcuts"):
        for name, one in entry.scores.get(part, {}).items():
            yield one["by"], name, one
