"""The demo's page: what is said about the pictures, and in which order they hang."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from emoscene import __version__
from emoscene.core import registry
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.metrics.base import Value
from emoscene.evaluation.predictions import Sample
from emoscene.reporting import (
    Figure,
    Share,
    code_block,
    definition_list,
    image_grid,
    image_wall,
    section,
    table,
    whole_page,
)

CHANCE = 1 / len(EMOTIONS)
LIMITS = """\
This is a miniature. Its world is painted by a program, its pictures are 128 pixels wide, and its vocabulary is about \
230 words (emoscene show mini lists them). What you see is how the methods work, not how well they would do \
on photographs; the same commands run on Stable Diffusion v1.5 with --base sd15.

The judge is a small classifier that learnt from other pictures of the same world. It can be wrong, it knows only \
these eight words, and what a picture makes a person feel is not settled by it."""


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
        """The first picture of a prompt in an emotion."""
        place = (prompt, EMOTIONS.index(name))
        return open_image(next(one.file for one in self.samples if (one.prompt, one.asked) == place))


def render_page(
    prompts: Sequence[str],
    seeds: Sequence[int],
    dial: Sequence[float],
    shown: Mapping[str, MethodResults],
    star: MethodResults,
    base: str,
) -> str:
    """The page, as HTML. shown: by method; star: the one that hangs first."""
    words = prompts[0]
    painter = "a small Stable Diffusion that lies inside the package" if base == "mini" else base
    lede = (
        f"“{words}”, seed {seeds[0]}: the same words and the same noise in every picture; only the emotion asked for "
        f"changes. All of it was painted on this computer by {painter}."
    )
    hung = [Figure(star.picture(0, name), f"{words}, {name}, by {star.method}", name) for name in EMOTIONS]
    sections = [
        section("", "", image_wall(hung, f"Painted by {star.method} at strength 1.")),
        _methods(words, shown),
        _scenes(prompts, star),
        *([_dials(words, dial, shown)] if any(one.dial for one in shown.values()) else []),
        *([_figures(prompts, seeds, shown)] if star.figures else []),
        _commands(words, star.method, seeds[0]),
        section("What this is, and is not", LIMITS),
    ]
    foot = (
        f"emoscene {__version__} on the base {base}. The pictures lie beside this page in pictures/, each with the row "
        "that makes it again."
    )
    return whole_page("One scene, eight emotions", lede, sections, foot)


def describe_method(method: str) -> str:
    """A sentence on a method, or on what methods do together."""
    first, *others = method.split("+")
    return f"Both at once: {' and '.join([first, *others])}." if others else registry.describe_plugin("methods", first)


def _methods(words: str, shown: Mapping[str, MethodResults]) -> str:
    plates = [
        [Figure(one.picture(0, name), f"{words}, {name}, by {one.method}") for name in EMOTIONS]
        for one in shown.values()
    ]
    return section(
        "Method by method",
        "",
        definition_list((name, describe_method(name)) for name in shown),
        image_grid(
            plates, list(shown), EMOTIONS, "The base alone hears no emotion, so its row is one picture eight times."
        ),
    )


def _scenes(prompts: Sequence[str], star: MethodResults) -> str:
    plates = [
        [Figure(star.picture(number, name), f"{words}, {name}") for name in EMOTIONS]
        for number, words in enumerate(prompts)
    ]
    text = f"The same eight in other scenes, by {star.method}. A scene should stay itself, whatever it feels like."
    return section("Other places", text, image_grid(plates, prompts, EMOTIONS))


def _dials(words: str, dial: Sequence[float], shown: Mapping[str, MethodResults]) -> str:
    rows, plates = [], []
    for one in shown.values():
        for name, samples in one.dial.items():
            likely = one.likely.get(name, [])
            rows.append(f"{name}, {one.method}")
            plates.append(
                [
                    Figure(
                        open_image(sample.file),
                        f"{words}, {name} by {one.method} at strength {strength:g}",
                        f"{likely[place]:.0%}" if likely else "",
                    )
                    for place, (strength, sample) in enumerate(zip(dial, samples, strict=True))
                ]
            )
    text = (
        "Strength 0 is the base, bit for bit. 1 is the method as it was trained. Above 1 it goes further than it "
        "ever saw, and may break."
    )
    told = any(one.likely for one in shown.values())
    caption = "Under each picture: how likely the judge finds the emotion that was asked for." if told else ""
    return section("The dial", text, image_grid(plates, rows, [f"{strength:g}" for strength in dial], caption))


def _figures(prompts: Sequence[str], seeds: Sequence[int], shown: Mapping[str, MethodResults]) -> str:
    kept = all("scene_accuracy" in one.figures for one in shown.values())
    head = ["method", "emotion as asked", *(["scene kept"] if kept else []), "seconds a picture"]
    rows: list[list[str | Share]] = []
    for name, one in shown.items():
        right = _share(one.figures["emotion_accuracy"], CHANCE)
        rows.append([name, right, *([_share(one.figures["scene_accuracy"])] if kept else []), f"{one.seconds:.2f}"])
    number = next(iter(shown.values())).figures["emotion_accuracy"].n
    caption = (
        f"{len(prompts)} prompts × {len(EMOTIONS)} emotions × {len(seeds)} seeds, {number} pictures a method, with "
        f"95 % intervals that resample prompts and seeds. The dashed line is chance, {CHANCE:.1%}."
    )
    text = (
        "A judge that no method ever saw looks at every picture and names the emotion and the scene it finds. "
        "This is a taste from few pictures; emoscene evaluate makes the full measurement."
    )
    return section("How often it is as asked", text, table(head, rows, caption))


def _share(value: Value, chance: float | None = None) -> Share:
    return Share(value.value, value.low, value.high, chance)


def _commands(words: str, method: str, seed: int) -> str:
    lines = [
        f'emoscene generate "{words}" --emotion awe --method {method} --seed {seed} --num 4 --out out/awe',
        f'emoscene generate "a beach with a boat" --emotion awe:0.6,fear:0.4 --method {method} --out out/mixed',
        f"emoscene show {method}",
    ]
    return section(
        "Make your own",
        "An emotion is a name, or a mixture. Each command says where its pictures lie.",
        code_block(lines),
    )
