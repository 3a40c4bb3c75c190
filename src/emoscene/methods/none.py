"""The base alone: what every comparison is paired with."""

from dataclasses import dataclass
from typing import final

from emoscene.methods.base import Method


@final
class None_(Method):
    """Changes nothing, whatever emotion is asked: the defaults of `Method`."""

    columns = ()

    @dataclass(frozen=True)
    class Config:
        """Nothing to set."""
