"""From a plan to a picture: sky, what is in the sky, scene, object, what lies and flies before it, weather, grading.

sky ─▶ sky things ─▶ scene ─▶ object and shadow ─▶ ground and air things ─▶ weather ─▶ grading ─▶ tilt ─▶ Lanczos
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from emoscene_mini.world import scenes, things
from emoscene_mini.world.canvas import SIZE, Canvas, Light
from emoscene_mini.world.scenes.kit import Ground
from emoscene_mini.world1 import faces, objects, sky
from emoscene_mini.world1.moods import COMPOSITIONS
from emoscene_mini.world1.plan import Plan


def render_plan(plan: Plan, size: int = 128) -> Image.Image:
    """Paint a plan, `size` pixels a side. The same plan gives the same pixels."""
    rng = [np.random.default_rng([plan.seed, 200 + n]) for n in range(7)]
    tone = sky.tone(plan.palette, plan.intensity if sum(plan.weights) else 1.0, rng[0])
    light = sky.light(tone, plan.weather, plan.horizon, rng[0])
    canvas = Canvas()
    sky.sky(canvas, tone, light, plan.weather, rng[1], plan.horizon)
    _things(canvas, light, plan, rng[2], ("sky",))
    if plan.scene == "portrait":
        _things(canvas, light, plan, rng[2], ("air", "ground"))
        faces.portrait(canvas, light, rng[3], plan.expression, plan.intensity)
    else:
        ground = scenes.paint(plan.scene, canvas, light, rng[3], plan.horizon)
        _things(canvas, light, plan, rng[2], ("ground",))
        if plan.object:
            _object(canvas, light, plan, rng[4], ground)
        _things(canvas, light, plan, rng[2], ("air",))
    indoors = plan.scene in ("room", "portrait")
    if not indoors:
        sky.veil(canvas, light, plan.weather, rng[5], plan.horizon, plan.intensity)
    sky.grade(canvas, tone, rng[6], COMPOSITIONS[plan.composition].frame * (0.5 + 0.5 * plan.intensity))
    return _framed(canvas, plan, size)


def _things(canvas: Canvas, light: Light, plan: Plan, rng: np.random.Generator, where: tuple[str, ...]) -> None:
    for name in plan.things:
        if things.THINGS[name][1] in where:
            amount = float(np.clip(plan.intensity * rng.uniform(0.75, 1.1), 0.2, 1))
            things.paint(name, canvas, light, rng, amount, plan.horizon)


def _object(canvas: Canvas, light: Light, plan: Plan, rng: np.random.Generator, ground: Ground) -> None:
    """The plan's object on the ground, where the composition puts it."""
    x = ground.left + (ground.right - ground.left) * plan.place
    height = round(ground.tall * SIZE * objects.TALL[plan.object] * plan.scale)
    sprite = objects.sprite(plan.object, rng, height, plan.pose, light.side, plan.expression, light.night)
    canvas.shadow(x, ground.feet - 0.004, 0.42 * height / SIZE, light, 0.5)
    canvas.stamp(sprite, x, ground.feet, light, 0.03, 0.2 + 0.12 * light.night)


def _framed(canvas: Canvas, plan: Plan, size: int) -> Image.Image:
    """Turn by the tilt, crop what the turn left empty, reduce."""
    zoom = COMPOSITIONS[plan.composition].zoom
    tilt = plan.tilt if plan.scene != "portrait" else plan.tilt * 0.5
    picture = canvas.image(SIZE) if abs(tilt) > 0.3 or zoom > 1 else canvas.image(size)
    if picture.width != size:
        turn = np.radians(abs(tilt))
        half = SIZE / 2 / (np.cos(turn) + np.sin(turn)) / zoom
        cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        corners = [(-half, -half), (-half, half), (half, half), (half, -half)]
        quad = [v for x, y in corners for v in (SIZE / 2 + x * cos - y * sin, SIZE / 2 + x * sin + y * cos)]
        turned = picture.transform((SIZE, SIZE), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)
        picture = turned.resize((size, size), Image.Resampling.LANCZOS)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if plan.flip else picture
