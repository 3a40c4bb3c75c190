"""A taxonomy: the emotions that images are labelled and asked with, and the notation for mixing them.

    `awe:0.7,fear:-0.3`  <->  one number an emotion, in the taxonomy's order

`mikels8`, Mikels' eight emotions in EmoSet's order, is the default; `ekman7`, `plutchik8` and a user's own TOML file
are others (`load_taxonomy`). A file says its labels, and may say their places, synonyms and words, and what the labels
of other taxonomies become. The order is the file's and never the alphabet's: loaders that sort permute the labels
silently, so map by name and never by number.

An emotion is K numbers, `a = emotion scale x weights`: zero is the untouched base, one the method as trained, above
extrapolates, below zero suppresses. Weights are taken as written; the names that carry none share one between them.

A place is valence and arousal on the circumplex of Russell (1980, "A circumplex model of affect", J. Pers. Soc.
Psychol. 39), each in [-1, 1]. It is read as a mixture, `weights_at(0.4, 0.6)`, by inverse distances (Shepard 1968, "A
two-dimensional interpolation function for irregularly-spaced data", Proc. ACM): each label and neutral, at the origin,
counts with 1 / distance^4, and the shares sum to 1. So an emotion's own place is that emotion alone, the origin is none
at all, and between them nothing jumps.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NotRequired, SupportsFloat

from typing_extensions import TypedDict

from emoscene.core import registry
from emoscene.core.config import read_toml
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.file_reading import find_fault
from emoscene.core.plain_text import format_count, show_value

Weights = tuple[float, ...]
"""One number for each label, in the taxonomy's order."""

DEFAULT = "mikels8"
LARGEST = 100.0  # of a weight, and of the emotion scale that it is multiplied with
SHARPNESS = 4  # the power of the distance in `weights_at`
MOST_LABELS = 64
LABEL = re.compile(r"[a-z][a-z0-9 _-]{0,39}")
RESERVED = {"all", "none", "base"}
"""Words that mean something else where an emotion is asked."""


class EmotionRow(TypedDict):
    """A label as a file has it; `words` are what the method `prompt` appends where no lexicon knows the label."""

    name: str
    valence: NotRequired[float]
    arousal: NotRequired[float]
    synonyms: NotRequired[list[str]]
    words: NotRequired[str]


class TaxonomyTable(TypedDict):
    """A taxonomy as a file has it; `mappings`: by the name of another taxonomy, what its labels become in this one."""

    title: NotRequired[str]
    emotion: list[EmotionRow]
    mappings: NotRequired[dict[str, dict[str, str]]]


@dataclass(frozen=True)
class Taxonomy:
    """Labels and what is known of them.

    Attributes:
        name: Its name, or the file's without its ending.
        labels: K names, in order.
        places: Valence and arousal of each label, in [-1, 1]; empty where one has none.
        synonyms: Other words for labels.
        words: What `prompt` appends for a label that no lexicon knows.
        mappings: By the name of another taxonomy, the text of a mixture for each of its labels; empty for no emotion.
    """

    name: str
    labels: tuple[str, ...]
    places: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    synonyms: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    mappings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def chance(self) -> float:
        """The accuracy of whoever guesses."""
        return 1 / len(self.labels)

    @property
    def nothing(self) -> Weights:
        """The weights of no emotion."""
        return (0.0,) * len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of labels and places: two taxonomies with the same one mean the same numbers."""
        content = json.dumps([self.labels, [self.places.get(label) for label in self.labels]])
        return hashlib.sha256(content.encode()).hexdigest()

    def parse(self, text: str) -> dict[str, float]:
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
            name = self._check_name(name)
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

    def weights(self, emotion: str | Mapping[str, float] | Sequence[float] | None) -> Weights:
        """Convert an emotion to weights.

        Args:
            emotion: Text, weights by name, K numbers, or None.

        Returns:
            K weights, each from `-LARGEST` to `LARGEST`; all 0 for None and for empty text.

        Raises:
            UsageError: The emotion is not understood.
        """
        if emotion is None or (isinstance(emotion, str) and not emotion.strip()):
            return self.nothing
        if isinstance(emotion, str):
            emotion = self.parse(emotion)
        if isinstance(emotion, Mapping):
            named = {}
            for name, value in emotion.items():
                named[self._check_name(name)] = _parse_weight(value, name)
            if named and not any(named.values()):
                raise UsageError(f"every weight of {dict(emotion)} is zero: give one a weight, or ask for no emotion")
            return tuple(named.get(name, 0.0) for name in self.labels)
        if not isinstance(emotion, Sized) or len(emotion) != len(self.labels):
            raise UsageError(
                f"an emotion in numbers is {len(self.labels)} finite ones, in the order {', '.join(self.labels)}"
            )
        return tuple(_parse_weight(value, name) for name, value in zip(self.labels, emotion, strict=True))

    def format(self, weights: Sequence[float]) -> str:
        """Write weights as the shortest text that `parse` reads back.

        Args:
            weights: K weights.

        Returns:
            The text, such as `awe` or `awe:0.7,fear:-0.3`; empty if all weights are 0.
        """
        mixture = {}
        for name, weight in zip(self.labels, weights, strict=True):
            if weight:
                mixture[name] = float(weight)
        if list(mixture.values()) == [1.0]:
            return next(iter(mixture))
        return ",".join(f"{name}:{weight!r}".removesuffix(".0") for name, weight in mixture.items())

    def map_label(self, label: str, others: Sequence[str]) -> Weights | None:
        """Map a label that may be of another taxonomy: by its own name or synonym, or by the rule of a mapping.

        Args:
            label: The label.
            others: The names of the taxonomies whose labels and synonyms count, in order.

        Returns:
            K weights; None for a label without a counterpart.
        """
        name = label.strip().lower().replace("_", " ")
        name = self.synonyms.get(name, name)
        if name in self.labels:
            return self.weights(name)
        for other in others:
            theirs = load_taxonomy(other).synonyms.get(name, name)
            rule = self.mappings.get(other, {}).get(theirs)
            if rule:
                return self.weights(rule)
        return None

    def map_taxonomy(self, other: "Taxonomy") -> list[Weights | None]:
        """Map each label of another taxonomy into this one.

        Args:
            other: The other taxonomy.

        Returns:
            For each of its labels K weights of this one; None for a label that becomes no emotion.

        Raises:
            UsageError: A label has no counterpart and no rule says that it becomes nothing.
        """
        rules = self.mappings.get(other.name, {})
        mapped: list[Weights | None] = []
        for label in other.labels:
            if label in self.labels:
                mapped.append(self.weights(label))
            elif label in rules:
                mapped.append(self.weights(rules[label]) if rules[label] else None)
            else:
                raise UsageError(
                    f"the taxonomy {self.name} does not say what {label!r} of {other.name} becomes: add it to "
                    f"[mappings.{other.name}] in its file, empty for no emotion"
                )
        return mapped

    def weights_at(self, valence: float, arousal: float) -> Weights:
        """Convert a place on the circumplex to weights, by inverse distances (Shepard 1968).

        Args:
            valence: From -1 (unpleasant) to 1 (pleasant).
            arousal: From -1 (calm) to 1 (excited).

        Returns:
            K weights in thousandths; the share of neutral is left out unless a label lies at the origin.

        Raises:
            UsageError: A number is out of range, or the labels have no places.
        """
        for name, number in (("valence", valence), ("arousal", arousal)):
            if not isinstance(number, SupportsFloat) or not -1 <= float(number) <= 1:
                raise UsageError(f"{name} {number} is out of range: it goes from -1 to 1")
        if not self.places:
            raise UsageError(f"the taxonomy {self.name} has no valence and arousal: name the emotion, or add them")
        places = [self.places[label] for label in self.labels]
        if (0.0, 0.0) not in places:
            places.append((0.0, 0.0))
        distances = []
        for v, a in places:
            distances.append(math.hypot(valence - v, arousal - a))
        nearest = max(min(distances), 1e-9)
        shares = []
        for distance in distances:
            shares.append((nearest / max(distance, 1e-9)) ** SHARPNESS)
        return tuple(round(share / sum(shares), 3) for share in shares[: len(self.labels)])

    def _check_name(self, name: object) -> str:
        if not isinstance(name, str) or name.lower() not in self.labels:
            raise unknown_name("emotion", str(name), self.labels, hint="emoscene ls emotions")
        return name.lower()


@cache
def load_taxonomy(place: str | Path = DEFAULT) -> Taxonomy:
    """Load a taxonomy.

    Args:
        place: A name, as `emoscene ls taxonomies` lists them, or a TOML file.

    Returns:
        The taxonomy.

    Raises:
        UsageError: There is none, or the file's labels are empty, doubled, or no names.
    """
    name = str(place)
    if name in registry.list_names("taxonomies"):
        return build_taxonomy(name, registry.load_table("taxonomies", name))
    file = Path(place).expanduser()
    if file.suffix != ".toml" and not file.is_file():
        raise unknown_name("taxonomy", name, registry.list_names("taxonomies"), hint="emoscene ls taxonomies")
    table = read_toml(file)
    fault = find_fault(table, TaxonomyTable)
    if fault:
        raise UsageError(f"{file} is no taxonomy ({fault}): mend it")
    return build_taxonomy(file.stem, table, str(file))


def build_taxonomy(name: str, table: Mapping[str, Any], where: str = "") -> Taxonomy:
    """Build a taxonomy from a table.

    Args:
        name: Its name.
        table: A `TaxonomyTable`.
        where: The file, for errors.

    Returns:
        The taxonomy.

    Raises:
        UsageError: There are fewer than two labels or too many, a name is off or stands twice, a place is out of range
            or only half there, or a rule is no mixture of the labels.
    """
    where = where or name
    labels: list[str] = []
    places: dict[str, tuple[float, float]] = {}
    synonyms: dict[str, str] = {}
    words: dict[str, str] = {}
    for row in table["emotion"]:
        label = _check_label(row["name"], labels, where)
        labels.append(label)
        if "valence" in row or "arousal" in row:
            places[label] = _check_place(row, where)
        for synonym in row.get("synonyms", ()):
            synonyms[synonym.strip().lower()] = label
        if row.get("words"):
            words[label] = row["words"]
    if not 2 <= len(labels) <= MOST_LABELS:
        raise UsageError(f"{where} has {format_count(len(labels), 'label')}: a taxonomy has from 2 to {MOST_LABELS}")
    if places and len(places) < len(labels):
        missing = next(label for label in labels if label not in places)
        raise UsageError(f"{missing} in {where} has no valence and arousal: give them to all labels or to none")
    taxonomy = Taxonomy(name, tuple(labels), places, synonyms, words, table.get("mappings", {}))
    for other, rules in taxonomy.mappings.items():
        for label, text in rules.items():
            _check_rule(taxonomy, other, label, text)
    return taxonomy


def _check_label(name: str, known: Sequence[str], where: str) -> str:
    label = name.strip().lower()
    if not LABEL.fullmatch(label):
        raise UsageError(
            f"{show_value(name)} in {where} is no label: a letter, then letters, digits, blanks, _ and -, at most 40"
        )
    if label in RESERVED:
        raise UsageError(f"{label!r} in {where} cannot be a label, because --emotion {label} means another thing")
    if label in known:
        raise UsageError(f"{label!r} stands twice in {where}: every label stands once")
    return label


def _check_place(row: Mapping[str, Any], where: str) -> tuple[float, float]:
    for axis in ("valence", "arousal"):
        if axis not in row or not -1 <= row[axis] <= 1:
            raise UsageError(f"{axis} of {row['name']} in {where} is off: valence and arousal each go from -1 to 1")
    return float(row["valence"]), float(row["arousal"])


def _check_rule(taxonomy: Taxonomy, other: str, label: str, text: str) -> None:
    try:
        taxonomy.weights(text)
    except UsageError as error:
        raise UsageError(f"what {label!r} of {other} becomes in {taxonomy.name} is off: {error}") from error


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


def _load_packaged(name: str) -> Taxonomy:
    """One of this package's own, without a look at other packages, which takes longer than all the rest."""
    return build_taxonomy(name, read_toml(registry.HOME / registry.KINDS["taxonomies"] / f"{name}.toml"))


MIKELS8 = _load_packaged(DEFAULT)
EMOTIONS = MIKELS8.labels
"""The labels of the default."""
AFFECT = dict(MIKELS8.places)
"""Their valence and arousal."""
EKMAN = {label: MIKELS8.mappings["ekman7"].get(label, label) for label in _load_packaged("ekman7").labels}
"""What the labels of faces become in the default: a mixture, or nothing where they are left out."""
NO_EMOTION = MIKELS8.nothing


def parse_emotion(text: str) -> dict[str, float]:
    """Parse text in the default taxonomy, as `Taxonomy.parse` does.

    Args:
        text: The text.

    Returns:
        Weights by name.

    Raises:
        UsageError: A name does not exist or stands twice, or a weight is wrong.
    """
    return MIKELS8.parse(text)


def emotion_weights(emotion: str | Mapping[str, float] | Sequence[float] | None) -> Weights:
    """Convert an emotion to weights of the default taxonomy, as `Taxonomy.weights` does.

    Args:
        emotion: Text, weights by name, 8 numbers, or None.

    Returns:
        8 weights.

    Raises:
        UsageError: The emotion is not understood.
    """
    return MIKELS8.weights(emotion)


def map_label(label: str) -> Weights | None:
    """Map a label of the default taxonomy or of Ekman's into the default one, as `Taxonomy.map_label` does.

    Args:
        label: The label.

    Returns:
        8 weights; None for a label without a counterpart.
    """
    return MIKELS8.map_label(label, ["ekman7"])


def weights_at(valence: float, arousal: float) -> Weights:
    """Convert a place on the circumplex to weights of the default taxonomy, as `Taxonomy.weights_at` does.

    Args:
        valence: From -1 (unpleasant) to 1 (pleasant).
        arousal: From -1 (calm) to 1 (excited).

    Returns:
        8 weights in thousandths.

    Raises:
        UsageError: A number is out of range.
    """
    return MIKELS8.weights_at(valence, arousal)


def format_emotion(weights: Sequence[float]) -> str:
    """Write weights of the default taxonomy, as `Taxonomy.format` does.

    Args:
        weights: 8 weights.

    Returns:
        The text.
    """
    return MIKELS8.format(weights)


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
