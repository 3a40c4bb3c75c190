"""What can be said of an image: captions in a short and a long form, and EmoSet's attributes.

The short caption names scene and object alone. The long one adds what a captioner may or may not mention: the weather,
a bystander, what happens, and each thing. Neither names an emotion, a word that judges, a posture, a face, the
composition, the light or the palette: what a method learns of an emotion it must learn from its labels and from the
image. `emoscene_mini.readers` measures how much of the emotion the long caption gives away.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.moods import WEATHERS
from emoscene_mini.world.objects import OBJECTS
from emoscene_mini.world.plan import Plan
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS

WEATHER_SAID, FIGURE_SAID, EVENT_SAID, THING_SAID = 0.45, 0.5, 0.45, 0.45
"""Chances that a long caption mentions the weather, a bystander, the event, and each of the things."""

_SHORT = (
    "{scene} with {object}",
    "{scene} with {object} in front",
    "{object} in front of {scene}",
    "{object} and {scene}",
    "a picture of {scene} with {object}",
)
_BARE = ("{scene}", "a picture of {scene}", "a view of {scene}")
_ACTIONS = {
    "jumping": "jumping",
    "resting": "sitting",
    "crouching": "squatting",
    "gazing": "standing",
    "standing": "standing",
}
_EMOSET_OBJECTS = {"person": "Person", "child": "Child", "lantern": "Street light", "parasol": "Umbrella"}
_EMOSET_SCENES = {
    "city": "street",
    "road": "country_road",
    "room": "living_room",
    "mountains": "mountain",
    "meadow": "field",
    "forest": "forest",
    "harbour": "harbor",
    "river": "river",
    "village": "village",
}
_EMOSET_FACES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger")


def _short(plan: Plan, rng: np.random.Generator) -> str:
    if not plan.object:
        forms = _BARE if plan.scene != "portrait" else _BARE[:1]
        return str(rng.choice(forms)).format(scene=SCENES[plan.scene])
    return str(rng.choice(_SHORT)).format(scene=SCENES[plan.scene], object=OBJECTS[plan.object])


def _clauses(plan: Plan) -> list[tuple[str, float]]:
    """What else a captioner may say, each with its chance, in a fixed order."""
    said = []
    if plan.scene != "room":
        said.append(("with " + WEATHERS[plan.weather], WEATHER_SAID))
    if plan.figure == "person" and plan.object != "person":
        said.append(("with a person standing by", FIGURE_SAID))
    if plan.event:
        said.append((EVENTS[plan.event].words, EVENT_SAID))
    for name in plan.things:
        said.append(("with " + THINGS[name][0], THING_SAID))
    return said


def captions(plan: Plan) -> tuple[str, str]:
    """Write the short and the long caption of a plan.

    Args:
        plan: The plan.

    Returns:
        The short caption (scene and object), and the long one, which begins with the short one.
    """
    rng = np.random.default_rng([plan.seed, 100])
    short = _short(plan, rng)
    said = []
    for clause, chance in _clauses(plan):
        if rng.random() < chance:
            said.append(clause)
    ordered = [said[place] for place in rng.permutation(len(said))]
    return short, ", ".join([short, *ordered])


def _tenth(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 1)


def attributes(plan: Plan, picture: Image.Image) -> dict[str, object]:
    """Describe a rendered plan by EmoSet's attributes.

    Args:
        plan: The plan.
        picture: What was rendered of it.

    Returns:
        Brightness and colourfulness by tenths (Hasler and Suesstrunk's measure), the scene, the objects, and the face
        and the action of a person where there is one.
    """
    r, g, b = np.moveaxis(np.asarray(picture.convert("RGB"), np.float32), 2, 0)
    red_green, yellow_blue = r - g, (r + g) / 2 - b
    spread = np.hypot(red_green.std(), yellow_blue.std()) + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    found: dict[str, object] = {
        "brightness": _tenth(float((0.299 * r + 0.587 * g + 0.114 * b).mean()) / 255),
        "colorfulness": _tenth(float(spread) / 110),
    }
    if plan.scene != "portrait":
        found["scene"] = _EMOSET_SCENES.get(plan.scene, plan.scene)
    if names := _list_objects(plan):
        found["object"] = [_EMOSET_OBJECTS.get(name, name.capitalize()) for name in names]
    person = plan.figure in ("person", "child")
    in_event = bool(plan.event) and EVENTS[plan.event].people > 0
    if (plan.scene == "portrait" or person or in_event) and plan.expression in _EMOSET_FACES:
        found["facial_expression"] = plan.expression
    if person and plan.pose in _ACTIONS:
        found["human_action"] = _ACTIONS[plan.pose]
    return found


def _list_objects(plan: Plan) -> list[str]:
    """The object, and a bystander beside it."""
    if plan.scene == "portrait":
        return ["Human face"]
    names = [plan.object] if plan.object else []
    if plan.figure and plan.figure not in names:
        names.append(plan.figure)
    return names
