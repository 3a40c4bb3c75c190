"""Scores become a page that can be mailed: `html` to build any page with, and the verb `report` on top of them."""

from emoscene.reporting.html import (
    Figure,
    Quantity,
    Share,
    code_block,
    definition_list,
    details,
    drawing_row,
    image_grid,
    image_wall,
    section,
    table,
    warning_list,
    whole_page,
)
from emoscene.reporting.page import report

__all__ = [
    "Figure",
    "Quantity",
    "Share",
    "code_block",
    "definition_list",
    "details",
    "drawing_row",
    "image_grid",
    "image_wall",
    "report",
    "section",
    "table",
    "warning_list",
    "whole_page",
]
