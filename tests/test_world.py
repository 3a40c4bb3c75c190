"""The painted world: pictures belong to their seeds, captions keep quiet about emotions, held-out pairs stay out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini import world
from emoscene_mini.world import moods
from emoscene_mini.world.canvas import Canvas
from emoscene_mini.world.plan import objects_for

_JUDGING = [
    "happy",
    "happiness",
    "sad",
    "sadness",
    "angry",
    "anger",
    "scary",
    "fearful",
    "fear",
    "afraid",
    "disgust",
    "disgusting",
    "joyful",
    "joy",
    "gloomy",
    "calm",
    "peaceful",
    "cozy",
    "exciting",
    "excited",
    "excitement",
    "amusing",
    "amusement",
    "awe",
    "awesome",
    "contentment",
    "content",
    "cheerful",
    "eerie",
    "spooky",
    "lonely",
    "miserable",
    "furious",
    "playful",
    "beautiful",
    "ugly",
    "nice",
    "awful",
    "terrible",
    "wonderful",
    "majestic",
    "serene",
    "dreary",
    "surprise",
    "surprised",
    "emotion",
    "mood",
]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def test_a_picture_belongs_to_its_seed() -> None:
    plan = world.plan(7)
    assert plan == world.plan(7)
    assert plan != world.plan(8)
    assert world.render_plan(plan).tobytes() == world.render_plan(world.plan(7)).tobytes()
    assert world.captions(plan) == world.captions(world.plan(7))


def test_what_is_asked_for_does_not_move_the_other_cues() -> None:
    one, other = (world.plan(3, emotion="fear", scene=scene, intensity=0.8) for scene in ("beach", "castle"))
    assert (one.palette, one.weather, one.composition, one.pose) == (
        other.palette, other.weather, other.composition, other.pose
    )  # fmt: skip


@pytest.mark.parametrize("emotion", [*EMOTIONS, None])
def test_every_scene_paints_every_emotion(emotion: str | None) -> None:
    for number, scene in enumerate(world.SCENES):
        picture = world.render_plan(world.plan(number, emotion=emotion, scene=scene, intensity=1.0), 32)
        pixels = np.asarray(picture, np.float32)
        assert picture.mode == "RGB" and pixels.shape == (32, 32, 3)
        assert pixels.std() > 4, (scene, emotion)


@pytest.mark.filterwarnings("error")
def test_pixels_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    finish = Canvas.image

    def watched(self: Canvas, size: int = 128) -> Image.Image:
        seen.append(self.rgb)
        return finish(self, size)

    monkeypatch.setattr(Canvas, "image", watched)
    for seed in range(24):
        world.render_plan(world.plan(500 + seed), 16)
    assert len(seen) == 24 and all(np.isfinite(pixels).all() for pixels in seen)


@pytest.mark.parametrize("size", [64, 128, 200, 256])
def test_size(size: int) -> None:
    assert world.render_plan(world.plan(5), size).size == (size, size)


def test_every_object_and_thing_paints() -> None:
    for number, name in enumerate(world.OBJECTS):
        scene = next(s for s in world.SCENES if name in objects_for(s))
        world.render_plan(world.plan(number, scene=scene, object=name), 16)
    used = {name for mood in (*moods.MOODS.values(), moods.NEUTRAL) for name in mood.things if name}
    assert used == set(world.THINGS)


def test_the_tables_name_what_exists() -> None:
    for mood in (*moods.MOODS.values(), moods.NEUTRAL):
        assert set(mood.palettes) <= set(moods.PALETTES) and len(mood.palettes) >= 4
        assert set(mood.weathers) <= set(world.WEATHERS)
        assert set(mood.compositions) <= set(moods.COMPOSITIONS)
        assert set(mood.faces) <= set(world.EXPRESSIONS)
    assert {palette.time for palette in moods.PALETTES.values()} <= set(world.TIMES)
    assert tuple(moods.MOODS) == EMOTIONS


def test_captions_name_no_emotion_and_the_short_one_no_cue() -> None:
    vocabulary: set[str] = set()
    plain = _words(" ".join([*world.SCENES.values(), *world.OBJECTS.values()])) | {
        "a",
        "picture",
        "view",
        "of",
        "in",
        "front",
        "and",
        "with",
    }
    for seed in range(800):
        short, long = world.captions(world.plan(seed))
        assert _words(short) <= plain, short
        assert _words(long).isdisjoint(_JUDGING), long
        assert long.startswith(short) and len(long.split()) <= 45
        vocabulary |= _words(long)
    assert len(vocabulary) <= 350


def test_held_out_pairs_are_apart() -> None:
    seen = {(plan.scene, plan.object) for plan in map(world.plan, range(3000)) if plan.object}
    kept = {(plan.scene, plan.object) for plan in (world.plan(seed, held_out=True) for seed in range(600))}
    assert not seen & kept
    assert all(world.held_out(*pair) for pair in kept)
    assert 0.08 < len(kept) / len(seen | kept) < 0.16


def test_weights() -> None:
    plans = [world.plan(seed) for seed in range(2000)]
    kinds = [sum(share > 0 for share in plan.weights) for plan in plans]
    assert 0.07 < kinds.count(0) / len(kinds) < 0.13 and 0.05 < kinds.count(2) / len(kinds) < 0.11
    assert all(sum(plan.weights) in (0, pytest.approx(1)) for plan in plans)
    mixed = world.plan(1, emotion={"awe": 3, "fear": 1})
    assert mixed.weights[EMOTIONS.index("awe")] == 0.75 and len(mixed.palette) == 2
    with pytest.raises(UsageError, match="no emotion"):
        world.plan(1, emotion="boredom")
    with pytest.raises(UsageError, match="no scene 'beech': did you mean 'beach'"):
        world.plan(1, scene="beech")


def test_cues_follow_the_emotion_more_with_intensity() -> None:
    def share(intensity: float) -> float:
        own = set(moods.MOODS["disgust"].palettes)
        return float(
            np.mean([world.plan(s, emotion="disgust", intensity=intensity).palette[0][0] in own for s in range(600)])
        )

    assert 0.5 < share(0.3) < 0.65 and 0.85 < share(1.0) < 0.98


def test_attributes() -> None:
    for seed in range(20):
        plan = world.plan(seed)
        found = world.attributes(plan, world.render_plan(plan, 32))
        assert {found["brightness"], found["colorfulness"]} <= {round(i / 10, 1) for i in range(11)}
        assert ("scene" in found) != (plan.scene == "portrait")
        names = found.get("object", [])
        assert isinstance(names, list)
        assert all(isinstance(name, str) for name in names)
        assert found.get("facial_expression", "anger") in (
            "surprise",
            "fear",
            "disgust",
            "happiness",
            "sadness",
            "anger",
        )
