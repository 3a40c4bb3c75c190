"""The parts of a self-contained page: its images lie inside the file, so it can be mailed.

    render_html("demo.html.j2", "emoscene_mini", figures=[Figure(image, "a village, awe")], ...)

A page is a template that extends `templates/page.html.j2` (the look: light and dark, wide and narrow, print) and calls
the macros of `templates/blocks.html.j2` (sections, grids, tables) with the values below.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import isnan
from typing import Any, ClassVar

from markupsafe import Markup
from PIL import Image

from emoscene.core import templates
from emoscene.core.image_origin import encode_mark

PACKAGE = "emoscene.reporting"


@dataclass(frozen=True)
class Figure:
    """An image, its description, and perhaps a note to stand under it."""

    image: Image.Image
    words: str
    note: str = ""

    def data_uri(self) -> str:
        """Encode the image as an address.

        Returns:
            A `data:` URI of a WebP, as it is a fifth of a PNG.
        """
        buffer = BytesIO()
        self.image.save(buffer, "WEBP", quality=92, method=6, **encode_mark(self.image))
        data = b64encode(buffer.getvalue()).decode()
        return f"data:image/webp;base64,{data}"


@dataclass(frozen=True)
class ImageGrid:
    """Small images with names on top and at the side; each row is its name and a figure for each column."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Figure]]]
    caption: str = ""


@dataclass(frozen=True)
class Quantity:
    """A figure of any size with its interval, if it has one; it is shown to three digits."""

    kind: ClassVar[str] = "quantity"

    value: float
    low: float | None
    high: float | None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are numbers."""
        return self.low is not None and self.high is not None and not isnan(self.low + self.high)


@dataclass(frozen=True)
class Share(Quantity):
    """A share between 0 and 1 with its interval, if it has one; `chance` is what guessing would reach."""

    kind: ClassVar[str] = "share"

    chance: float | None = None


Cell = str | Share | Quantity


def render_html(template: str, *packages: str, **values: Any) -> Markup:
    """Fill a template that may use the page and the blocks of this package.

    Args:
        template: the file's name.
        packages: other packages whose folder `templates/` is looked into first.
        values: what the template's names stand for.

    Returns:
        The HTML, in which all text is escaped.

    Raises:
        jinja2.UndefinedError: for a name in the template that has no value.
    """
    return templates.render((*packages, PACKAGE), template, **values)
