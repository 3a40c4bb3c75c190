"""The folder of a study: what raters see, and the key to it.

    study/
        manifest.json
        index.html       the page: images, blocks, consent; nothing in it names a method or a file
        study.json       the key: which image is whose, what each trial compares, the answers of the checks

The page needs nothing else and asks no server for anything, so it can be mailed, or served by any web server, or by
`emoscene study serve`, which also collects the answers.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import check_value, read_json, read_utf8
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import open_image
from emoscene.core.paths import fault_of_name, is_inside
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.core.templates import render
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.score_files import read_scores, read_verdicts
from emoscene.evaluation.study.design import (
    CHECKS,
    DESIGNS,
    MOST_RANKED,
    NONE_OF_THESE,
    PER_RATER,
    QUESTIONS,
    Item,
    Trial,
    deal_blocks,
    make_checks,
    make_trials,
)

KEY, PAGE = "study.json", "index.html"
KIND = "study"
PACKAGE = "emoscene.evaluation.study"
AGAIN = "make the study again"
SIDE = 384
MOST_PAGE_BYTES = 60_000_000
MOST_CONSENT_CHARACTERS = 20_000
CONSENT = (
    "You will see images that computer programs made, and say which emotion they show. It takes about {minutes} "
    "minutes. Some images may show fear, anger, disgust or sadness. Taking part is voluntary, and you may close the "
    "page at any time; then nothing is sent. Your answers are stored with a random number and with how long each took, "
    "without your name or address, and are used for research. You must be 18 or older."
)
SECONDS = 6  # a trial, for the estimate


class ImageSet(TypedDict):
    """A method or folder that images are from."""

    name: str
    folder: str
    fingerprint: str
    scores: bool


class Key(TypedDict):
    """What `study.json` holds."""

    id: str
    design: str
    sources: list[ImageSet]
    items: list[dict[str, Any]]
    trials: list[dict[str, Any]]
    blocks: list[list[str]]
    checks: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A study: its design, and the key to its images.

    Attributes:
        id: What answers name it by.
        design: One of `DESIGNS`.
        sources: The methods or folders that are compared.
        items: The images.
        trials: The questions by id.
        blocks: The ids of each block's trials.
        checks: The right answers of the attention checks, by id.
    """

    id: str
    design: str
    sources: list[ImageSet]
    items: list[Item]
    trials: dict[str, Trial]
    blocks: list[list[str]]
    checks: dict[str, Any]


def make_study(
    places: Sequence[str | Path],
    out: str | Path,
    design: str = "2afc",
    per_rater: int = PER_RATER,
    checks: int = CHECKS,
    limit: int | None = None,
    side: int = SIDE,
    seed: int = 0,
    consent: str | Path | None = None,
    on_message: Callable[[str], None] = print,
) -> Path:
    """Make the folder of a study.

    Args:
        places: Folders of scores with their images, or folders of images.
        out: The folder to write.
        design: One of `DESIGNS`.
        per_rater: How many trials a rater sees, attention checks aside.
        checks: How many attention checks a rater sees.
        limit: How many trials there are at most; all if left out.
        side: The side of an image on the page, in pixels, at most.
        seed: The seed of orders.
        consent: A text file that raters agree to; a general text if left out.
        on_message: Takes a sentence about the study.

    Returns:
        The folder.

    Raises:
        UsageError: The folders give no study, or an argument is off.
    """
    text = _read_consent(consent, per_rater + checks)
    sources, items = read_sources(places)
    trials = make_trials(design, items, limit, seed)
    if design == "rank" and max(len(trial.items) for trial in trials) > MOST_RANKED:
        raise UsageError(
            f"{format_count(len(sources), 'image')} are too many to order: give {MOST_RANKED} folders at most, or 2afc"
        )
    blocks, answers = deal_blocks(trials, per_rater), make_checks(design, checks, seed)
    words = {"places": list(map(str, places)), "design": design, "per_rater": per_rater, "checks": checks}
    words |= {"limit": limit, "side": side, "seed": seed, "consent": text}
    opened = run_dir.RunDir.open(out, KIND, words, seed=seed)
    if opened.is_done:
        return opened.path
    used = sorted(set(chain.from_iterable(trial.items for trial in trials)))
    images = {number: _encode_image(items[number].file, side) for number in used}
    id = _name_study(design, trials, images, text)
    study = Study(id, design, sources, items, {trial.id: trial for trial in trials}, blocks, answers)
    page = render_page(study, images, text)
    if len(page) > MOST_PAGE_BYTES:
        raise UsageError(f"the page would have {len(page) / 1e6:.0f} MB: give a --limit, or a smaller --side")
    with opened.hold():
        run_dir.write_atomic(opened.path / KEY, _encode_key(study))
        run_dir.write_atomic(opened.path / PAGE, page)
        opened.finish(id=id, trials=len(trials), blocks=len(blocks))
    on_message(
        f"{format_count(len(trials), 'trial')} in {format_count(len(blocks), 'block')}: "
        f"as many raters answer each once, in about {_estimate_minutes(per_rater + checks)} min"
    )
    return opened.path


def read_study(folder: str | Path) -> Study:
    """Read the key of a study.

    Args:
        folder: The folder that `make_study` wrote.

    Returns:
        The study.

    Raises:
        UsageError: It is no study, or not finished.
        EmosceneError: It is damaged.
    """
    folder = Path(folder)
    manifest = run_dir.read_manifest(folder, KIND)
    if manifest["state"] != "done":
        raise UsageError(f"{folder} is not finished: call `emoscene study make` again as before")
    key = read_json(folder / KEY, remedy=AGAIN)
    check_value(key, Key, folder / KEY, AGAIN)
    try:
        items = [Item(**{**row, "file": Path(row["file"])}) for row in key["items"]]
        trials = {
            row["id"]: Trial(row["id"], tuple(row["items"]), row["emotion"], row["prompt"]) for row in key["trials"]
        }
        for trial in trials.values():
            if not all(0 <= number < len(items) for number in trial.items):
                raise ValueError(f"{trial.id} shows an image that is not there")
    except (TypeError, KeyError, ValueError) as error:
        raise EmosceneError(f"{folder / KEY} is damaged ({error}): {AGAIN}") from error
    if key["design"] not in DESIGNS:
        raise EmosceneError(f"{folder / KEY} is damaged (its design is {key['design']!r}): {AGAIN}")
    return Study(key["id"], key["design"], key["sources"], items, trials, key["blocks"], key["checks"])


def read_sources(places: Sequence[str | Path]) -> tuple[list[ImageSet], list[Item]]:
    """Read the images of folders.

    Args:
        places: Folders of scores with their images, or folders of images.

    Returns:
        The sources, each by a name of its own, and all images.

    Raises:
        UsageError: A folder has no images, or is given twice.
    """
    sources: list[ImageSet] = []
    items: list[Item] = []
    for place in map(Path, places):
        if str(place) in [source["folder"] for source in sources]:
            raise UsageError(f"{place} is given twice: leave one of them out")
        manifest = place / run_dir.MANIFEST
        if manifest.is_file() and run_dir.read_manifest(place)["kind"] == "scores":
            source, found = _read_scores(place, len(sources))
        else:
            source, found = _read_images(place, len(sources))
        sources.append(source)
        items += found
    names = [source["name"] for source in sources]
    for source in sources:
        if names.count(source["name"]) > 1:
            source["name"] = f"{source['name']} ({Path(source['folder']).name})"
    return sources, items


def _read_scores(folder: Path, number: int) -> tuple[ImageSet, list[Item]]:
    """The images that were scored, of which what was asked is known."""
    manifest, scores = run_dir.read_manifest(folder, "scores"), read_scores(folder)
    items, lost = [], 0
    for row in read_verdicts(folder):
        file = row["file"]
        if not isinstance(file, str) or fault_of_name(file) or not is_inside(folder, folder / file):
            lost += 1
        elif (folder / file).is_file():
            items.append(Item(number, folder / file, row["prompt"], row["seed"], row["asked"] or ""))
        else:
            lost += 1
    if not items:
        raise UsageError(f"{folder} has scores and no images ({lost} are gone): evaluate again and keep the images")
    name = scores.get("method") or Path(str(scores.get("from", folder))).name
    return ImageSet(name=name, folder=str(folder), fingerprint=manifest["fingerprint"], scores=True), items


def _read_images(folder: Path, number: int) -> tuple[ImageSet, list[Item]]:
    """The images of any folder; those without a prompt are matched by their names."""
    samples, missing = find_samples(folder)
    if missing.get("images"):
        raise UsageError(f"{missing['images']}: mend or remove them")
    items = []
    for sample in samples:
        asked = EMOTIONS[sample.asked] if sample.asked >= 0 else ""
        prompt = sample.text or sample.file.relative_to(folder).with_suffix("").as_posix()
        items.append(Item(number, sample.file, prompt, sample.seed, asked))
    name = folder.resolve().name
    return ImageSet(name=name, folder=str(folder), fingerprint="", scores=False), items


def _read_consent(file: str | Path | None, trials: int) -> str:
    """What raters agree to."""
    if file is None:
        return CONSENT.format(minutes=_estimate_minutes(trials))
    text = read_utf8(file).strip()
    if not text or len(text) > MOST_CONSENT_CHARACTERS:
        raise UsageError(f"{file} is no consent text: give a text file of 1 to {MOST_CONSENT_CHARACTERS:,} characters")
    return text


def _estimate_minutes(trials: int) -> int:
    return max(1, round(trials * SECONDS / 60))


def _encode_image(file: Path, side: int) -> str:
    """An image as an address that holds it; what it says of its origin stays with it, and nothing else of its file."""
    image = open_image(file)
    image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=90, method=6, **encode_mark(image))
    return f"data:image/webp;base64,{b64encode(buffer.getvalue()).decode()}"


def _name_study(design: str, trials: Sequence[Trial], images: dict[int, str], consent: str) -> str:
    """A name that is the same for the same questions about the same images."""
    shown = {str(number): hashlib.sha256(image.encode()).hexdigest() for number, image in images.items()}
    asked = [[trial.id, list(trial.items), trial.emotion] for trial in trials]
    text = json.dumps([design, asked, shown, consent], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def render_page(study: Study, images: dict[int, str], consent: str) -> bytes:
    """Write the page of a study.

    Args:
        study: The study.
        images: The address of each image by its number.
        consent: What raters agree to.

    Returns:
        The HTML.
    """
    order = {number: place for place, number in enumerate(images)}
    trials = {}
    for trial in study.trials.values():
        question = QUESTIONS[study.design].format(emotion=trial.emotion)
        trials[trial.id] = {"q": question, "i": [order[number] for number in trial.items]}
    table = {
        "id": study.id,
        "design": study.design,
        "labels": [*EMOTIONS, NONE_OF_THESE],
        "images": list(images.values()),
        "trials": trials,
        "blocks": study.blocks,
        "checks": study.checks,
    }
    data = re.sub("[<>&\u2028\u2029]", lambda sign: f"\\u{ord(sign[0]):04x}", json.dumps(table))
    return render((PACKAGE,), "study.html.j2", data=data, paragraphs=consent.split("\n")).encode()


def _encode_key(study: Study) -> bytes:
    items = [asdict(item) for item in study.items]
    for item in items:
        item["file"] = str(item["file"])
    key = Key(
        id=study.id,
        design=study.design,
        sources=study.sources,
        items=items,
        trials=[asdict(trial) for trial in study.trials.values()],
        blocks=study.blocks,
        checks=study.checks,
    )
    return json.dumps(key, indent=1).encode()
