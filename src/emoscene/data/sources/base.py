"""The contract of a source: it says how many pictures there are, and yields them in order with their records.

Preparing numbers the pictures 0 .. len - 1 and asks for some of them, in any process, again after a crash: so a
source is a function of (root, config, number), with no state of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from emoscene.data.records import Record


class Source(ABC):
    """Pictures with labels. A subclass is final and its file bears its name.

    Config: a frozen dataclass whose defaults run.
    """

    Config: ClassVar[type]

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        """root: the folder it reads; side: the wanted side of a picture in pixels; limit: at most so many pictures."""
        self.root, self.config, self.side, self.limit = root, config, side, limit

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are, the limit considered."""

    @abstractmethod
    def pictures(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """These pictures, RGB and `side` pixels square, each with its record (its `file` and `latent` still empty)."""
