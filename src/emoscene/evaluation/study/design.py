"""What a study asks: trials made of images, dealt into blocks, with attention checks between them.

    2afc     two images of one prompt and emotion by two methods: which shows the emotion more
    label    one image: which of the emotions it shows, or none
    rank     the images of all methods for one prompt and emotion: the strongest first

Each trial stands in one block, and a rater sees one block, so blocks are how answers are spread over trials. They are
dealt so that each has as many trials of every pair of methods and every emotion as any other, but for one. The order
within a block and the sides are drawn for each rater, on the page.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

from emoscene.core.errors import UsageError
from emoscene.core.file_reading import digest_file
from emoscene.core.taxonomy import EMOTIONS

DESIGNS = ("2afc", "label", "rank")
NONE_OF_THESE = "none"
"""The label of an image that shows no emotion of the list."""
CHECKS = 3
PER_RATER = 40
MOST_RANKED = 6
QUESTIONS = {
    "2afc": "Which image shows more {emotion}?",
    "label": "Which emotion does this image show?",
    "rank": "Order the images: the one that shows the most {emotion} first.",
}


@dataclass(frozen=True)
class Item:
    """An image of a study.

    Attributes:
        source: The number of the method or folder that it is from.
        file: Its file.
        prompt: What it shows; images of one prompt, seed and emotion are compared.
        seed: Its seed.
        asked: The emotion that was asked for; empty for none.
    """

    source: int
    file: Path
    prompt: str
    seed: int
    asked: str


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
        id: Its name, in the page and in answers.
        items: The numbers of its images.
        emotion: The emotion that is asked about; of `label`, the one that the image was made with.
        prompt: The prompt of its images.
    """

    id: str
    items: tuple[int, ...]
    emotion: str
    prompt: str


def make_trials(design: str, items: Sequence[Item], limit: int | None = None, seed: int = 0) -> list[Trial]:
    """Make the trials of a study.

    Args:
        design: One of `DESIGNS`.
        items: The images.
        limit: How many trials there are at most, spread evenly over methods and emotions; all if left out.
        seed: The seed of the random order.

    Returns:
        The trials, in an order in which neighbours differ in methods and emotions.

    Raises:
        UsageError: The images give no trial.
    """
    strata: dict[Any, list[tuple[tuple[int, ...], str, str]]] = {}
    for key, made in _list_trials(design, items):
        strata.setdefault(key, []).append(made)
    if not strata:
        raise UsageError(EMPTY[design])
    draw = random.Random(seed)  # nosec B311  # an order, no secret
    for one in strata.values():
        draw.shuffle(one)
    places = sorted(strata)
    draw.shuffle(places)
    trials: list[Trial] = []
    for round_ in range(max(map(len, strata.values()))):
        for key in places:
            if round_ < len(strata[key]):
                trials.append(Trial(f"t{len(trials)}", *strata[key][round_]))
    return trials[:limit]


EMPTY = {
    "2afc": "there is nothing to compare: give at least two folders with images of the same prompts, seeds and "
    "emotions, or --design label",
    "label": "there is nothing to label: none of these images was made with a single emotion",
    "rank": "there is nothing to order: give at least two folders with images of the same prompts, seeds and emotions",
}


def _list_trials(design: str, items: Sequence[Item]) -> Iterator[tuple[Any, tuple[tuple[int, ...], str, str]]]:
    """What each trial is balanced by, and its images, emotion and prompt."""
    if design == "label":
        for number, item in enumerate(items):
            if item.asked:
                yield (item.source, item.asked), ((number,), item.asked, item.prompt)
        return
    groups: dict[tuple[str, int, str], dict[int, int]] = {}
    for number, item in enumerate(items):
        if item.asked:
            groups.setdefault((item.prompt, item.seed, item.asked), {})[item.source] = number
    for (prompt, _, asked), of_source in groups.items():
        sources = sorted(of_source)
        if design == "rank":
            if len(sources) > 1:
                yield (tuple(sources), asked), (tuple(of_source[one] for one in sources), asked, prompt)
            continue
        for one, other in combinations(sources, 2):
            pair = of_source[one], of_source[other]
            if digest_file(items[pair[0]].file) != digest_file(items[pair[1]].file):
                yield (one, other, asked), (pair, asked, prompt)


def deal_blocks(trials: Sequence[Trial], per_rater: int) -> list[list[str]]:
    """Deal trials into blocks of about the same size and the same mixture.

    Args:
        trials: The trials, neighbours of different kinds.
        per_rater: How many trials a rater sees at most.

    Returns:
        The ids of the trials of each block.
    """
    ids = [trial.id for trial in trials]
    count = math.ceil(len(ids) / per_rater)
    bounds = [place * len(ids) // count for place in range(count + 1)]
    return [ids[first:last] for first, last in pairwise(bounds)]


def make_checks(design: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Make attention checks: trials that say which answer to give (Oppenheimer et al. 2009).

    Args:
        design: One of `DESIGNS`.
        count: How many.
        seed: The seed of the random answers.

    Returns:
        The right answer of each, by its id: `left` or `right`; an emotion; the place of the image to put first.
    """
    draw = random.Random(seed)  # nosec B311  # an order, no secret
    checks: dict[str, Any] = {}
    for number in range(count):
        answers: dict[str, Sequence[Any]] = {"2afc": ("left", "right"), "label": EMOTIONS, "rank": (1, 2)}
        checks[f"c{number}"] = draw.choice(list(answers[design]))
    return checks


def is_answer(design: str, items: Sequence[int], value: Any) -> bool:
    """Tell whether a value can be the answer to a trial.

    Args:
        design: One of `DESIGNS`.
        items: The images of the trial.
        value: The answer: the place of the image chosen; an emotion or `none`; all places, the strongest first.

    Returns:
        Whether it can.
    """
    if design == "label":
        return isinstance(value, str) and value in {*EMOTIONS, NONE_OF_THESE}
    if design == "rank":
        return isinstance(value, list) and _is_order(value, len(items))
    return type(value) is int and value in range(len(items))


def _is_order(value: Sequence[Any], count: int) -> bool:
    return all(type(place) is int for place in value) and sorted(value) == list(range(count))


def count_failed_checks(checks: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    """Count the attention checks that a rater failed.

    Args:
        checks: The right answers.
        given: The rater's answers by id; one that is missing is wrong.

    Returns:
        How many are wrong.
    """
    wrong = 0
    for name, expected in checks.items():
        wrong += given.get(name) != expected
    return wrong
