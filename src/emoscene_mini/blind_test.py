"""A test for a person: grey images without labels, in an order that tells nothing, to be named by eye.

    python -m emoscene_mini.blind_test make --out out/blind          64 held-out images: sheet.png and key.json
    python -m emoscene_mini.blind_test make --images out/demo ...    the same of generated images
    python -m emoscene_mini.blind_test score out/blind answers.txt   how many were named rightly, and which were not

Whoever answers sees `sheet.png` alone, and writes a line an image: its number and an emotion. Chance names 8 of 64.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import open_image, read_params
from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini.world import roles
from emoscene_mini.world.render_pool import render_images

COUNT = 64
COLUMNS = 8
SIDE = 192  # of an image on the sheet, in pixels
MARGIN = 22  # above each image, for its number
FIRST = 400_000  # where these begin among the held-out seeds


def render_labelled(count: int, first: int) -> list[tuple[Image.Image, str]]:
    """Render held-out images, as many of each emotion.

    Args:
        count: How many.
        first: Where they begin among the held-out seeds.

    Returns:
        Each image and its label.
    """
    labels = [EMOTIONS[number % len(EMOTIONS)] for number in range(count)]
    seeds = roles.role_seeds("heldout", count, first)
    orders = [{"seed": seed, "emotion": label} for seed, label in zip(seeds, labels, strict=True)]
    images = [rendered.picture for rendered in render_images(orders, 128)]
    return list(zip(images, labels, strict=True))


def load_labelled(folder: Path, count: int, seed: int) -> list[tuple[Image.Image, str]]:
    """Load generated images of one emotion each, as many of each emotion.

    Args:
        folder: Where they lie, at any depth.
        count: How many at most.
        seed: Decides which are taken.

    Returns:
        Each image and the emotion that was asked.

    Raises:
        EmosceneError: An emotion has none.
    """
    files: dict[str, list[Path]] = {emotion: [] for emotion in EMOTIONS}
    for file in sorted(folder.rglob("*.png")):
        emotion = read_asked(file)
        if emotion:
            files[emotion].append(file)
    missing = [emotion for emotion, found in files.items() if not found]
    if missing:
        raise EmosceneError(f"{folder} has no image of {missing[0]}: generate all emotions there")
    rng = np.random.default_rng(seed)
    labelled = []
    for emotion, found in files.items():
        some = rng.permutation(len(found))[: count // len(EMOTIONS)]
        labelled += [(open_image(found[place]), emotion) for place in some]
    return labelled


def read_asked(file: Path) -> str:
    """The one emotion that an image was generated for; empty where there is none, or more than one."""
    try:
        weights = read_params(file).emotion
    except UsageError:
        return ""
    asked = [name for name, weight in zip(EMOTIONS, weights, strict=True) if weight]
    if len(asked) != 1:
        return ""
    return asked[0]


def make_test(labelled: Sequence[tuple[Image.Image, str]], out: Path, seed: int) -> None:
    """Write the sheet and its key.

    Args:
        labelled: Images and their labels.
        out: The folder for `sheet.png` and `key.json`.
        seed: Decides the order.
    """
    order = np.random.default_rng(seed).permutation(len(labelled))
    shuffled = [labelled[place] for place in order]
    out.mkdir(parents=True, exist_ok=True)
    draw_sheet([image for image, _ in shuffled]).save(out / "sheet.png")
    key = {str(number): label for number, (_, label) in enumerate(shuffled, 1)}
    run_dir.write_atomic(out / "key.json", json.dumps(key, indent=1).encode())


def draw_sheet(images: Sequence[Image.Image]) -> Image.Image:
    """Draw numbered images in grey.

    Args:
        images: The images, in order.

    Returns:
        The sheet, 8 columns wide.
    """
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("L", (COLUMNS * SIDE, rows * (SIDE + MARGIN)), 255)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(MARGIN - 4)
    for place, image in enumerate(images):
        left, top = place % COLUMNS * SIDE, place // COLUMNS * (SIDE + MARGIN)
        draw.text((left + 4, top), str(place + 1), 0, font)
        sheet.paste(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top + MARGIN))
    return sheet


def score_answers(folder: Path, answers: Path) -> tuple[int, list[str]]:
    """Compare answers with the key.

    Args:
        folder: The folder of the test.
        answers: A text file with a line an image: its number and an emotion.

    Returns:
        How many are right, and a line for each that is not.

    Raises:
        UsageError: A line is no number and emotion, or an image has none or two.
    """
    key: dict[str, str] = json.loads((folder / "key.json").read_text(encoding="utf8"))
    given: dict[str, str] = {}
    for line in answers.read_text(encoding="utf8").splitlines():
        words = line.replace(":", " ").split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in key or words[1] not in EMOTIONS:
            raise UsageError(f"the line {line!r} is off: write a number of the sheet and an emotion, as `12 awe`")
        if words[0] in given:
            raise UsageError(f"image {words[0]} has two answers: leave one")
        given[words[0]] = words[1]
    missing = sorted(key.keys() - given.keys(), key=int)
    if missing:
        raise UsageError(f"image {missing[0]} has no answer: every image needs one")
    wrong = [f"{number}: {given[number]}, was {label}" for number, label in key.items() if given[number] != label]
    return len(key) - len(wrong), wrong


def main(line: Sequence[str] | None = None) -> int:
    """Make a test or score it: exit status 0, 2 for words that are off, 1 for work that could not be done."""
    parser = argparse.ArgumentParser(prog="python -m emoscene_mini.blind_test", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make", help="write sheet.png and key.json")
    make.add_argument("--out", type=Path, required=True)
    make.add_argument("--images", type=Path, help="a folder of generated images; rendered ones if left out")
    make.add_argument("--first", type=int, default=FIRST, help="the first held-out seed of rendered images")
    make.add_argument("--seed", type=int, default=0, help="of the order")
    score = verbs.add_parser("score", help="compare answers with the key")
    score.add_argument("folder", type=Path)
    score.add_argument("answers", type=Path)
    asked = parser.parse_args(line)
    try:
        if asked.verb == "make":
            if asked.images:
                labelled = load_labelled(asked.images, COUNT, asked.seed)
            else:
                labelled = render_labelled(COUNT, asked.first)
            make_test(labelled, asked.out, asked.seed)
            print(f"{len(labelled)} images in {asked.out / 'sheet.png'}")
        else:
            right, wrong = score_answers(asked.folder, asked.answers)
            print("\n".join([*wrong, f"{right} right, {len(wrong)} wrong"]))
    except (UsageError, EmosceneError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
