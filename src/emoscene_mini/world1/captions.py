"""What can be said of a picture: captions in a short and a long form, and EmoSet's attributes.

The short caption names scene and object alone. The long one adds what the eye sees: light, hour, weather, things,
framing, face, pose. Neither names an emotion, nor a word that judges: what a method learns of an emotion it must learn
from its labels and from the picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world.things import THINGS
from emoscene_mini.world1.faces import EXPRESSIONS
from emoscene_mini.world1.moods import COMPOSITIONS, PALETTES, TIMES, WEATHERS
from emoscene_mini.world1.objects import LIVING, OBJECTS, POSES
from emoscene_mini.world1.plan import Plan

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


def _clauses(plan: Plan, rng: np.random.Generator) -> list[str]:
    """One clause for each cue, in a fixed order."""
    main = max(plan.palette, key=lambda pair: pair[1])[0]
    form = str(rng.choice(["in {}", "with {}", "under {}"]))
    weather = str(rng.choice(["{}", "with {}", "and {}"])).format(WEATHERS[plan.weather])
    said = [TIMES[plan.time], form.format(PALETTES[main].words), weather]
    if plan.things:
        said.append("with " + " and ".join(THINGS[name][0] for name in plan.things))
    if plan.scene == "portrait":
        said.append("with " + EXPRESSIONS[plan.expression])
    elif plan.object in LIVING and plan.pose != "standing":
        said.append(f"the {OBJECTS[plan.object].split(' ', 1)[1]} {POSES[plan.pose]}")
    if COMPOSITIONS[plan.composition].words:
        said.append(COMPOSITIONS[plan.composition].words)
    return said


def captions(plan: Plan) -> tuple[str, str]:
    """The short and the long caption of a plan."""
    rng = np.random.default_rng([plan.seed, 100])
    short = _short(plan, rng)
    said = [clause for clause in _clauses(plan, rng) if rng.random() < 0.75]
    said = [said[i] for i in rng.permutation(len(said))]
    long = ", ".join([short, *said])
    while len(long.split()) > 45:
        said.pop()
        long = ", ".join([short, *said])
    return short, long


def _tenth(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 1)


def attributes(plan: Plan, picture: Image.Image) -> dict[str, object]:
    """EmoSet's attributes of a rendered plan: brightness and colourfulness by tenths (Hasler and Suesstrunk's measure),
    scene, objects, and the face and the action where there are any.
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
    names = ["Human face"] if plan.scene == "portrait" else [plan.object] if plan.object else []
    if names:
        found["object"] = [_EMOSET_OBJECTS.get(name, name.capitalize()) for name in names]
    person = plan.object in ("person", "child")
    if (plan.scene == "portrait" or person) and plan.expression in _EMOSET_FACES:
        found["facial_expression"] = plan.expression
    if person and plan.pose in _ACTIONS:
        found["human_action"] = _ACTIONS[plan.pose]
    return found
