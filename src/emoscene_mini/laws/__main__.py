"""The command: `python -m emoscene_mini.laws --out out/laws`, or `make laws`.

What is rendered, trained and generated is kept in `--out`, and taken from there by the next call. The exit status is 0
whatever comes out: a law that does not hold is a result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from emoscene.core.progress import terminal_callbacks
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws import guidance, mixing, sources, timing, words
from emoscene_mini.laws.law import Finding, Law, law_holds
from emoscene_mini.laws.page import format_value, load_findings, save_findings, write_page

LAWS = (
    Law(
        "recall",
        "A larger guidance scale makes images better and less various: precision rises, recall falls.",
        "Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233",
        "precision .82 to .87, recall .52 to .42 (ADM-G, ImageNet)",
        guidance.measure_recall,
    ),
    Law(
        "fooled",
        "The harder a classifier guides, the more its own accuracy exceeds that of a judge it does not know.",
        "Gao et al. 2023, https://arxiv.org/abs/2210.10760; Liu et al. 2025, https://arxiv.org/abs/2505.05470",
        "GenEval falls from .65 to .54 while the rewarded PickScore rises (Flow-GRPO)",
        guidance.measure_fooled_guide,
    ),
    Law(
        "clipping",
        "Guidance in an interval of noise levels saturates less than guidance at all of them, and keeps what it shows.",
        "Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724",
        "FID 1.81 to 1.40 (EDM2-XXL, ImageNet 512)",
        guidance.measure_clipping,
    ),
    Law(
        "norms",
        "Freely learned words grow longer than any word, and the other words of the prompt get lost.",
        "Kim et al. 2026, https://arxiv.org/abs/2512.13672",
        "text similarity .292 free, .522 with a fixed norm (SDXL)",
        words.measure_norms,
    ),
    Law(
        "timing",
        "The layout is decided in the first steps, the style later.",
        "Tinaz et al. 2025, https://arxiv.org/abs/2504.15473",
        "SD1.4: changes of layout succeed early in 80 %, in the middle in 23, late in 25; of style in 78, 93, 69",
        timing.measure_decisions,
    ),
    Law(
        "sources",
        "A judge that learned from one source of images loses accuracy on another.",
        "EMO-R3 (2026)",
        "accuracy .77 on EmoSet, .35 on Emotion6, .18 on WebEmo",
        sources.measure_other_sources,
    ),
    Law(
        "mixing",
        "Of two fine-tuned models, mixed predictions show both aims better than mixed weights do.",
        "Cheng et al. 2025, https://arxiv.org/abs/2505.18547",
        "95 % of what joint training reaches by predictions, 70 % by weights",
        mixing.measure_mixing,
    ),
)


def measure_laws(lab: Experiment, only: Sequence[str] = ()) -> dict[str, list[Finding]]:
    """Measure laws into the experiment's folder; those measured before and not now are kept in it.

    Args:
        lab: The experiment.
        only: The names of the laws; all if empty.

    Returns:
        The findings of all laws that are known, by name.
    """
    lab.out.mkdir(parents=True, exist_ok=True)
    file = lab.out / "laws.json"
    known = load_findings(file)
    for law in LAWS:
        if law.name in only or not only:
            lab.on_message(f"measuring {law.name}")
            known[law.name] = list(law.measure(lab))
            save_findings(file, known)
    return known


def main(line: Sequence[str] | None = None) -> int:
    """Measure and print the laws."""
    names = [law.name for law in LAWS]
    parser = argparse.ArgumentParser(prog="python -m emoscene_mini.laws", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/laws"), help="where everything is kept")
    parser.add_argument("--only", nargs="+", choices=names, default=(), metavar="NAME", help=", ".join(names))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--page", type=Path, help="a Markdown file to write the laws into")
    asked = parser.parse_args(line)
    with terminal_callbacks() as callbacks:
        lab = Experiment(asked.out, asked.base, on_message=callbacks.on_message)
        known = measure_laws(lab, asked.only)
    table = Table("law", "what", "figure", "has to be above", "")
    for name, findings in known.items():
        for finding in findings:
            mark = "holds" if finding.holds else "does not hold"
            table.add_row(name, finding.what, format_value(finding.value), f"{finding.above:g}", mark)
    console = Console(width=150)
    console.print(table)
    held = sum(law_holds(findings) for findings in known.values())
    console.print(f"{held} of {len(known)} laws hold")
    if asked.page:
        write_page(asked.page, LAWS, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
