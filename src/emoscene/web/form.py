"""Reads what a browser or a program asks for as a `GenerationRequest`, and bounds the work that it means.

Nothing is taken as it comes: each field has a type and a range, text loses what cannot be printed, and one call costs
at most as much as `MAX_IMAGES` images of the base's own size at `STEPS` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from PIL import Image

from emoscene.core.errors import UsageError
from emoscene.core.images import open_image
from emoscene.core.parameter import WEB
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest, check_words, list_parameters
from emoscene.core.taxonomy import emotion_weights

MAX_CHARACTERS = 1000  # of a prompt
MAX_IMAGES, STEPS = 32, 25  # what one call may cost: so many images of the base's own size, at so many steps
UPLOADS = 12  # images uploaded at once
SIDE = 1024  # pixels; a larger upload is scaled down to it
REDUCED = f"this page works with {SIDE} pixels a side: `emoscene generate --image` returns an image at its own size"
MAX_METHODS = 2  # combined in one image
TEXT = {"prompt", "negative_prompt", "emotion"}
FIELDS = tuple(list_parameters(WEB))
"""The parameters of a generation that the page asks for, in order."""


def read_request(fields: Mapping[str, Any]) -> GenerationRequest:
    """Read a request from a browser or a program.

    Args:
        fields: Values by a name in `FIELDS`; those left out have their defaults.

    Returns:
        The request, with every value within its bounds.

    Raises:
        UsageError: For the first value that is off.
    """
    words = {key: _printable(value) for key, value in fields.items()}
    check_words(words, FIELDS)
    for name in TEXT & words.keys():
        if not isinstance(words[name], str):
            raise UsageError(f"{name}={words[name]} is off: it is text")
        if len(words[name]) > MAX_CHARACTERS:
            kind = name.removesuffix("_prompt")
            raise UsageError(f"the {kind} is longer than {MAX_CHARACTERS} characters: make it shorter")
    emotion_weights(words.get("emotion"))
    words["emotion"] = words.get("emotion") or None
    methods = (words.get("method") or "none").split("+")
    if len(methods) > MAX_METHODS or len(set(methods)) < len(methods):
        raise UsageError(f"{words['method']} is off: give one method, or two that differ")
    return GenerationRequest(**words)


def check_cost(request: GenerationRequest, base_size: int) -> None:
    """Refuse a request that costs more than one call may.

    Args:
        request: The request.
        base_size: The side of the base's own images, in pixels.

    Raises:
        UsageError: Where it costs too much.
    """
    width = request.width or base_size
    height = request.height or width
    _refuse_above(request.num_images_per_prompt * width * height * request.num_inference_steps, base_size)


def check_budget(
    rows: Sequence[GenerationParams],
    base_size: int,
    working_size: Callable[[GenerationParams], tuple[int, int]] = attrgetter("size"),
) -> list[GenerationParams]:
    """Refuse planned images that together cost more than one call may.

    Args:
        rows: The planned images.
        base_size: The side of the base's own images, in pixels.
        working_size: Tells the width and height at which a row is worked on.

    Returns:
        The planned images.

    Raises:
        UsageError: Where they cost too much.
    """
    pixel_steps = 0
    for row in rows:
        width, height = working_size(row)
        pixel_steps += width * height * row.num_inference_steps
    _refuse_above(pixel_steps, base_size)
    return list(rows)


def _refuse_above(pixel_steps: int, base_size: int) -> None:
    """Raises UsageError where pixels times steps are more than one call may ask for."""
    cost = pixel_steps / (base_size**2 * STEPS)
    if cost > MAX_IMAGES:
        remedy = "ask for fewer images, fewer steps or a smaller size"
        raise UsageError(f"this is the work of {cost:.0f} images, and one call may ask for {MAX_IMAGES}: {remedy}")


def open_uploads(files: Sequence[str]) -> list[Image.Image]:
    """Open uploaded images.

    Args:
        files: Their paths.

    Returns:
        RGB images, no side longer than `SIDE` pixels.

    Raises:
        UsageError: For no file, for more than `UPLOADS`, and for a file that is no image.
    """
    if not files:
        raise UsageError("there is no image yet: drop one first")
    if len(files) > UPLOADS:
        raise UsageError(f"{len(files)} images are too many: {UPLOADS} at once")
    images = []
    for file in files:
        image = open_image(file, enough=SIDE)
        image.thumbnail((SIDE, SIDE))
        images.append(image)
    return images


def _printable(value: Any) -> Any:
    """Text with a space for each character that cannot be printed; any other value as it is."""
    if not isinstance(value, str):
        return value
    signs = []
    for sign in value:
        signs.append(sign if sign.isprintable() else " ")
    return "".join(signs).strip()
