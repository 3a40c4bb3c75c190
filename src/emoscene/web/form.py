"""What may be asked of the page: a `GenerationRequest`, read strictly, and a bound on the work that it means.

Words come from a browser or from a program, so nothing is taken as it comes: each field has a type and a span, prompts
are cut of what cannot be printed, and a call costs no more than `WORK` pictures of the base's size at `STEPS` steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emoscene.core.errors import UsageError
from emoscene.core.images import open_image
from emoscene.core.parameter import WEB
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest, check_words, list_parameters
from emoscene.core.taxonomy import emotion_weights

WORDS = 1000  # characters of a prompt
WORK, STEPS = 32, 25  # the most that one wish may cost: so many pictures at so many steps, of the base's own size
UPLOADS = 12  # pictures given at once
SIDE = 1024  # pixels; a larger picture that is given is brought to it
PAIR = 2  # methods at once
TEXT = {"prompt", "negative_prompt", "emotion"}


FIELDS = tuple(list_parameters(WEB))
"""The parameters of a generation that the page asks for, in their order."""


def read_request(pairs: Mapping[str, Any]) -> GenerationRequest:
    """The request in these words of a browser or a program.

    Args:
        pairs: fields in `FIELDS`; those left out have their defaults.

    Raises:
        UsageError: for the first that is off.
    """
    words = {key: _printable(value) for key, value in pairs.items()}
    check_words(words, FIELDS)
    for name in TEXT & words.keys():
        if not isinstance(words[name], str):
            raise UsageError(f"{name}={words[name]} is off: it is text")
        if len(words[name]) > WORDS:
            raise UsageError(f"the {name.removesuffix('_prompt')} is longer than {WORDS} characters: make it shorter")
    emotion_weights(words.get("emotion"))
    words["emotion"] = words.get("emotion") or None
    methods = (words.get("method") or "none").split("+")
    if len(methods) > PAIR or len(set(methods)) < len(methods):
        raise UsageError(f"{words['method']} is off: give one method, or two that differ")
    return GenerationRequest(**words)


def check_cost(request: GenerationRequest, own: int) -> None:
    """Raises UsageError where a request costs more than one call may; own: the side of the base's images."""
    width, height = request.width or own, request.height or request.width or own
    _refuse_above(request.num_images_per_prompt * width * height * request.num_inference_steps, own)


def check_budget(rows: Sequence[GenerationParams], own: int) -> list[GenerationParams]:
    """The rows, where they cost no more than one call may; own: the side of the base's pictures.

    Raises Usage where they do.
    """
    _refuse_above(sum(row.width * row.height * row.num_inference_steps for row in rows), own)
    return list(rows)


def _refuse_above(pixel_steps: int, own: int) -> None:
    """Raises UsageError where so many pixels, each counted once a step, are more than one call may ask for."""
    cost = pixel_steps / (own**2 * STEPS)
    if cost > WORK:
        remedy = "ask for fewer pictures, fewer steps or a smaller size"
        raise UsageError(f"this is the work of {cost:.0f} pictures, and one call may ask for {WORK}: {remedy}")


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
