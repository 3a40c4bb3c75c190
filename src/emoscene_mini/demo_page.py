"""The demo's page: which pictures hang where.

What is said about them, and in which order, is in `templates/demo.html.j2`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from PIL import Image

from emoscene import __version__
from emoscene.core import registry
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.metrics.base import Value
from emoscene.evaluation.predictions import Sample
from emoscene.reporting import Figure, ImageGrid, Share, render_html

CHANCE = 1 / len(EMOTIONS)


@dataclass(frozen=True)
class MethodResults:
    """What one method made, samples in order of prompt, emotion, seed, and what the judges say of it.

    dial: for some emotions a sample a strength, and likely: the probability that the judge gives the emotion asked.
    """

    method: str
    samples: Sequence[Sample]
    dial: Mapping[str, Sequence[Sample]]
    seconds: float
    figures: Mapping[str, Value]
    likely: Mapping[str, Sequence[float]]

    def picture(self, prompt: int, name: str) -> Image.Image:
        """Open the first picture of a prompt in an emotion.

        Args:
            prompt: which prompt, from 0.
            name: the emotion.

        Returns:
            The picture.
        """
        place = (prompt, EMOTIONS.index(name))
        return open_image(next(one.file for one in self.samples if (one.prompt, one.asked) == place))


def render_page(
    prompts: Sequence[str],
    seeds: Sequence[int],
    dial: Sequence[float],
    shown: Mapping[str, MethodResults],
    star: MethodResults,
    base: str,
) -> Markup:
    """Render the demo's page.

    Args:
        prompts: the words of each scene; the first is the one that hangs large.
        seeds: the seeds of each prompt and emotion.
        dial: the strengths of the dial.
        shown: what each method made.
        star: the one that hangs first.
        base: the name of the base.

    Returns:
        The HTML.
    """
    words = prompts[0]
    painter = "a small Stable Diffusion that lies inside the package" if base == "mini" else base
    wall = [Figure(star.picture(0, name), f"{words}, {name}, by {star.method}", name) for name in EMOTIONS]
    return render_html(
        "demo.html.j2",
        "emoscene_mini",
        version=__version__,
        base=base,
        painter=painter,
        words=words,
        prompts=prompts,
        seeds=seeds,
        emotions=EMOTIONS,
        chance=CHANCE,
        star=star,
        shown=shown,
        wall=wall,
        descriptions={name: describe_method(name) for name in shown},
        methods=lay_out_methods(words, shown),
        scenes=lay_out_scenes(prompts, star),
        dials=lay_out_dials(words, dial, shown),
        accuracy=accuracy_table(shown),
    )


def describe_method(method: str) -> str:
    """Describe a method, or what methods do together.

    Args:
        method: a name, or several joined by `+`.

    Returns:
        A sentence.
    """
    names = method.split("+")
    if len(names) > 1:
        return f"Both at once: {' and '.join(names)}."
    return registry.describe_plugin("methods", method)


def lay_out_methods(words: str, shown: Mapping[str, MethodResults]) -> ImageGrid:
    """Lay out the first prompt, methods x emotions.

    Args:
        words: the first prompt.
        shown: what each method made.

    Returns:
        The grid.
    """
    rows = []
    for method, one in shown.items():
        figures = [Figure(one.picture(0, name), f"{words}, {name}, by {method}") for name in EMOTIONS]
        rows.append((method, figures))
    caption = "The base alone knows no emotion, so its row is one image eight times."
    return ImageGrid(EMOTIONS, rows, caption)


def lay_out_scenes(prompts: Sequence[str], star: MethodResults) -> ImageGrid:
    """Lay out what one method made, scenes x emotions.

    Args:
        prompts: the words of each scene.
        star: what the method made.

    Returns:
        The grid.
    """
    rows = []
    for number, words in enumerate(prompts):
        figures = [Figure(star.picture(number, name), f"{words}, {name}") for name in EMOTIONS]
        rows.append((words, figures))
    return ImageGrid(EMOTIONS, rows)


def lay_out_dials(words: str, dial: Sequence[float], shown: Mapping[str, MethodResults]) -> ImageGrid:
    """Lay out the dial, methods and emotions x strengths.

    Args:
        words: the first prompt.
        dial: the strengths.
        shown: what each method made.

    Returns:
        The grid, without rows where no method has a dial. Each picture's note is how likely the judge finds the
        emotion.
    """
    rows = []
    for method, one in shown.items():
        for name, samples in one.dial.items():
            notes = [f"{probability:.0%}" for probability in one.likely.get(name, [])] or [""] * len(samples)
            figures = []
            for strength, sample, note in zip(dial, samples, notes, strict=True):
                told = f"{words}, {name} by {method} at emotion scale {strength:g}"
                figures.append(Figure(open_image(sample.file), told, note))
            rows.append((f"{name}, {method}", figures))
    caption = ""
    if any(one.likely for one in shown.values()):
        caption = "Under each picture: how likely the judge finds the emotion that was asked for."
    return ImageGrid([f"{strength:g}" for strength in dial], rows, caption)


def accuracy_table(shown: Mapping[str, MethodResults]) -> tuple[list[str], list[list[str | Share]]]:
    """Make the table of how often each method's pictures are as asked.

    Args:
        shown: what each method made.

    Returns:
        The head and a row a method; no rows where nothing was judged.
    """
    has_scenes = all("scene_accuracy" in one.figures for one in shown.values())
    head = ["method", "emotion as asked"]
    if has_scenes:
        head.append("scene kept")
    head.append("seconds a picture")
    rows = []
    for method, one in shown.items():
        if not one.figures:
            continue
        row: list[str | Share] = [method, make_share(one.figures["emotion_accuracy"], CHANCE)]
        if has_scenes:
            row.append(make_share(one.figures["scene_accuracy"]))
        row.append(f"{one.seconds:.2f}")
        rows.append(row)
    return head, rows


def make_share(value: Value, chance: float | None = None) -> Share:
    """Make a cell out of a measured share.

    Args:
        value: a share between 0 and 1 with its interval.
        chance: what guessing would reach.

    Returns:
        The cell.
    """
    return Share(value.value, value.low, value.high, chance)
