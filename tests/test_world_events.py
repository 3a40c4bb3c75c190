"""Every event: drawn into its box, the same for the same seed, with every expression, in words that do not judge."""

from __future__ import annotations

import numpy as np
import pytest

from emoscene_mini.world import events, expressions, objects
from emoscene_mini.world.canvas import SIZE, Canvas, Light, rgb
from emoscene_mini.world.events import EVENTS, Place
from emoscene_mini.world.events.stage import EventBrush

DAY = Light(
    rgb("5a9fe0"), rgb("dcecf4"), np.ones(3, np.float32), rgb("cfe0ea"), rgb("fff0c0"), (0.3, 0.2), fog=0.3, night=0.0
)
NIGHT = DAY.with_(ambient=np.full(3, 0.35, np.float32), zenith=rgb("0e1430"), horizon=rgb("3a4266"), night=0.9)
PLACE = Place(0.15, 0.85, 0.9, 0.5)
EMPTY = 0.55
MARGIN = 0.09  # shadows are soft ellipses that may leave the box by as much


def draw(
    name: str,
    seed: int = 0,
    place: Place = PLACE,
    expression: str = "neutral",
    light: Light = DAY,
    intensity: float = 1.0,
    pose: str | None = None,
) -> np.ndarray:
    canvas = Canvas((EMPTY, EMPTY, EMPTY))
    events.draw_event(name, canvas, light, np.random.default_rng(seed), place, expression, intensity, pose=pose)
    return canvas.rgb


def find_changed(pixels: np.ndarray) -> np.ndarray:
    return np.abs(pixels - EMPTY).max(-1) > 0.02


@pytest.mark.parametrize("name", EVENTS)
def test_event_stays_in_its_place_and_fills_it(name: str) -> None:
    for seed in range(3):
        changed = find_changed(draw(name, seed))
        rows, columns = np.flatnonzero(changed.any(1)) / SIZE, np.flatnonzero(changed.any(0)) / SIZE
        assert rows[0] > PLACE.feet - PLACE.height - MARGIN and rows[-1] < PLACE.feet + MARGIN
        assert columns[0] > PLACE.left - MARGIN and columns[-1] < PLACE.right + MARGIN
        tall = min(PLACE.height, (PLACE.right - PLACE.left) / EVENTS[name].aspect)
        assert PLACE.feet - rows[0] > 0.75 * tall, "it is much lower than its box"
        assert rows[-1] > PLACE.feet - 0.03, "it does not reach the ground"
        assert columns[-1] - columns[0] > 0.6 * tall * EVENTS[name].aspect, "it is much narrower than its box"
        assert changed.sum() > 0.25 * tall**2 * EVENTS[name].aspect * SIZE**2


@pytest.mark.parametrize("name", EVENTS)
def test_event_is_not_cut_off_at_its_box(name: str) -> None:
    for seed in range(6):
        b = EventBrush(180, EVENTS[name].aspect, -1.0, np.random.default_rng(seed), "neutral", 1.0, None, 0.0)
        EVENTS[name].draw(b)
        for side in (b.alpha[:, 0], b.alpha[:, -1], b.alpha[0]):
            assert (side > 0.5).sum() <= 5


@pytest.mark.parametrize("name", EVENTS)
def test_event_is_a_pure_function_of_its_seed(name: str) -> None:
    first = draw(name, 4)
    assert np.array_equal(first, draw(name, 4))
    others = [draw(name, seed) for seed in range(5, 8)]
    for other in others:
        assert not np.array_equal(first, other)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", ["fishing", "sick", "wolf", "grave"])
def test_event_is_mirrored_for_some_seeds(name: str) -> None:
    """Both sides are drawn, so that left and right say nothing of the event."""
    centres = []
    for seed in range(6):
        weight = find_changed(draw(name, seed)).sum(0)
        centres.append(float((weight * np.arange(SIZE)).sum() / weight.sum()))
    assert np.ptp(centres) > 2


@pytest.mark.parametrize("name", EVENTS)
def test_event_scales_with_its_place(name: str) -> None:
    small = find_changed(draw(name, 2, Place(0.3, 0.7, 0.9, 0.3))).sum()
    large = find_changed(draw(name, 2, Place(0.1, 0.9, 0.9, 0.6))).sum()
    assert 3 < large / small < 5


@pytest.mark.parametrize("name", EVENTS)
def test_event_takes_every_expression(name: str) -> None:
    faces = {draw(name, 1, expression=expression).tobytes() for expression in expressions.EXPRESSIONS}
    assert len(faces) == 1 if name == "chained_dog" else len(faces) >= 5


@pytest.mark.parametrize("name", EVENTS)
def test_pose_moves_the_main_figure_where_it_is_free(name: str) -> None:
    seen = {draw(name, 1, pose=pose).tobytes() for pose in objects.POSES}
    assert len(seen) == (len(objects.POSES) if EVENTS[name].free_pose else 1)


@pytest.mark.parametrize("name", EVENTS)
def test_event_stands_out_by_day_and_by_night_in_grey(name: str) -> None:
    for light, ground in ((DAY, 0.75), (NIGHT, 0.12)):
        canvas = Canvas((ground, ground, ground))
        events.draw_event(name, canvas, light, np.random.default_rng(3), PLACE, "neutral", 1.0)
        grey = canvas.rgb.mean(-1)
        assert (np.abs(grey - ground) > 0.1).mean() > 0.05


def test_intensity_moves_the_face() -> None:
    rest, full = (draw("juggling", 1, expression="anger", intensity=k) for k in (0.2, 1.0))
    assert not np.array_equal(rest, full)


def test_words_are_neutral_short_and_few() -> None:
    emotional = {"happy", "sad", "angry", "afraid", "scary", "funny", "lonely", "sick", "bowed"}
    vocabulary = set()
    for event in EVENTS.values():
        words = event.words.split()
        assert 3 <= len(words) <= 7
        vocabulary.update(words)
    assert not vocabulary & emotional
    assert len(vocabulary) < 80
    assert len({event.words for event in EVENTS.values()}) == len(EVENTS)
