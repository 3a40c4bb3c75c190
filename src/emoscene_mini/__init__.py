"""The miniature: a whole Stable Diffusion of the painted world, its judges and its adapters, small enough to ship.

    weights/      base, judges, adapters
    demo.py       the verb `demo`; showing.py is its page
    claims.py     every figure of the README, measured again

The room itself is the verb `mini`, so it can be called: `emoscene_mini(layout="emoset", num=800, out="world")`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from emoscene_mini.world.layouts import write_layout


class _Room(ModuleType):
    """A module that can be called."""

    def __call__(self, *, layout: str, out: str | Path, num: int = 800, seed: int = 0) -> Path:
        """Render `num` pictures of the world, from `seed` on, into `out` in a public data set's layout; returns it.

        layout: `emoset`, `raf-db` or `imagefolder`. The same call goes on where it stopped.
        """
        return write_layout(layout, num, seed, out)


sys.modules[__name__].__class__ = _Room
