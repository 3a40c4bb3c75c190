"""The verb `report`: scores on a page that can be mailed, and the parts that any such page is made of.

    html        figures, grids, cells; fills a template        templates/  pages and their blocks
    figures     SVG: points, curves, matrices                   scores      reads folders of scores
    drawings    what the report draws with them                 comparisons how they differ, paired
    tables      the report as tables                            text        Markdown and CSV
    page        the verb `report`

Other packages put templates of their own on the same page: they extend `page.html.j2` and call `blocks.html.j2`.
"""

from emoscene.reporting.html import Figure, ImageGrid, Quantity, Share, render_html
from emoscene.reporting.page import report

__all__ = ["Figure", "ImageGrid", "Quantity", "Share", "render_html", "report"]
