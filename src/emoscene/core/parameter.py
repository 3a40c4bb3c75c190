"""A parameter of a generation: an option that also says where it stands, which lists have it, and how it is spelt."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from emoscene.core.config import Option
from emoscene.core.errors import UsageError

CONTENT, EDIT, SAMPLING, OUTPUT = "What it shows", "From an image", "Sampling", "How many, how large"
"""The groups of parameters, as help and page show them."""
CALL, CLI, WEB, BATCH, EVALUATE, COMPARE = "call", "cli", "web", "batch", "evaluate", "compare"
"""Scopes: arguments of a pipeline, options of `generate`, fields of the page, what a batch shares, what `evaluate`
sets, what tells scores apart."""


@dataclasses.dataclass(frozen=True)
class Parameter(Option):
    """A field of `GenerationRequest`, as every list derived from it sees it.

    Args:
        group: the heading that it stands under.
        aliases: short names of the command line and of recipes.
        scope: which derived lists have it.
        label: its name in A1111's text.
        example: what help shows where there is no default.
        count: how many values it has; several are a range whose lower end comes first.
        slider: the part of its range that a slider shows, where that is not all of it.
        annotation: its Python type, as text.
        resolve: finds what a word means that other programs use for one of its choices.
    """

    group: str = ""
    aliases: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    label: str = ""
    example: Any = None
    count: int = 1
    slider: tuple[float, float] | None = None
    annotation: str = ""
    resolve: Callable[[str], str | None] | None = None

    def read(self, value: Any) -> Any:
        """Read one value, or a range of two, from text or from Python.

        Raises:
            UsageError: for what is of another type or lies out of the range.
        """
        if value is None and self.default is None:
            return None
        if self.default is None and self.example is not None:
            return dataclasses.replace(self, default=self.example).read(value)  # which a refusal shows
        if self.resolve is not None and isinstance(value, str):
            value = self.resolve(value) or value
        if self.count == 1:
            return super().read(value)

        ends = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(ends, Sequence) or len(ends) != self.count:
            raise UsageError(f"{self.name}={value} is off: give {self.count} numbers, the lower one first")
        one = dataclasses.replace(self, count=1)
        low, high = (one.read(end) for end in ends)
        if low > high:
            raise UsageError(
                f"{self.name}={low:g} {high:g} is off: {low:g} is above {high:g}; the lower one comes first"
            )
        return low, high


def parameter(default: Any, help: str, kind: str, group: str, scope: tuple[str, ...], **more: Any) -> Any:
    """Make a field of `GenerationRequest`.

    Args:
        default: The value that is used where none is given.
        help: One sentence for `--help` and the page.
        kind: The type of a single value, as text.
        group: The heading that it stands under.
        scope: The lists that it belongs to.
        more: Other fields of `Parameter`.

    Returns:
        The dataclass field.
    """
    metadata = {"help": help, "type": kind, "group": group, "scope": scope, **more}
    return dataclasses.field(default=default, metadata=metadata)
