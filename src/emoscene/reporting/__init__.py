"""Scores become a page that can be mailed: `blocks` to build any page with, and the verb `report` on top of them."""

from emoscene.reporting.html import Figure, Quantity, Share, code_block, details, image_grid, page, drawing_row, section, table, definition_list, image_wall, warning_list
from emoscene.reporting.page import report

__all__ = [
    "Figure",
    "Quantity",
    "Share",
    "code_block",
    "details",
    "image_grid",
    "page",
    "drawing_row",
    "report",
    "section",
    "table",
    "definition_list",
    "image_wall",
    "warning_list",
]
