"""The camera's lens, frame and exposure, and the places of what is in front, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoscene_mini.world import camera, plan
from emoscene_mini.world.canvas import SIZE, Canvas
from emoscene_mini.world.events import EVENTS
from emoscene_mini.world.moods import Composition
from emoscene_mini.world.objects import ASPECT, LIVING
from emoscene_mini.world.placing import place_all
from emoscene_mini.world.scenes.kit import Ground

GROUND = Ground(0.2, 0.8, 0.9, 0.3)


def coloured() -> Canvas:
    canvas = Canvas()
    blocks = np.random.default_rng(0).random((16, 16, 3))
    canvas.rgb[:] = np.kron(blocks, np.ones((16, 16, 1)))
    return canvas


def test_zoom_moves_in_on_the_point() -> None:
    canvas = coloured()
    before = canvas.rgb.copy()
    camera.apply_lens(canvas, Composition(zoom=2.0), 0.0, 0.5, 0.25)
    row, column = 100, 60
    expected = before[row // 2, SIZE // 4 + column // 2]
    assert canvas.rgb[row, column] == pytest.approx(expected, abs=1e-5)


def test_tilt_turns_about_the_middle_and_leaves_no_empty_corner() -> None:
    canvas = Canvas()
    canvas.rgb[:, : SIZE // 2] = 1.0
    camera.apply_lens(canvas, Composition(), 10.0, 0.5, 0.5)
    top, foot = canvas.rgb[4, :, 0].sum(), canvas.rgb[-5, :, 0].sum()
    lean = np.tan(np.radians(10)) * (SIZE - 9)
    assert abs(top - foot) == pytest.approx(lean, abs=2)
    whole = Canvas((0.5, 0.5, 0.5))
    camera.apply_lens(whole, Composition(zoom=1.2), 12.0, 0.9, 0.1)
    assert np.allclose(whole.rgb, 0.5, atol=1e-5)


def test_lens_without_a_bend_is_the_turn() -> None:
    plain, bent = coloured(), coloured()
    camera.apply_lens(plain, Composition(zoom=1.3), 9.0, 0.6, 0.4)
    camera.apply_lens(bent, Composition(zoom=1.3, bulge=1e-9), 9.0, 0.6, 0.4)
    assert np.allclose(plain.rgb, bent.rgb, atol=1e-4)


def test_streaks_leave_the_middle_alone() -> None:
    canvas = coloured()
    before = canvas.rgb.copy()
    camera.apply_lens(canvas, Composition(rush=0.3), 0.0, 0.5, 0.5)
    changed = np.abs(canvas.rgb - before).max(2)
    assert changed[108:148, 108:148].max() == 0 and changed[:20].mean() > 0.1


@pytest.mark.parametrize(("frame", "border"), [(1.0, 0.06 * 0.5), (-1.0, 1.0)])
def test_frame_darkens_or_pales_all_but_the_middle(frame: float, border: float) -> None:
    canvas = Canvas((0.5, 0.5, 0.5))
    camera.apply_frame(canvas, frame, 0.5, 0.5, (1.0, 1.0, 1.0))
    assert canvas.rgb[128, 128] == pytest.approx([0.5] * 3) and canvas.rgb[0, 0] == pytest.approx(
        [border] * 3, abs=1e-3
    )


def test_exposure_brings_dark_and_bright_together() -> None:
    means, deviations = [], []
    for tone in (0.15, 0.8):
        canvas = coloured()
        canvas.rgb[:] = tone + 0.1 * (canvas.rgb - 0.5)
        flat = float((canvas.rgb @ camera.LUMA).std())
        camera.expose(canvas, np.random.default_rng(1))
        luma = np.clip(canvas.rgb, 0, 1) @ camera.LUMA
        means.append(luma.mean())
        deviations.append(luma.std() / flat)
    assert means[1] - means[0] == pytest.approx((1 - camera.AIM) * 0.65, abs=0.02)
    assert camera.BRIGHTNESS[0] - 0.06 < np.mean(means) < camera.BRIGHTNESS[1] + 0.06
    assert deviations == pytest.approx([3, 3], rel=0.02)


def test_an_image_is_no_more_colourful_than_the_limit() -> None:
    canvas = Canvas((1.0, 0.1, 0.1))
    canvas.rgb[: SIZE // 2] = (0.9, 0.0, 0.3)
    camera.expose(canvas, np.random.default_rng(0))
    luma = (canvas.rgb @ camera.LUMA)[..., None]
    assert np.abs(canvas.rgb - luma).mean() * 3 < 2 * camera.MOST_COLOUR


def test_what_is_in_front_is_large_and_inside() -> None:
    tall = []
    for seed in range(300):
        drawn = plan(seed, scene="meadow")
        placing = place_all(drawn, GROUND, np.random.default_rng(seed))
        assert (placing.event is None) == (not drawn.event) and (placing.figure is None) == (not drawn.figure)
        assert (placing.object is None) == (not drawn.object or drawn.object in LIVING)
        if placing.event:
            half = placing.event.height * EVENTS[drawn.event].aspect / 2
            assert placing.event.x - half > -0.06 and placing.event.x + half < 1.06
        front = placing.event or placing.figure
        assert front is not None and front.feet - front.height > -0.02 and front.feet <= 0.96
        if drawn.composition not in ("vast", "lonely"):
            tall.append(front.height)
    assert np.median(tall) > 0.45 and np.mean(np.array(tall) > 0.35) > 0.9


def test_an_object_stands_beside_what_happens() -> None:
    drawn = replace(plan(1, scene="meadow", object="bench"), event="juggling", figure="", composition="plain", size=0.6)
    placing = place_all(drawn, GROUND, np.random.default_rng(0))
    assert placing.event and placing.object
    assert abs(placing.object.x - placing.event.x) > 0.2 and placing.object.feet < placing.event.feet
    assert placing.object.height * ASPECT["bench"] <= 0.62 + 1e-9
