"""From a plan to an image: sky, what is in it, scene, object, event and figure, things, weather, camera.

sky ─▶ sky things ─▶ scene ─▶ object ─▶ ground things ─▶ figure and event ─▶ air things ─▶ weather ─▶ grading ─▶ camera
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from emoscene_mini.world import camera, events, faces, objects, scenes, sky, things
from emoscene_mini.world.canvas import SIZE, Canvas, Light, mix
from emoscene_mini.world.moods import COMPOSITIONS
from emoscene_mini.world.placing import Placing, Stand, place_all
from emoscene_mini.world.plan import Plan

AT_FEET = 0.22
"""Share of the figures' height that things on the ground may cover; above it they are behind."""
LOW_HORIZON, SKY_ENDS = 0.3, 0.45
"""A horizon nearer to the top leaves so little sky that what is in it is drawn over the scene, down to `SKY_ENDS`; what
flies is drawn down to there at least."""
BEHIND = ("mist", "fog", "smog")
"""Weathers that are drawn behind the figures; the others fall before them."""
ONLOOKERS = ("person", "child", "person")
FIGURE_LIGHT = 0.7
"""How far the light on figures is lifted to white, so that no palette hides a face."""


def render_plan(plan: Plan, size: int = 128) -> Image.Image:
    """Render a plan. The same plan gives the same pixels.

    Args:
        plan: The plan.
        size: Pixels a side.

    Returns:
        The image, RGB.
    """
    rng = [np.random.default_rng([plan.seed, 200 + number]) for number in range(8)]
    view = COMPOSITIONS[plan.composition]
    tone = sky.tone(plan.palette, plan.intensity if sum(plan.weights) else 1.0, rng[0])
    light = sky.light(tone, plan.weather, plan.horizon, rng[0])
    canvas = Canvas()
    sky.sky(canvas, tone, light, plan.weather, rng[1], plan.horizon)
    _draw_things(canvas, light, plan, rng[2], "sky")
    if plan.scene == "portrait":
        x, y = 0.5, 0.5
        _draw_haze(canvas, light, plan, rng[5])
        _draw_things(canvas, light, plan, rng[2], "air")
        faces.portrait(canvas, light, rng[3], plan.expression, _strength(plan))
    else:
        x, y = _draw_scene(canvas, light, plan, rng)
    if plan.scene != "room" and plan.weather not in BEHIND:
        sky.veil(canvas, light, plan.weather, rng[5], plan.horizon, _strength(plan))
    sky.grade(canvas, tone, rng[6], 0.0)
    camera.apply_lens(canvas, view, plan.tilt, x, y)
    camera.apply_frame(canvas, view.frame, 0.5, 0.5 if view.zoom > 1 else y, light.horizon)
    camera.expose(canvas, rng[7])
    image = canvas.image(size)
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if plan.flip else image


def _strength(plan: Plan) -> float:
    """How strongly faces, weather and things show: never too weak to be seen."""
    return 0.55 + 0.45 * float(np.clip(plan.intensity, 0, 1))


def _draw_scene(canvas: Canvas, light: Light, plan: Plan, rng: list[np.random.Generator]) -> tuple[float, float]:
    """Draw all between sky and weather; returns the middle of what is in front."""
    view = COMPOSITIONS[plan.composition]
    ground = scenes.paint(plan.scene, canvas, light, rng[3], plan.horizon)
    if view.mirror:
        canvas.rgb[:, SIZE // 2 :] = canvas.rgb[:, : SIZE // 2][:, ::-1]
    if view.empty:
        canvas.rgb += (mix(light.haze, light.horizon, 0.3) - canvas.rgb) * view.empty
    if plan.scene != "room":
        _draw_haze(canvas, light, plan, rng[5])
    _draw_things(canvas, light, plan, rng[2], "over")
    placing = place_all(plan, ground, rng[4])
    scene_light, light = light, light.with_(ambient=mix(light.ambient, (1, 1, 1), FIGURE_LIGHT))
    if placing.object:
        _draw_object(canvas, light, plan, plan.object, placing.object, rng[4])
    _draw_onlookers(canvas, light, plan, placing, rng[4])
    on_ground = rng[2].bit_generator.state
    _draw_things(canvas, scene_light, plan, rng[2], "ground")
    if placing.figure:
        _draw_object(canvas, light, plan, plan.figure, placing.figure, rng[4])
    if placing.event:
        _draw_event(canvas, light, plan, placing.event, rng[4])
    front = placing.event or placing.figure
    assert front is not None, "a scene has an event or a figure"
    rng[2].bit_generator.state = on_ground
    feet = round((front.feet - AT_FEET * front.height) * SIZE)
    above = canvas.rgb[:feet].copy()
    _draw_things(canvas, scene_light, plan, rng[2], "ground")
    canvas.rgb[:feet] = above
    _draw_things(canvas, scene_light, plan, rng[2], "air")
    return front.x, front.feet - 0.55 * front.height


def _draw_haze(canvas: Canvas, light: Light, plan: Plan, rng: np.random.Generator) -> None:
    """Draw the weather that lies behind the figures, so that it is thick and they are clear."""
    if plan.weather in BEHIND:
        sky.veil(canvas, light, plan.weather, rng, plan.horizon, _strength(plan))


def _draw_things(canvas: Canvas, light: Light, plan: Plan, rng: np.random.Generator, layer: str) -> None:
    """Draw those of the plan's things that belong to a layer."""
    for name in plan.things:
        if _layer(name, plan) == layer:
            horizon = plan.horizon
            if layer in ("over", "air"):
                horizon = max(horizon, SKY_ENDS)
            things.paint(name, canvas, light, rng, _strength(plan) * float(rng.uniform(0.9, 1.1)), horizon)


def _layer(name: str, plan: Plan) -> str:
    """Where a thing is drawn: in the "sky", "over" the scene, on the "ground", or in the "air"."""
    where = things.THINGS[name][1]
    covered = plan.horizon < LOW_HORIZON or COMPOSITIONS[plan.composition].empty
    if where == "sky" and covered and plan.scene != "portrait":
        return "over"
    return where


def _draw_event(canvas: Canvas, light: Light, plan: Plan, stand: Stand, rng: np.random.Generator) -> None:
    half = stand.height * events.EVENTS[plan.event].aspect / 2
    place = events.Place(stand.x - half, stand.x + half, stand.feet, stand.height)
    events.draw_event(plan.event, canvas, light, rng, place, plan.expression, _strength(plan), pose=plan.pose)


def _draw_object(canvas: Canvas, light: Light, plan: Plan, name: str, stand: Stand, rng: np.random.Generator) -> None:
    """An object with its shadow."""
    rows = round(stand.height * SIZE)
    sprite = objects.sprite(name, rng, rows, plan.pose, light.side, plan.expression, light.night)
    canvas.shadow(stand.x, stand.feet - 0.004, 0.42 * stand.height, light, 0.5)
    canvas.stamp(sprite, stand.x, stand.feet, light, 0.03, 0.4 + 0.2 * light.night)


def _draw_onlookers(canvas: Canvas, light: Light, plan: Plan, placing: Placing, rng: np.random.Generator) -> None:
    """People behind what happens, where the composition is crowded."""
    count = COMPOSITIONS[plan.composition].crowd
    front = placing.event or placing.figure
    if not count or front is None:
        return
    for number, x in enumerate(np.linspace(0.1, 0.9, count)):
        at = Stand(float(x + rng.uniform(-0.05, 0.05)), front.feet - 0.08, 0.62 * plan.size)
        _draw_object(canvas, light, plan, ONLOOKERS[number % len(ONLOOKERS)], at, rng)
