"""Mikels' eight emotions and the notation for mixing them: `awe:0.7,fear:-0.3` <-> eight weights.

The order is EmoSet's, which is not alphabetical; it is the order of every list of eight numbers in this project.
Loaders that sort alphabetically permute the labels silently, so map by name and never by number.

An emotion is eight numbers, `a = strength x weights`: zero is the untouched base, one the method as trained, above
extrapolates, below zero suppresses. Weights are taken as written; the names that carry none share one between them.

`AFFECT` is a stated table, not a measurement: each word is placed by hand, to a tenth, on the circumplex of Russell
(1980, "A circumplex model of affect", J. Pers. Soc. Psychol. 39). Awe, disgust and amusement are not among his words
and stand beside their nearest kin (aroused, distressed, happy). To use published norms instead, edit the table.
"""

import math
from collections.abc import Mapping, Sequence

from emoscene.errors import Usage, unknown

EMOTIONS: tuple[str, ...] = (
    "amusement",
    "awe",
    "contentment",
    "excitement",
    "anger",
    "disgust",
    "fear",
    "sadness",
)

AFFECT: dict[str, tuple[float, float]] = {
    "amusement": (0.9, 0.2),
    "awe": (0.4, 0.6),
    "contentment": (0.8, -0.6),
    "excitement": (0.7, 0.7),
    "anger": (-0.5, 0.7),
    "disgust": (-0.7, 0.4),
    "fear": (-0.2, 0.8),
    "sadness": (-0.8, -0.4),
}
"""Valence (unpleasant to pleasant) and arousal (calm to excited), each in [-1, 1]."""

Weights = tuple[float, ...]
"""Eight numbers in the order of `EMOTIONS`."""

NOTHING: Weights = (0.0,) * len(EMOTIONS)


def parse(text: str) -> dict[str, float]:
    """Read `awe`, `awe,fear` (a half each) or `awe:0.7,fear:-0.3`."""
    mixture: dict[str, float] = {}
    bare: list[str] = []
    for part in text.split(","):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        name = _known(name)
        if name in mixture:
            raise Usage(f"{name} stands twice in {text!r}: write it once, with its whole weight")
        mixture[name] = _number(number, text) if colon else 0.0
        if not colon:
            bare.append(name)
    mixture.update(dict.fromkeys(bare, 1 / len(bare)) if bare else {})
    if not any(mixture.values()):
        raise Usage(f"every weight of {text!r} is zero: give one a weight, or ask for no emotion")
    return mixture


def weights(emotion: str | Mapping[str, float] | Sequence[float] | None) -> Weights:
    """Eight weights from any way of saying them; nothing asked is `NOTHING`."""
    if isinstance(emotion, str):
        emotion = parse(emotion) if emotion.strip() else None
    if emotion is None:
        return NOTHING
    if isinstance(emotion, Mapping):
        named = {_known(name): _number(value, name) for name, value in emotion.items()}
        return tuple(named.get(name, 0.0) for name in EMOTIONS)
    numbers = tuple(float(value) for value in emotion)
    if len(numbers) != len(EMOTIONS) or not all(map(math.isfinite, numbers)):
        raise Usage(f"an emotion in numbers is {len(EMOTIONS)} finite ones, in the order {', '.join(EMOTIONS)}")
    return numbers


def describe(weights: Sequence[float]) -> str:
    """The shortest text that reads back as these weights: `awe`, `awe:0.7,fear:-0.3`, or nothing."""
    mixture = {name: float(weight) for name, weight in zip(EMOTIONS, weights, strict=True) if weight}
    if list(mixture.values()) == [1.0]:
        return next(iter(mixture))
    return ",".join(f"{name}:{weight!r}".removesuffix(".0") for name, weight in mixture.items())


def _known(name: str) -> str:
    if name.lower() not in EMOTIONS:
        raise unknown("emotion", name, EMOTIONS, hint="emoscene ls emotions")
    return name.lower()


def _number(value: str | float, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Usage(f"{value!r} in {where!r} is no weight: write a number, as in awe:0.7")
    return number
