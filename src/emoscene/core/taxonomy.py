"""Mikels' eight emotions and the notation for mixing them: `awe:0.7,fear:-0.3` <-> eight weights.

The order is EmoSet's, which is not alphabetical; it is the order of every list of eight numbers in this project.
Loaders that sort alphabetically permute the labels silently, so map by name and never by number.

An emotion is eight numbers, `a = emotion scale x weights`: zero is the untouched base, one the method as trained, above
extrapolates, below zero suppresses. Weights are taken as written; the names that carry none share one between them.

`AFFECT` is a stated table, not a measurement: each word is placed by hand, to a tenth, on the circumplex of Russell
(1980, "A circumplex model of affect", J. Pers. Soc. Psychol. 39). Awe, disgust and amusement are not among his words
and stand beside their nearest kin (aroused, distressed, happy). To use published norms instead, edit the table.

A place on it is read as a mixture, `affect(0.4, 0.6)`, by inverse distances (Shepard 1968, "A two-dimensional
interpolation function for irregularly-spaced data", Proc. ACM): each of the nine points, the eight and neutral at the
origin, counts with 1 / distance^4, and the nine shares sum to 1. So an emotion's own point is that emotion alone, the
origin is none at all, and between them nothing jumps.
"""

import math
from collections.abc import Mapping, Sequence, Sized
from typing import SupportsFloat

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.plain_text import show_value

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

EKMAN: dict[str, str] = {
    "surprise": "",
    "fear": "fear",
    "disgust": "disgust",
    "happiness": "amusement:0.5,contentment:0.5",
    "sadness": "sadness",
    "anger": "anger",
    "neutral": "",
}
"""What the labels of faces become (Ekman's six, and neutral): a mixture, or nothing where they are left out.

A rule and not a fact: data with such labels learn by it, and judges with such labels are read by it.
"""

SYNONYMS: dict[str, str] = {
    "amused": "amusement",
    "content": "contentment",
    "contented": "contentment",
    "excited": "excitement",
    "angry": "anger",
    "mad": "anger",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "sad": "sadness",
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
}
"""Other words that classifiers have for the labels of `EMOTIONS` and `EKMAN`."""

Weights = tuple[float, ...]
"""Eight numbers in the order of `EMOTIONS`."""

NO_EMOTION: Weights = (0.0,) * len(EMOTIONS)
LARGEST = 100.0  # of a weight, and of the emotion scale that it is multiplied with
SHARPNESS = 4  # the power of the distance in `weights_at`


def parse_emotion(text: str) -> dict[str, float]:
    """Parse `awe`, `awe,fear` (half each) or `awe:0.7,fear:-0.3`.

    Args:
        text: The text.

    Returns:
        Weights by name.

    Raises:
        UsageError: A name does not exist or stands twice, or a weight is wrong.
    """
    mixture: dict[str, float] = {}
    bare: list[str] = []
    for part in text.split(","):
        name, colon, number = map(str.strip, part.partition(":"))
        name = _check_name(name)
        if name in mixture:
            raise UsageError(f"{name} stands twice in {text!r}: write it once, with its whole weight")
        mixture[name] = 0.0
        if colon:
            mixture[name] = _parse_weight(number, text)
        else:
            bare.append(name)
    for name in bare:
        mixture[name] = 1 / len(bare)
    if not any(mixture.values()):
        raise UsageError(f"every weight of {text!r} is zero: give one a weight, or ask for no emotion")
    return mixture


def emotion_weights(emotion: str | Mapping[str, float] | Sequence[float] | None) -> Weights:
    """Convert an emotion to weights.

    Args:
        emotion: Text, weights by name, 8 numbers, or None.

    Returns:
        8 weights, each from `-LARGEST` to `LARGEST`; `NO_EMOTION` for None and for empty text.

    Raises:
        UsageError: The emotion is not understood.
    """
    if emotion is None or (isinstance(emotion, str) and not emotion.strip()):
        return NO_EMOTION
    if isinstance(emotion, str):
        emotion = parse_emotion(emotion)
    if isinstance(emotion, Mapping):
        named = {}
        for name, value in emotion.items():
            named[_check_name(name)] = _parse_weight(value, name)
        if named and not any(named.values()):
            raise UsageError(f"every weight of {dict(emotion)} is zero: give one a weight, or ask for no emotion")
        return tuple(named.get(name, 0.0) for name in EMOTIONS)
    if not isinstance(emotion, Sized) or len(emotion) != len(EMOTIONS):
        raise UsageError(f"an emotion in numbers is {len(EMOTIONS)} finite ones, in the order {', '.join(EMOTIONS)}")
    return tuple(_parse_weight(value, name) for name, value in zip(EMOTIONS, emotion, strict=True))


def map_label(label: str) -> Weights | None:
    """Map a label of another taxonomy, by name, synonym, or Ekman's rule.

    Args:
        label: The label.

    Returns:
        8 weights; None for a label without a counterpart.
    """
    name = label.strip().lower().replace("_", " ")
    name = SYNONYMS.get(name, name)
    if name in EMOTIONS:
        return emotion_weights(name)
    if EKMAN.get(name):
        return emotion_weights(EKMAN[name])
    return None


def weights_at(valence: float, arousal: float) -> Weights:
    """Convert a place on the circumplex to weights, by inverse distances (Shepard 1968).

    Args:
        valence: From -1 (unpleasant) to 1 (pleasant).
        arousal: From -1 (calm) to 1 (excited).

    Returns:
        8 weights in thousandths; the share of neutral is left out.

    Raises:
        UsageError: A number is out of range.
    """
    for name, number in (("valence", valence), ("arousal", arousal)):
        if not isinstance(number, SupportsFloat) or not -1 <= float(number) <= 1:
            raise UsageError(f"{name} {number} is out of range: it goes from -1 to 1")
    places = [*AFFECT.values(), (0.0, 0.0)]
    distances = []
    for v, a in places:
        distances.append(math.hypot(valence - v, arousal - a))
    nearest = max(min(distances), 1e-9)
    shares = []
    for distance in distances:
        shares.append((nearest / max(distance, 1e-9)) ** SHARPNESS)
    return tuple(round(share / sum(shares), 3) for share in shares[:-1])


def check_one_source(
    emotion: object = None, valence: object = None, arousal: object = None, image: object = None
) -> None:
    """Check that the emotion is given in one way at most.

    Args:
        emotion: The emotion by name.
        valence: Its valence.
        arousal: Its arousal.
        image: An image whose emotion is taken.

    Raises:
        UsageError: It is given in several ways, or valence without arousal.
    """
    placed = valence is not None or arousal is not None
    if (emotion is not None) + placed + (image is not None) > 1:
        raise UsageError(
            "--emotion, --valence with --arousal, and --emotion-image each say the emotion: give one of the three"
        )
    if placed and (valence is None or arousal is None):
        raise UsageError("--valence and --arousal go together, as in --valence 0.4 --arousal 0.6: give both")


def format_emotion(weights: Sequence[float]) -> str:
    """Write weights as the shortest text that `parse_emotion` reads back.

    Args:
        weights: 8 weights.

    Returns:
        The text, such as `awe` or `awe:0.7,fear:-0.3`; empty if all weights are 0.
    """
    mixture = {}
    for name, weight in zip(EMOTIONS, weights, strict=True):
        if weight:
            mixture[name] = float(weight)
    if list(mixture.values()) == [1.0]:
        return next(iter(mixture))
    return ",".join(f"{name}:{weight!r}".removesuffix(".0") for name, weight in mixture.items())


def _check_name(name: object) -> str:
    if not isinstance(name, str) or name.lower() not in EMOTIONS:
        raise unknown_name("emotion", str(name), EMOTIONS, hint="emoscene ls emotions")
    return name.lower()


def _parse_weight(value: str | float, where: str) -> float:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    shown, place = show_value(value), show_value(where)
    if not math.isfinite(number):
        raise UsageError(f"{shown} in {place} is no weight: write a number, as in awe:0.7")
    if abs(number) > LARGEST:
        raise UsageError(f"{shown} in {place} is out of range: a weight goes from {-LARGEST:g} to {LARGEST:g}")
    return number
