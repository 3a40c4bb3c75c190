"""Scores become a page that can be mailed: `blocks` to build any page with, and the verb `report` on top of them."""

from emoscene.reporting.blocks import (
    Plate,
    Quantity,
    Share,
    code,
    folded,
    grid,
    page,
    panels,
    section,
    table,
    terms,
    wall,
    warnings,
)
from emoscene.reporting.story import report

__all__ = [
    "Plate",
    "Quantity",
    "Share",
    "code",
    "folded",
    "grid",
    "page",
    "panels",
    "report",
    "section",
    "table",
    "terms",
    "wall",
    "warnings",
]
