"""A law of time: the layout of an image is decided in the first steps, its style in later ones.

A trajectory follows one prompt for some steps and another one to the end. The prompts differ in their scene and in
their weather. Whichever scene the judge finds in the result has decided the layout; whichever image, of the two that
follow one prompt alone, has the nearer colours has decided the style. The share of the trajectory at which the second
prompt can still decide is the time of the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from emoscene.core.image_origin import encode_mark
from emoscene.evaluation.intervals import Array
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws.law import Finding
from emoscene_mini.laws.statistics import measure_rows
from emoscene_mini.laws.trajectories import make_prediction, run_steps, start_steps

SEED = 40
STEPS = 20
SWITCHES = (1, 2, 3, 4, 6, 8, 10, 12, 15, 18)
"""After how many steps the second prompt takes over."""
SCENES = (("a village by a lake", "village"), ("a desert", "desert"), ("a city street", "city"), ("a beach", "beach"))
WEATHERS = (", with dark storm clouds", ", with a clear sky")
SEEDS_A_PAIR = 2


def measure_decisions(lab: Experiment) -> list[Finding]:
    """Find at which share of the steps scene and colours are decided."""
    scenes = next(judge for judge in lab.judges.values() if judge.target == "scene")
    layout, style, pairs = [], [], []
    for number, (first, second, seed) in enumerate(list_cases()):
        lab.on_message(f"switching prompts, case {number + 1}")
        images = generate_switched(lab.pipe("none"), first[0], second[0], seed)
        read = scenes.read(images).probabilities
        one, other = (scenes.labels.index(name) for name in (first[1], second[1]))
        colours = np.stack([describe_colours(image) for image in images])
        layout.append(float((read[2:, other] > read[2:, one]).mean()))
        style.append(share_nearer(colours[2:], colours[1], colours[0]))
        pairs.append(number)
        keep_images(lab.out / "pictures" / "law-switched", number, images)
    later = measure_rows(np.array(style) - np.array(layout), np.array(pairs))
    return [Finding("share of the steps between the decisions on layout and on style", later)]


def list_cases() -> list[tuple[tuple[str, str], tuple[str, str], int]]:
    """List the first prompt and its scene, the second ones, and the seed, of each case."""
    cases = []
    for number, one in enumerate(SCENES):
        for other in SCENES[number + 1 :]:
            for turn in range(SEEDS_A_PAIR):
                words = WEATHERS if turn % 2 == 0 else WEATHERS[::-1]
                first, second = (one[0] + words[0], one[1]), (other[0] + words[1], other[1])
                cases.append((first, second, SEED + turn))
    return cases


def generate_switched(pipe: EmotionPipeline, first: str, second: str, seed: int) -> list[Image.Image]:
    """Generate what follows the first prompt alone, the second alone, and each switch from one to the other.

    Args:
        pipe: The base.
        first: The prompt of the first steps.
        second: The prompt of the others.
        seed: The seed of them all.

    Returns:
        2 + len(SWITCHES) images.
    """
    rows = [pipe.plan(prompt, seed=seed, num_inference_steps=STEPS)[0] for prompt in (first, second)]
    one, other = (make_prediction(pipe, [row]) for row in rows)
    scheduler, x = start_steps(pipe, rows[:1])
    states = [x]
    for step in range(STEPS):
        states.append(run_steps(pipe, scheduler, one, states[-1], step, step + 1))
    ends = [states[-1], run_steps(pipe, scheduler, other, x, 0, STEPS)]
    for count in SWITCHES:
        ends.append(run_steps(pipe, scheduler, other, states[count], count, STEPS))
    images = []
    for end in ends:
        images += pipe.decode(end, rows[:1])
    return images


def describe_colours(image: Image.Image) -> Array:
    """The mean and the deviation of an image's red, green and blue [6]."""
    pixels = np.asarray(image.convert("RGB"), np.float64).reshape(-1, 3)
    return np.concatenate([pixels.mean(0), pixels.std(0)])


def share_nearer(colours: Array, to: Array, than: Array) -> float:
    """The share of rows [N, 6] that are nearer to one description than to another."""
    near, far = (np.linalg.norm(colours - end, axis=1) for end in (to, than))
    return float((near < far).mean())


def keep_images(folder: Path, number: int, images: Sequence[Image.Image]) -> None:
    """Keep a case's images, for whoever looks."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(images):
        image.save(folder / f"{number:02d}-{place:02d}.png", **encode_mark(image))
