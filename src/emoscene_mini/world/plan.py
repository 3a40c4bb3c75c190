"""What an image will show, decided before anything is drawn, as a pure function of the seed.

A `Plan` names the scene, the object, and a cue of each of six independent groups: palette, weather, things, event,
composition, and bearing (pose and face). Each group follows the intended emotion with a chance that grows with
intensity; else it follows another emotion or none (`moods.GROUPS`). So no cue decides alone, and about one image in six
is read as another emotion than the intended one. What it is called is therefore not what was intended: twenty simulated
viewers vote (`votes.py`), and the label is what most of them say.

Every group draws from its own stream, `default_rng([seed, n, attempt])`: asking for another scene does not move the
weather. An image of a wanted label is drawn again, each attempt from its own streams, until its viewers name that
label; the first attempt is the one that is taken when nothing is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.taxonomy import EMOTIONS
from emoscene.core.taxonomy import emotion_weights as weights_of
from emoscene_mini.world.cues import NO_MOOD, Cue, cue_table
from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.moods import COMPOSITIONS, GROUPS, PALETTES
from emoscene_mini.world.objects import LIVING, OBJECTS
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.votes import cast_votes

_KIND, _INTENSITY, _SUBJECT, _FRAME, _VOTES = 0, 1, 2, 9, 10
_GROUP_STREAMS = {group: 3 + number for number, group in enumerate(GROUPS)}
"""Numbers of the random streams."""
_EMPTY = 0.15  # share of images without an object
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


@dataclass(frozen=True)
class Plan:
    """One image's decisions.

    Args:
        seed: The seed it was drawn from.
        scene: A name of `SCENES`.
        object: A name of `OBJECTS`, or "".
        intended: The emotion the cues were drawn for; "" for a mixture and for none.
        weights: Eight shares: the viewers' label, the mixture that was asked for, or all 0 for none.
        votes: Eight shares of the viewers' votes.
        intensity: How often the cues follow the intended emotion, and how strongly they show.
        time: The palette's time of day.
        palette: A palette and its share, or one for each emotion of a mixture.
        weather: A name of `WEATHERS`.
        things: Up to two names of `THINGS`.
        event: A name of `EVENTS`, or "".
        figure: Who shows the pose: the object, a bystander, or "" where only the event or a portrait has a face.
        composition: A name of `COMPOSITIONS`.
        expression: The face of whoever is in the image.
        pose: The pose of the figure.
        horizon: Where the sky ends, from the top.
        tilt: Degrees by which the camera is turned.
        size: Height of the figures, as a share of the image's.
        place: Middle of the figures, from left to right.
        flip: Whether the image is mirrored.
    """

    seed: int
    scene: str
    object: str
    intended: str
    weights: tuple[float, ...]
    votes: tuple[float, ...]
    intensity: float
    time: str
    palette: tuple[tuple[str, float], ...]
    weather: str
    things: tuple[str, ...]
    event: str
    figure: str
    composition: str
    expression: str
    pose: str
    horizon: float
    tilt: float
    size: float
    place: float
    flip: bool


def held_out(scene: str, object: str) -> bool:
    """Whether a pair is kept from training: one in eight, spread evenly over scenes and objects."""
    if scene == "portrait" or object not in OBJECTS:
        return False
    return (3 * list(SCENES).index(scene) + 5 * list(OBJECTS).index(object)) % 8 == 0


def objects_for(scene: str, apart: bool = False) -> tuple[str, ...]:
    """The objects a scene may hold: all fitting ones but the held-out, or only those."""
    fit = (name for name in OBJECTS if scene != "portrait" and name not in _ABSURD.get(scene, ()))
    return tuple(name for name in fit if held_out(scene, name) == apart)


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


def read_cues(plan: Plan) -> dict[str, np.ndarray]:
    """What each group that can be seen says of the intended emotion.

    Args:
        plan: A plan.

    Returns:
        p(cue | emotion, intensity) [S, 8] by the names of `GROUPS`, for `cues.INTENSITIES`. The bearing is the pose and
        the face where there is a figure, and the face alone where the event or the portrait has one; a room has no
        weather.
    """
    palette = max(plan.palette, key=lambda pair: pair[1])[0]
    cues: dict[str, Cue] = {
        "palette": palette,
        "weather": plan.weather,
        "things": plan.things,
        "event": plan.event,
        "composition": plan.composition,
        "bearing": (plan.pose, plan.expression),
    }
    return _read(cues, plan.scene, plan.figure)


def _read(cues: Mapping[str, Cue], scene: str, figure: str) -> dict[str, np.ndarray]:
    found = {}
    for group, cue in cues.items():
        if group == "weather" and scene == "room":
            continue
        if group == "bearing" and not figure and not _poses(str(cues["event"])):
            found[group] = cue_table("face", scene).read(cue[1])
        else:
            found[group] = cue_table(group, scene).read(cue)
    return found


def _poses(event: str) -> bool:
    """Whether an event's own figure shows the pose."""
    return bool(event) and EVENTS[event].free_pose


def _figure(scene: str, object: str, event: str) -> str:
    """Who shows the pose: a living object; else a bystander, unless an event or a portrait has a face of its own."""
    if object in LIVING:
        return object
    faced = scene == "portrait" or (event and (EVENTS[event].people or EVENTS[event].animals))
    return "" if faced else "person"


def _shares(emotion: str | Mapping[str, float] | None, seed: int) -> tuple[float, ...]:
    """Eight shares that sum to 1, or to 0 for none; "any" draws them."""
    if emotion == "any":
        rng = np.random.default_rng([seed, _KIND])
        kind = rng.random()
        first, second = (EMOTIONS[number] for number in rng.permutation(len(EMOTIONS))[:2])
        if kind < _NEUTRAL:
            emotion = None
        elif kind < _NEUTRAL + _MIXED:
            emotion = {first: 0.5, second: 0.5}
        else:
            emotion = first
    shares = weights_of(None if emotion == "neutral" else emotion)
    if min(shares) < 0:
        raise UsageError("the world shows what is there: give an emotion no weight below zero")
    total = sum(shares)
    return tuple(share / total for share in shares) if total else shares


def _row(group: str, shares: tuple[float, ...], intensity: float, rng: np.random.Generator) -> int:
    """The row that a group of cues draws from: the intended emotion's, another's, or the one without emotion."""
    follows, astray, which, other = rng.random(), rng.random(), rng.random(), int(rng.integers(1, len(EMOTIONS)))
    if sum(shares) == 0:
        return NO_MOOD
    own = int(np.argmax(np.cumsum(shares) > which * 0.9999))
    if follows < GROUPS[group].follow(intensity):
        return own
    if astray < GROUPS[group].counter:
        return (own + other) % len(EMOTIONS)
    return NO_MOOD


def _draw_cues(
    seed: int, attempt: int, scene: str, shares: tuple[float, ...], intensity: float
) -> tuple[dict[str, Cue], tuple[tuple[str, float], ...]]:
    """A cue of each group, and the palettes: one, or one for each emotion of a mixture, by their shares."""
    cues: dict[str, Cue] = {}
    palettes = []
    for group, stream in _GROUP_STREAMS.items():
        rng = np.random.default_rng([seed, stream, attempt])
        if group != "palette":
            cues[group] = cue_table(group, scene).draw(_row(group, shares, intensity, rng), rng)
            continue
        singles = _single_emotions(shares)
        for single, share in singles:
            palettes.append((str(cue_table(group, scene).draw(_row(group, single, intensity, rng), rng)), share))
        cues[group] = max(palettes, key=lambda pair: pair[1])[0]
    return cues, tuple(palettes)


def _single_emotions(shares: tuple[float, ...]) -> list[tuple[tuple[float, ...], float]]:
    """The emotions of a mixture, each as shares of its own beside its share; what is no mixture is itself."""
    present = np.flatnonzero(shares)
    if len(present) < 2:
        return [(shares, 1.0)]
    identity = np.eye(len(EMOTIONS))
    return [(tuple(identity[number]), round(shares[number], 4)) for number in present]


def plan(
    seed: int,
    *,
    emotion: str | Mapping[str, float] | None = "any",
    scene: str | None = None,
    object: str | None = None,
    intensity: float | None = None,
    held_out: bool = False,
) -> Plan:
    """Decide what an image shows. What is not asked for is drawn from `seed`.

    Args:
        seed: The image's seed.
        emotion: The label wanted, weights by name for a mixture, None for no emotion, or "any": the eight alike, some
            without emotion, some mixtures.
        scene: A name of `SCENES`.
        object: A name of `OBJECTS`, or "" for none.
        intensity: How often the cues follow the emotion, and how strongly they show, in [0, 1].
        held_out: Draw only scenes and objects that otherwise never stand together.

    Returns:
        The plan. Of an image of one emotion the label, `weights`, is what most viewers name.

    Raises:
        UsageError: An emotion, scene or object that does not exist, or a weight below zero.
    """
    shares = _shares(emotion, seed)
    scene, object = _subject(np.random.default_rng([seed, _SUBJECT]), scene, object, held_out)
    label = EMOTIONS.index(emotion) if isinstance(emotion, str) and emotion in EMOTIONS else None
    if isinstance(emotion, Mapping) and max(shares) == 1:
        label = int(np.argmax(shares))
    if label is None:
        return _attempt(seed, 0, scene, object, shares, intensity)
    for attempt in count():
        kind = np.random.default_rng([seed, _KIND, attempt])
        kind.random()
        intended = EMOTIONS[int(kind.permutation(len(EMOTIONS))[0])]
        drawn = _attempt(seed, attempt, scene, object, weights_of(intended), intensity)
        if drawn.weights[label]:
            return drawn
    raise AssertionError("count() does not end")


def _attempt(
    seed: int, attempt: int, scene: str, object: str, shares: tuple[float, ...], intensity: float | None
) -> Plan:
    """One image of these shares, with its viewers' label where it is of one emotion."""
    drawn = np.random.default_rng([seed, _INTENSITY, attempt]).uniform(0.3, 1.0)
    strength = float(drawn) if intensity is None else float(intensity)
    cues, palettes = _draw_cues(seed, attempt, scene, shares, strength)
    figure = _figure(scene, object, str(cues["event"]))
    votes = cast_votes(_read(cues, scene, figure), np.random.default_rng([seed, _VOTES, attempt]))
    single = max(shares) == 1
    rng = np.random.default_rng([seed, _FRAME, attempt])
    frame = COMPOSITIONS[str(cues["composition"])]
    side = float(rng.choice([-1, 1]))
    return Plan(
        seed=seed,
        scene=scene,
        object=object,
        intended=EMOTIONS[int(np.argmax(shares))] if single else "",
        weights=weights_of(EMOTIONS[int(np.argmax(votes))]) if single else shares,
        votes=votes,
        intensity=strength,
        time=PALETTES[str(cues["palette"])].time,
        palette=palettes,
        weather=str(cues["weather"]),
        things=tuple(cues["things"]),
        event=str(cues["event"]),
        figure=figure,
        composition=str(cues["composition"]),
        expression=cues["bearing"][1],
        pose=cues["bearing"][0],
        horizon=float(rng.uniform(*frame.horizon)),
        tilt=side * float(rng.uniform(*frame.tilt)),
        size=float(rng.uniform(*frame.size)),
        place=float(rng.uniform(*frame.place)),
        flip=bool(rng.random() < 0.5),
    )
