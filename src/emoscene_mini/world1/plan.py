"""What a picture will show, decided before anything is painted, as a pure function of the seed.

A `Plan` names the scene, the object, and one value for each of five independent groups of cues: palette, weather,
things, composition, and pose with its face. Each group follows the emotion with a chance that grows with intensity,
from .55 at .3 to .9 at 1; else it is drawn from plain daylight's row, or now and then from another emotion's. So no
cue decides alone, and about one picture in twenty cannot be told.

Every group draws from its own stream, `default_rng([seed, n])`: asking for another scene does not move the weather.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.taxonomy import EMOTIONS
from emoscene.core.taxonomy import emotion_weights as weights_of
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS
from emoscene_mini.world1.moods import COMPOSITIONS, MOODS, NEUTRAL, PALETTES, Mood, Weighted
from emoscene_mini.world1.objects import OBJECTS, POSE_EXPRESSION

_EMPTY = 0.15  # share of pictures without an object
_NEUTRAL, _MIXED = 0.10, 0.08  # shares of "any" without emotion, and half and half
_ABSURD = {
    "room": ("car", "boat", "tent", "horse", "parasol", "lantern"),
    "waterfall": ("car", "lantern"),
    "beach": ("lantern",),
    "forest": ("boat", "parasol", "lantern"),
    "mountains": ("lantern", "parasol"),
    "meadow": ("boat", "lantern"),
    "desert": ("boat", "bench"),
    "city": ("boat", "tent"),
    "road": ("boat",),
    "castle": ("boat",),
    "park": ("car",),
}
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


@dataclass(frozen=True)
class Plan:
    """One picture's decisions; `weights` are the emotion's eight shares, all 0 when it is neutral."""

    seed: int
    scene: str
    object: str
    weights: tuple[float, ...]
    intensity: float
    time: str
    palette: tuple[tuple[str, float], ...]
    weather: str
    things: tuple[str, ...]
    composition: str
    expression: str
    pose: str
    horizon: float
    tilt: float
    scale: float
    place: float
    flip: bool

    @property
    def votes(self) -> tuple[float, ...]:
        """Nobody was asked what emotion this world's images convey."""
        return (0.0,) * len(EMOTIONS)


def held_out(scene: str, object: str) -> bool:
    """Whether a pair is kept from training: one in eight, spread evenly over scenes and objects."""
    if scene == "portrait" or object not in OBJECTS:
        return False
    return (3 * list(SCENES).index(scene) + 5 * list(OBJECTS).index(object)) % 8 == 0


def objects_for(scene: str, apart: bool = False) -> tuple[str, ...]:
    """The objects a scene may hold: all fitting ones but the held-out, or only those."""
    fit = (name for name in OBJECTS if scene != "portrait" and name not in _ABSURD.get(scene, ()))
    return tuple(name for name in fit if held_out(scene, name) == apart)


def draw(rng: np.random.Generator, row: Weighted) -> str:
    """One name of a weighted row."""
    share = np.array(list(row.values()))
    return str(rng.choice(list(row), p=share / share.sum()))


def _weights(emotion: str | Mapping[str, float] | None, rng: np.random.Generator) -> tuple[float, ...]:
    """Eight shares that sum to 1, or to 0 for neutral; "any" draws them."""
    if emotion == "any":
        kind = rng.random()
        first, second = (EMOTIONS[i] for i in rng.permutation(8)[:2])
        emotion = {first: 1.0} if kind > _NEUTRAL + _MIXED else {first: 0.5, second: 0.5} if kind > _NEUTRAL else None
    shares = weights_of(None if emotion == "neutral" else emotion)
    if min(shares) < 0:
        raise UsageError("the world paints what is there: give an emotion no weight below zero")
    total = sum(shares)
    return tuple(share / total for share in shares) if total else shares


def _mood(rng: np.random.Generator, weights: tuple[float, ...], intensity: float) -> Mood:
    """The mood that one group of cues follows."""
    follows, other, which, stray = rng.random(), rng.random(), rng.random(), int(rng.integers(8))
    if sum(weights) == 0:
        return NEUTRAL
    if follows < 0.4 + 0.5 * intensity:
        return MOODS[EMOTIONS[int(np.argmax(np.cumsum(weights) > which * 0.9999))]]
    return NEUTRAL if other < 0.9 else MOODS[EMOTIONS[stray]]


def _things(rng: np.random.Generator, mood: Mood, scene: str) -> tuple[str, ...]:
    row = dict(mood.things)
    if scene == "room":
        row = {name: share for name, share in row.items() if name not in _OUTDOORS}
    if scene == "portrait":
        row = {name: share for name, share in row.items() if not name or THINGS[name][1] != "ground"}
    count = min(1 + int(rng.random() < 0.6) + int(rng.random() < 0.18), len(row))
    drawn: list[str] = []
    for _ in range(count):
        name = draw(rng, row)
        if not name:
            break
        row.pop(name)
        drawn.append(name)
    return tuple(sorted(drawn, key=list(THINGS).index))


def _palettes(rng: np.random.Generator, weights: tuple[float, ...], intensity: float) -> tuple[tuple[str, float], ...]:
    """One palette, or one for each emotion of a mixture, by their shares."""
    mixed = [(i, share) for i, share in enumerate(weights) if share > 0]
    if len(mixed) < 2:
        return ((draw(rng, _mood(rng, weights, intensity).palettes), 1.0),)
    single = [tuple(float(i == j) for j in range(8)) for i, _ in mixed]
    names = [draw(rng, _mood(rng, one, intensity).palettes) for one in single]
    return tuple((name, round(share, 4)) for name, (_, share) in zip(names, mixed, strict=True))


def _subject(rng: np.random.Generator, scene: str | None, object: str | None, apart: bool) -> tuple[str, str]:
    """The scene and the object: those asked for, the rest drawn among pairs that fit."""
    if scene is not None and scene not in SCENES:
        raise unknown_name("scene", scene, SCENES)
    if object and object not in OBJECTS:
        raise unknown_name("object", object, OBJECTS)
    fits = {name: objects_for(name, apart) for name in SCENES}
    able = [name for name, fit in fits.items() if object in fit or (not object and (fit or not apart))]
    drawn, which, empty = str(rng.choice(able)), rng.random(), rng.random() < _EMPTY
    scene = drawn if scene is None else scene
    if object is None:
        fit = fits[scene]
        object = fit[int(which * len(fit))] if fit and (apart or not empty) else ""
    return scene, object


def _bearing(rng: np.random.Generator, mood: Mood, scene: str) -> tuple[str, str]:
    """The face and the pose of whoever is in the picture; half the time the face that goes with the pose."""
    pose, face, own = draw(rng, mood.poses), draw(rng, mood.faces), rng.random() < 0.5
    return (face if own or scene == "portrait" else POSE_EXPRESSION[pose]), pose


def plan(
    seed: int,
    *,
    emotion: str | Mapping[str, float] | None = "any",
    scene: str | None = None,
    object: str | None = None,
    intensity: float | None = None,
    held_out: bool = False,
) -> Plan:
    """Decide a picture. What is not asked for is drawn from `seed`; `object=""` asks for none.

    `emotion` is a name, weights by name, None for neutral, or "any": the eight alike, some neutral, some mixtures.
    With `held_out` only scene and object pairs are drawn that otherwise never are.
    """
    streams = [np.random.default_rng([seed, n]) for n in range(8)]
    weights = _weights(emotion, streams[0])
    strength = float(streams[1].uniform(0.3, 1.0)) if intensity is None else float(intensity)
    scene, object = _subject(streams[2], scene, object, held_out)
    palettes = _palettes(streams[3], weights, strength)
    composition = draw(streams[6], _mood(streams[6], weights, strength).compositions)
    expression, pose = _bearing(streams[7], _mood(streams[7], weights, strength), scene)
    frame, side = COMPOSITIONS[composition], float(streams[6].choice([-1, 1]))
    horizon, tilt, scale, place = (
        float(streams[6].uniform(*ends)) for ends in (frame.horizon, frame.tilt, frame.scale, frame.place)
    )
    return Plan(
        seed=seed,
        scene=scene,
        object=object,
        weights=weights,
        intensity=strength,
        time=PALETTES[max(palettes, key=lambda pair: pair[1])[0]].time,
        palette=palettes,
        weather=draw(streams[4], _mood(streams[4], weights, strength).weathers),
        things=_things(streams[5], _mood(streams[5], weights, strength), scene),
        composition=composition,
        expression=expression,
        pose=pose,
        horizon=horizon,
        tilt=side * tilt,
        scale=scale,
        place=place,
        flip=bool(streams[6].random() < 0.5),
    )
