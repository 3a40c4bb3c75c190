"""The six groups of cues as tables of chances, and what each cue says of the intended emotion.

A group's cue is drawn in two steps: a row (the intended emotion's, another's, or the one without emotion), then an
outcome of that row. `GROUPS` holds the chances of the first step, `cue_table` those of the second. As both are known,
the chance of a cue given the intended emotion e and the intensity s is exact:

    p(cue | e, s) = f(s) T[e, cue] + (1 - f(s)) (c mean over j != e of T[j, cue] + (1 - c) T[neutral, cue])

A thing or an event that cannot be in a scene leaves its row, and the others share its chance. So the tables depend on
the scene, and a reader who knows the scene is still exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.moods import GROUPS, MOODS, NEUTRAL, Mood, Weighted
from emoscene_mini.world.objects import POSE_EXPRESSION
from emoscene_mini.world.things import THINGS

Cue = str | tuple[str, ...]
"""An outcome of a group: a name, or several (things; pose and face)."""

NO_MOOD = len(EMOTIONS)
"""The number of the row without emotion."""
INTENSITIES = np.linspace(0.3, 1.0, 17)[1::2]
"""Eight intensities, the middles of equal parts of [.3, 1]; a mean over them integrates the intensity."""
SECOND_THING = 0.5
"""Share of the images with things that have two of them."""
OWN_FACE = 0.5
"""Chance that the face is drawn by itself; otherwise it is the one that goes with the pose."""

_OUTDOORS = (
    "gravestones",
    "bare_trees",
    "carousel",
    "cracks",
    "rain_puddles",
    "birds",
    "hot_air_balloons",
    "leaves",
    "kites",
)
_IN_PORTRAITS = ("symmetric", "fisheye", "close", "rush", "looming", "shrouded")


@dataclass(frozen=True, eq=False)
class CueTable:
    """A group's outcomes in one scene.

    Args:
        outcomes: The n outcomes.
        rows: Chance of each outcome [9, n]: the eight emotions in order, then the row without emotion.
        likelihood: p(outcome | emotion, intensity) [S, 8, n], for `INTENSITIES`.
    """

    outcomes: tuple[Cue, ...]
    rows: np.ndarray
    likelihood: np.ndarray

    def draw(self, row: int, rng: np.random.Generator) -> Cue:
        """One outcome of a row."""
        place = np.searchsorted(np.cumsum(self.rows[row]), rng.random() * 0.999999, side="right")
        return self.outcomes[int(place)]

    def read(self, cue: Cue) -> np.ndarray:
        """What a cue says: p(cue | emotion, intensity) [S, 8]."""
        likelihood: np.ndarray = self.likelihood[:, :, self.outcomes.index(cue)]
        return likelihood


@lru_cache(maxsize=256)
def cue_table(group: str, scene: str) -> CueTable:
    """Build a group's table for a scene.

    Args:
        group: A name of `GROUPS`, or "face" for the bearing of someone whose pose cannot be seen.
        scene: A name of `SCENES`.

    Returns:
        The table, shared by all callers.
    """
    moods = [*MOODS.values(), NEUTRAL]
    chances = [_outcome_chances(group, scene, mood) for mood in moods]
    outcomes: dict[Cue, None] = {}
    for row in chances:
        outcomes.update(dict.fromkeys(row))
    rows = np.zeros((len(moods), len(outcomes)))
    for number, row in enumerate(chances):
        rows[number] = [row.get(outcome, 0.0) for outcome in outcomes]
    return CueTable(tuple(outcomes), rows, _likelihood(rows, "bearing" if group == "face" else group))


def _likelihood(rows: np.ndarray, group: str) -> np.ndarray:
    """The formula at the top of this file, for every intensity, emotion and outcome."""
    own, neutral = rows[:NO_MOOD], rows[NO_MOOD]
    others = (own.sum(0) - own) / (len(EMOTIONS) - 1)
    counter = GROUPS[group].counter
    astray = counter * others + (1 - counter) * neutral
    likelihood = np.empty((len(INTENSITIES), *own.shape))
    for place, intensity in enumerate(INTENSITIES):
        follow = GROUPS[group].follow(float(intensity))
        likelihood[place] = follow * own + (1 - follow) * astray
    return likelihood


def _outcome_chances(group: str, scene: str, mood: Mood) -> Mapping[Cue, float]:
    """The chance of each outcome of one mood's row in a scene."""
    if group == "palette":
        return _shares(mood.palettes)
    if group == "weather":
        return _shares(mood.weathers)
    if group == "composition":
        return _shares(_possible_compositions(mood.compositions, scene))
    if group == "event":
        return _shares(_possible_events(mood.events, scene))
    if group == "things":
        return _thing_chances(_possible_things(mood.things, scene))
    bearings = _bearing_chances(mood)
    if group == "bearing":
        return bearings
    faces: dict[Cue, float] = {}
    for bearing, chance in bearings.items():
        face = bearing[1]
        faces[face] = faces.get(face, 0.0) + chance
    return faces


def _shares(row: Weighted) -> dict[Cue, float]:
    total = sum(row.values())
    return {name: weight / total for name, weight in row.items()}


def _possible_events(row: Weighted, scene: str) -> Weighted:
    """A portrait has no event, a room those that may happen indoors."""
    possible: Weighted = {}
    for name, weight in row.items():
        anywhere = not name or scene != "room" or EVENTS[name].indoors
        if scene != "portrait" and anywhere:
            possible[name] = weight
    return possible or {"": 1.0}


def _possible_compositions(row: Weighted, scene: str) -> Weighted:
    """A portrait shows neither horizon nor distance: compositions that differ by these are plain there."""
    if scene != "portrait":
        return row
    possible: Weighted = {}
    for name, weight in row.items():
        shown = name if name in _IN_PORTRAITS else "plain"
        possible[shown] = possible.get(shown, 0.0) + weight
    return possible


def _possible_things(row: Weighted, scene: str) -> Weighted:
    """A room has nothing of the sky or that belongs outdoors, a portrait only what flies."""
    possible: Weighted = {}
    for name, weight in row.items():
        where = THINGS[name][1] if name else ""
        outdoors = scene == "room" and (name in _OUTDOORS or where == "sky")
        hidden = scene == "portrait" and where in ("sky", "ground")
        if not outdoors and not hidden:
            possible[name] = weight
    return possible or {"": 1.0}


def _thing_chances(row: Weighted) -> dict[Cue, float]:
    """One or two things, drawn without replacement; "" ends the drawing. The order does not matter."""
    order = list(THINGS)
    chances: dict[Cue, float] = {}
    total = sum(row.values())
    for first, weight in row.items():
        chance = weight / total
        rest = total - weight
        if not first:
            chances[()] = chance
            continue
        second = SECOND_THING if rest else 0.0
        chances[first,] = chances.get((first,), 0.0) + chance * (1 - second)
        for other, beside in row.items():
            if other == first:
                continue
            both = tuple(sorted((first, other), key=order.index)) if other else (first,)
            chances[both] = chances.get(both, 0.0) + chance * second * beside / rest
    return chances


def _bearing_chances(mood: Mood) -> dict[Cue, float]:
    """Pose and face: the face is drawn by itself, or is the one that goes with the pose."""
    chances: dict[Cue, float] = {}
    for pose, posed in _shares(mood.poses).items():
        assert isinstance(pose, str)
        for face, faced in _shares(mood.faces).items():
            assert isinstance(face, str)
            chances[pose, face] = chances.get((pose, face), 0.0) + OWN_FACE * posed * faced
        matching = pose, POSE_EXPRESSION[pose]
        chances[matching] = chances.get(matching, 0.0) + (1 - OWN_FACE) * posed
    return chances
