"""The miniature world as a source: endless pictures, rendered as they are asked for, each role from its own seeds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.data.notes import ImageNote
from emoscene.data.records import ROLES, Record
from emoscene.data.sources.base import Source
from emoscene_mini.world.roles import role_seeds
from emoscene_mini.world1.plan import plan
from emoscene_mini.world1.render_pool import render_images

DEFAULT = 6000


class Mini(Source):
    """Of `limit` pictures, the shares below go to selector, judges and what is held out, the rest to methods."""

    @dataclass(frozen=True)
    class Config:
        """How to render the world."""

        selector: float = option(0.05, "share of the pictures that pick checkpoints", span=(0.0, 0.3))
        judges: float = option(0.05, "share of the pictures for judges", span=(0.0, 0.3))
        heldout: float = option(0.10, "share of the pictures that nothing learns from", span=(0.0, 0.3))
        start: int = option(0, "the first picture of each role's seeds", span=(0, 9_000_000))
        workers: int = option(-1, "rendering processes; 0 is none, -1 one for each core", span=(-1, 1024), runtime=True)

    config: Config
    licence: ClassVar[str] = "The miniature world is emoscene's own, under Apache-2.0."
    deals: ClassVar[bool] = True

    def __init__(self, root: Path | None, config: Any, side: int, limit: int | None = None) -> None:
        if root is not None:
            raise UsageError("mini renders its images and reads none: leave out --root, or name another source")
        super().__init__(root, config, side, limit)

    def __len__(self) -> int:
        return DEFAULT if self.limit is None else self.limit

    def seed(self, number: int) -> tuple[str, int]:
        """Find the role and the world's seed of an image; methods come first, so that a small limit has some.

        Args:
            number: The image's number.

        Returns:
            The role, and the seed.
        """
        shares = {role: round(len(self) * getattr(self.config, role)) for role in ROLES[1:]}
        counts = [len(self) - sum(shares.values()), *shares.values()]
        ends = list(accumulate(counts))
        place = bisect_right(ends, number)
        role, first = ROLES[place], ends[place] - counts[place]
        return role, role_seeds(role, 1, self.config.start + number - first)[0]

    def survey(self, numbers: Sequence[int]) -> Iterator[ImageNote]:
        """Describe images from their plans; nothing is rendered, as a rendered image is sound.

        Args:
            numbers: The images.

        Returns:
            A note an image, in order.
        """
        for number in numbers:
            role, seed = self.seed(number)
            drawn = plan(seed)
            yield ImageNote(
                number,
                f"mini-{seed}",
                f"seed {seed}",
                drawn.weights,
                drawn.scene,
                role=role,
                worded="own",
                rendered=True,
            )

    def read_images(self, numbers: Sequence[int]) -> Iterator[tuple[Record, Image.Image]]:
        """Render images, several at once.

        Args:
            numbers: The images.

        Returns:
            The record and the image of each, in order.
        """
        dealt = [self.seed(number) for number in numbers]
        workers = None if self.config.workers < 0 else self.config.workers
        orders = ({"seed": seed} for _, seed in dealt)
        for (role, seed), proof in zip(dealt, render_images(orders, self.side, workers), strict=True):
            record = Record(
                id=f"mini-{seed}",
                weights=proof.plan.weights,
                votes=proof.plan.votes,
                caption=proof.short,
                caption_long=proof.long,
                scene=proof.plan.scene,
                role=role,
            )
            yield record, proof.picture
