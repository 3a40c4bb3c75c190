"""Every object in every pose, every expression and every overlay: painted, sound, and the same for the same seed."""

import numpy as np
import pytest
from PIL import Image

from emoscene_mini.world import expressions, faces, moods, objects, things
from emoscene_mini.world.canvas import SIZE, Canvas, Light, rgb

DAY = Light(
    rgb("5a9fe0"), rgb("dcecf4"), np.ones(3, np.float32), rgb("cfe0ea"), rgb("fff0c0"), (0.3, 0.2), fog=0.3, night=0.0
)
NIGHT = DAY.with_(ambient=np.full(3, 0.4, np.float32), zenith=rgb("0e1430"), horizon=rgb("3a4266"), night=0.9)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32)


@pytest.mark.parametrize("name", objects.OBJECTS)
def test_object_stands_in_every_pose(name: str) -> None:
    seen = set()
    for pose in objects.POSES:
        first, again = (objects.sprite(name, np.random.default_rng(3), 80, pose, 1.0, night=0.5) for _ in range(2))
        assert first.mode == "RGBA" and first.height == 80
        assert first.tobytes() == again.tobytes()
        alpha = pixels(first.getchannel("A"))
        assert 0.08 < (alpha > 128).mean() < 0.9
        assert alpha[64:].max() > 200 or pose == "jumping", "it floats"
        seen.add(first.tobytes())
    assert len(seen) >= 4


@pytest.mark.parametrize("name", objects.LIVING)
def test_living_things_show_the_expression(name: str) -> None:
    made = {objects.sprite(name, np.random.default_rng(1), 90, expression=e).tobytes() for e in faces.EXPRESSIONS}
    assert len(made) >= 4


@pytest.mark.parametrize("name", things.THINGS)
def test_a_thing_is_painted_wherever_the_sky_ends(name: str) -> None:
    spans = [composition.horizon for composition in moods.COMPOSITIONS.values()]
    lowest = max(span[1] for span in spans)
    assert lowest > 0.8
    for horizon in (min(span[0] for span in spans), lowest):
        canvas = Canvas((0.5, 0.6, 0.7))
        before = canvas.rgb.copy()
        things.paint(name, canvas, DAY, np.random.default_rng(5), 0.7, horizon)
        assert np.isfinite(canvas.rgb).all() and (canvas.rgb != before).any()


def test_lamps_are_lit_by_night() -> None:
    day, night = (pixels(objects.sprite("lantern", np.random.default_rng(0), 80, night=n)) for n in (0.0, 1.0))
    assert np.abs(day - night).max() > 30


@pytest.mark.parametrize("expression", faces.EXPRESSIONS)
def test_face(expression: str) -> None:
    one, again, other = (faces.render_face(seed, expression) for seed in (5, 5, 6))
    assert one.size == (100, 100) and one.mode == "RGB"
    assert one.tobytes() == again.tobytes() != other.tobytes()
    assert pixels(one).std() > 15


def test_expression_grows_with_intensity() -> None:
    rest, half, full = (
        pixels(faces.face(np.random.default_rng(2), "surprise", 120, k).convert("RGB")) for k in (0.0, 0.5, 1.0)
    )
    assert 0 < np.abs(half - rest).mean() < np.abs(full - rest).mean()


def test_portrait_fills_the_middle() -> None:
    canvas = Canvas((0.5, 0.6, 0.7))
    faces.portrait(canvas, DAY, np.random.default_rng(0), "happiness")
    assert np.isfinite(canvas.rgb).all()
    assert np.abs(canvas.rgb[60:200, 90:166] - (0.5, 0.6, 0.7)).mean() > 0.05


@pytest.mark.parametrize("light", [DAY, NIGHT], ids=["day", "night"])
@pytest.mark.parametrize("name", things.THINGS)
def test_thing_changes_the_canvas(name: str, light: Light) -> None:
    tone = 0.5 if light is DAY else 0.15
    for amount, horizon in ((0.0, 0.35), (1.0, 0.75)):
        first, again = Canvas((tone, tone, tone)), Canvas((tone, tone, tone))
        for canvas in (first, again):
            things.paint(name, canvas, light, np.random.default_rng(4), amount, horizon)
        assert first.rgb.shape == (SIZE, SIZE, 3) and np.isfinite(first.rgb).all()
        assert first.rgb.min() > -0.05 and first.rgb.max() < 1.05
        assert np.array_equal(first.rgb, again.rgb)
        assert (np.abs(first.rgb - tone).max(2) > 0.04).mean() > 0.002


def test_every_name_has_a_painter_and_a_place() -> None:
    assert set(objects.PAINTERS) == set(objects.OBJECTS) == set(objects.TALL)
    assert set(things.PAINTERS) == set(things.THINGS)
    assert {where for _, where in things.THINGS.values()} == {"sky", "air", "ground"}
    assert set(objects.POSE_EXPRESSION) == set(objects.POSES)
    assert set(expressions.MUSCLES) == set(faces.EXPRESSIONS)
