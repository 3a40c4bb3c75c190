"""Findings on the disk, and the page of the documentation that tells them beside the published figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.evaluation.intervals import interval_text
from emoscene.evaluation.metrics.base import Value
from emoscene_mini.laws.law import Finding, Law, law_holds

HEAD = """# Seven laws on a CPU

Seven published findings about the control of diffusion models, measured on the miniature with `make laws`. The sign,
the threshold and the seeds stood in the code before anything was measured. A law holds where the whole 95 % interval of
each of its figures is above the threshold. The size of a figure is the miniature's own: a model of 11 million
parameters and a rendered world say nothing about the size elsewhere.
"""


def write_page(file: Path, laws: Sequence[Law], known: Mapping[str, Sequence[Finding]]) -> None:
    """Write the page.

    Args:
        file: The Markdown file.
        laws: The laws, in order; those without findings are left out.
        known: The findings by the law's name.
    """
    measured = [law for law in laws if law.name in known]
    held = sum(law_holds(known[law.name]) for law in measured)
    lines = [HEAD, f"{held} of {len(measured)} hold.", ""]
    lines += ["| law | published | here | |", "|---|---|---|---|"]
    for law in measured:
        lines.append(_format_row(law, known[law.name]))
    run_dir.write_atomic(file, ("\n".join(lines) + "\n").encode())


def _format_row(law: Law, findings: Sequence[Finding]) -> str:
    figures = []
    for finding in findings:
        figures.append(f"{finding.what}: {format_value(finding.value)} (above {finding.above:g})")
    mark = "holds" if law_holds(findings) else "**does not hold**"
    return f"| {law.sentence} {law.source} | {law.published} | {'; '.join(figures)} | {mark} |"


def format_value(value: Value) -> str:
    """Write a figure with its interval.

    Args:
        value: The figure.

    Returns:
        As ".123 (.100 to .150)".
    """
    return f"{value.value:.3f}{interval_text(value.low, value.high, '.3f')}"


def save_findings(file: Path, known: Mapping[str, Sequence[Finding]]) -> None:
    """Write findings.

    Args:
        file: The JSON file.
        known: The findings by the law's name.
    """
    table: dict[str, list[dict[str, Any]]] = {}
    for name, findings in known.items():
        table[name] = [asdict(finding) for finding in findings]
        for row in table[name]:
            del row["value"]["drawn"]
    run_dir.write_atomic(file, json.dumps(table, indent=1).encode())


def load_findings(file: Path) -> dict[str, list[Finding]]:
    """Read findings.

    Args:
        file: The JSON file that `save_findings` wrote; it may be missing.

    Returns:
        The findings by the law's name.
    """
    if not file.exists():
        return {}
    table: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf8"))
    known = {}
    for name, rows in table.items():
        known[name] = [Finding(row["what"], Value(**row["value"]), row["above"]) for row in rows]
    return known
