"""The verb `mini`: images of the rendered world in the layout of a public data set."""

from __future__ import annotations

from pathlib import Path

from emoscene_mini.world1.layouts import write_layout


def mini(*, layout: str, out: str | Path, num: int = 800, seed: int = 0) -> Path:
    """Render images of the world into a folder, as EmoSet, RAF-DB or an imagefolder lays them out.

        emoscene mini --layout emoset --num 800 --seed 1 --out out/world

    Args:
        layout: `emoset`, `raf-db` or `imagefolder`.
        out: the folder; the same call goes on where it stopped.
        num: how many images.
        seed: the world's seed of the first; the others count up from it.

    Returns:
        The folder.

    Raises:
        UsageError: for a layout that nobody knows, and for a folder that another call has begun.
    """
    return write_layout(layout, num, seed, out)
