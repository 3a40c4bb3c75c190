"""What may be asked of the page: a `Wish`, read as strictly as a Config, and a bound on the work that it means.

Words come from a browser or from a program, so nothing is taken as it comes: each field has a type and a span, prompts
are cut of what cannot be printed, and a wish costs no more than `WORK` pictures of the base's size at `STEPS` steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoscene.core import config, registry
from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.core.images import GenerationParams, open_image
from emoscene.core.taxonomy import emotion_weights
from emoscene.pipeline.image_inputs import DEFAULT_KEEP

WORDS = 1000  # characters of a prompt
WORK, STEPS = 32, 25  # the most that one wish may cost: so many pictures at so many steps, of the base's own size
UPLOADS = 12  # pictures given at once
SIDE = 1024  # pixels; a larger picture that is given is brought to it
PAIR = 2  # methods at once


@dataclass(frozen=True)
class Wish:
    """One call of the page."""

    prompt: str = option("", "what to paint")
    negative: str = option("", "what it shall not be")
    emotion: str = option("", "a name, or a mixture such as awe:0.7,fear:-0.3; empty: the base alone")
    strength: float = option(1.0, "0 the base, 1 the method as trained, above more, below 0 away from it", span=(-3, 3))
    method: str = option("none", "what puts the emotion in, or two as a+b")
    seed: int = option(0, "of the first picture; the others count up", span=(0, 2**32 - 1))
    num: int = option(1, "how many pictures", span=(1, 16))
    steps: int = option(20, "of the sampler: more is slower and finer", span=(1, 100))
    cfg: float = option(5.0, "how closely to follow the words; 1 is not at all", span=(1, 30))
    sampler: str = option("dpm++", "which solver", choices=tuple(registry.list_names("samplers")))
    size: int | None = option(None, "side in pixels; empty: the base's own", span=(64, 2048))
    keep: float = option(DEFAULT_KEEP, "how much of the picture stays", span=(0, 1))


def read_wish(pairs: Mapping[str, Any]) -> Wish:
    """The wish in these words. Raises Usage for the first that is off."""
    wish = config.replace_fields(Wish(), {key: _printable(value) for key, value in pairs.items()})
    for name in ("prompt", "negative", "emotion"):
        if len(getattr(wish, name)) > WORDS:
            raise UsageError(f"the {name} is longer than {WORDS} characters: make it shorter")
    emotion_weights(wish.emotion)
    methods = wish.method.split("+")
    if len(methods) > PAIR or len(set(methods)) < len(methods):
        raise UsageError(f"{wish.method} is off: give one method, or two that differ")
    return wish


def check_budget(rows: Sequence[GenerationParams], own: int) -> list[GenerationParams]:
    """The rows, where they cost no more than one wish may; own: the side of the base's pictures.

    Raises Usage where they do.
    """
    cost = sum(row.size[0] * row.size[1] * row.steps for row in rows) / (own**2 * STEPS)
    if cost > WORK:
        remedy = "ask for fewer pictures, fewer steps or a smaller size"
        raise UsageError(f"this is the work of {cost:.0f} pictures, and one call may ask for {WORK}: {remedy}")
    return list(rows)


def open_uploads(files: Sequence[str]) -> list[Any]:
    """The pictures in these files, none larger than `SIDE`. Raises Usage for none, too many, or what is no picture."""
    if not files:
        raise UsageError("there is no picture yet: drop one first")
    if len(files) > UPLOADS:
        raise UsageError(f"{len(files)} pictures are too many: {UPLOADS} at once")
    pictures = []
    for file in files:
        pictures.append(open_image(file))
        pictures[-1].thumbnail((SIDE, SIDE))
    return pictures


def _printable(value: Any) -> Any:
    """Text without what cannot be printed; anything else as it is."""
    if not isinstance(value, str):
        return value
    return "".join(sign if sign.isprintable() else " " for sign in value).strip()
