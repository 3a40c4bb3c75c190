"""Pillow's own test images, odd and damaged ones among them, through every reader of images.

They are in Pillow's sdist and in no wheel: `pip download --no-deps --no-binary pillow pillow` and unpack it, then
EMOSCENE_PILLOW_IMAGES=pillow-VERSION/Tests/images runs these tests.
"""

import os
import resource
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import tiny
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_files import FORMATS, IMAGE_ENDINGS, ImageRefused, decode_image
from emoscene.core.image_origin import is_file_rendered
from emoscene.core.images import open_image, read_params
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.image_checks import SMALLEST
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.evaluation.external import find_samples
from emoscene.pipeline.generate import load

PLACE = os.environ.get("EMOSCENE_PILLOW_IMAGES", "")
SECONDS = 30  # of one file
MOST_MEMORY = 1.5e9  # bytes of the process, torch and all
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.posix,
    pytest.mark.filterwarnings("ignore"),  # Pillow's own, which are errors here and none in use
    pytest.mark.skipif(not PLACE, reason="EMOSCENE_PILLOW_IMAGES names no folder of Pillow's test images"),
]


@pytest.fixture(autouse=True)
def bounds():
    """Each test ends, within the memory that is allowed."""

    def stop(number, frame):
        raise TimeoutError("a file takes too long")

    signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 <= MOST_MEMORY


def list_images():
    files = [path for path in sorted(Path(PLACE).rglob("*")) if path.is_file()]
    assert len(files) > 500, "Pillow has more test images than these"
    return files


def as_pillow_shows(file):
    """The image by Pillow alone, upright and on white; None where it is deep, so that its brightness is ours to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(file, formats=FORMATS) as opened:
            if opened.mode in DEEP:
                return None
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                layer = image.convert("RGBA")
                paper = Image.new("RGBA", layer.size, "white")
                image = Image.alpha_composite(paper, layer)
            return image.convert("RGB")


def test_each_is_read_in_pillows_colours_or_named():
    read, refused, odd = 0, {}, []
    for file in list_images():
        signal.alarm(SECONDS)
        data = file.read_bytes()
        try:
            image = decode_image(data, file.name).image
        except ImageRefused as error:
            refused[file.name] = str(error)
            continue
        read += 1
        assert image.mode == "RGB"
        expected = as_pillow_shows(file)
        if expected is not None:
            difference = np.abs(np.asarray(image, np.int16) - np.asarray(expected, np.int16))
            if difference.max() > 1:
                odd.append((file.name, int(difference.max())))
    print(f"{read} read, {len(refused)} refused with a reason")
    for name, reason in refused.items():
        print(f"{name}: {reason}")
        assert reason.isprintable() and len(reason) < 400, name
    assert odd == []
    assert read > 200


def test_every_other_reader_answers_or_says_why():
    for file in list_images():
        for door in (open_image, read_params, is_file_rendered):
            signal.alarm(SECONDS)
            said = str(file)
            try:
                door(file)
            except (UsageError, EmosceneError) as error:
                said = str(error)
            assert str(file) in said


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """All of them in folders of emotions, those whose names do not say that they are images under a name that does."""
    root = tmp_path_factory.mktemp("pillow")
    for number, file in enumerate(list_images()):
        place = root / EMOTIONS[number % len(EMOTIONS)] / f"{number:04d}-{file.name}"
        if place.suffix.lower() not in IMAGE_ENDINGS:
            place = place.with_name(f"{place.name}.png")
        place.parent.mkdir(exist_ok=True)
        shutil.copy(file, place)
    return root


def test_prepare_reads_or_names_each(folders):
    source = ImageFolder(folders, ImageFolder.Config(workers=1), 64)
    notes = []
    for number in range(len(source)):
        signal.alarm(SECONDS)
        notes += source.survey([number])
    assert len(notes) == len(list_images())
    for note in notes:
        try:
            decode_image(Path(note.origin).read_bytes(), note.origin, smallest=SMALLEST)
        except ImageRefused:
            assert note.reason, note.origin
        else:
            assert not note.reason, note.origin


def test_evaluate_reads_or_names_each(folders):
    signal.alarm(10 * SECONDS)
    samples, missing = find_samples(folders)
    lost = int(missing["images"].partition(" ")[0])
    assert len(samples) + lost == len(list_images())


def test_an_edit_takes_or_names_each(folders, tmp_path):
    pipe = load(str(tiny.make(tmp_path / "base")), device="cpu")
    taken = 0
    for number, file in enumerate(sorted(folders.rglob("*.*"))):
        signal.alarm(SECONDS)
        said = str(file)
        try:
            rows = pipe.plan("a lake", image=file, strength=0.5, num_inference_steps=2)
        except UsageError as error:
            said, rows = str(error), []
        assert str(file) in said
        if not rows:
            continue
        taken += 1
        if number % 20 == 0 and max(open_image(file).size) < 600:
            [(_, edited)] = pipe.generate(rows)
            assert edited.size == open_image(file).size
    assert taken > 200
