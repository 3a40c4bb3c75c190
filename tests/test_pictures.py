import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_files import MAX_MEGABYTES, to_upright_rgb
from emoscene.core.images import contact_sheet, open_image, read_params, save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import emotion_weights
from emoscene.pipeline.image_inputs import ImageInputs

ROW = GenerationParams(
    file="0007.png",
    prompt="a café, by: the\nlake 🌄",
    negative_prompt="grey",
    emotion=emotion_weights("awe:0.7,fear:-0.3"),
    method="prompt+lora",
    emotion_scale=0.5,
    adapters=("runs/lora",),
    seed=7,
    settings={"guidance.classifier_scale": 4},
    emotion_image="storm.jpg",
    digests={"storm.jpg": "0" * 64},
)


def painted(width=12, height=8, mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def test_a_picture_carries_its_row(tmp_path):
    save_image(painted(), tmp_path / "a.png", ROW)
    assert read_params(tmp_path / "a.png") == ROW
    assert np.array_equal(open_image(tmp_path / "a.png"), painted())


def test_the_row_goes_through_json():
    assert GenerationParams.from_dict(json.loads(json.dumps(ROW.to_dict()))) == ROW
    assert GenerationParams.from_dict({**ROW.to_dict(), "of a later version": 1}) == ROW


def test_the_chunk_that_other_programs_read(tmp_path):
    save_image(painted(), tmp_path / "a.png", ROW)
    with Image.open(tmp_path / "a.png") as image:
        text = image.info["parameters"]
    assert text == (
        "a café, by: the\nlake 🌄\nNegative prompt: grey\n"
        "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 7, Size: 128x128, Model: mini, "
        'Emotion: "awe:0.7,fear:-0.3", Emotion method: prompt+lora, Emotion scale: 0.5'
    )


def test_what_was_not_asked_is_not_in_it():
    assert "Negative" not in GenerationParams(prompt="a").to_a1111_text()
    assert "Emotion" not in GenerationParams(prompt="a").to_a1111_text()
    assert 'Model: "a,b"' in replace(ROW, base="some/a,b").to_a1111_text()
    assert "Denoising strength: 0.25" in replace(ROW, image="x.png", strength=0.25).to_a1111_text()


def test_a_picture_without_a_row(tmp_path):
    painted().save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="carries no row"):
        read_params(tmp_path / "a.png")


def test_a_damaged_row(tmp_path):
    chunks = PngInfo()
    chunks.add_text("emoscene", '{"emotion": 3}')
    painted().save(tmp_path / "a.png", pnginfo=chunks)
    with pytest.raises(EmosceneError, match="damaged"):
        read_params(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_every_mode_opens_as_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    painted(mode=mode).save(path)
    assert open_image(path).mode == "RGB"
    assert open_image(path).size == (12, 8)


def test_sixteen_bits_keep_their_range(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert np.abs(np.asarray(open_image(tmp_path / "a.png"))[..., 0] - ramp / 257).max() <= 1


def test_what_is_clear_is_white(tmp_path):
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    painted().save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg").size == (8, 12)


def test_a_picture_in_memory_is_turned_and_laid_on_white(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    painted().save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as lying:
        assert np.array_equal(to_upright_rgb(lying), open_image(tmp_path / "a.jpg"))
    assert to_upright_rgb(Image.new("RGBA", (2, 2), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)


SIDEWAYS = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
"""An entry of EXIF: the orientation, a short integer."""
WORDY = struct.pack(">HHI4s", 0x0100, 2, 4, b"ten")
"""An entry of EXIF: the width, which should be a number, as text."""


HEADLESS = b"Exif\0\0MM\xff*\0\0\0\x08"
MISTYPED = b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + WORDY + SIDEWAYS + bytes(4)


@pytest.mark.parametrize(
    ("exif", "ending"),
    [(HEADLESS, "png"), (HEADLESS, "webp"), (MISTYPED, "png"), (MISTYPED, "webp"), (MISTYPED, "jpg")],
)
def test_damaged_exif_is_refused_in_words(tmp_path, exif, ending):
    file = tmp_path / f"a.{ending}"
    painted().save(file, exif=exif)
    with pytest.raises(
        UsageError, match=rf"a\.{ending} cannot be read as an image \(its EXIF data is damaged\): save it anew"
    ):
        open_image(file)
    with Image.open(file) as image, pytest.raises(UsageError, match="the image cannot be used"):
        ImageInputs(None).register(image)


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_wrong_ending_is_forgiven(tmp_path):
    painted().save(tmp_path / "a.png", "JPEG")
    assert open_image(tmp_path / "a.png").size == (12, 8)


def spoil(path, what):
    if what == "empty":
        path.write_bytes(b"")
    elif what == "text":
        path.write_text("<svg/>")
    elif what == "format":
        painted().save(path, "PPM")
    elif what == "torn":
        painted(64, 64).save(path, "PNG")
        path.write_bytes(path.read_bytes()[:-3000])
    elif what == "heavy":
        path.write_bytes(b"\0" * (MAX_MEGABYTES * 2**20 + 1))
    elif what == "wide":
        Image.new("1", (8000, 8000)).save(path, "PNG")
    elif what == "bomb":
        Image.new("1", (20000, 20000)).save(path, "PNG")


@pytest.mark.parametrize("what", ["missing", "empty", "text", "format", "torn", "heavy", "wide", "bomb"])
def test_what_is_no_fit_picture_is_refused_in_one_sentence(tmp_path, what):
    path = tmp_path / "a.png"
    spoil(path, what)
    with pytest.raises(UsageError) as refusal:
        open_image(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_sheet_holds_every_picture_unscaled():
    grid = [[Image.new("RGB", (64, 64), (10 * x, 100 * y, 50)) for x in range(8)] for y in range(2)]
    made = contact_sheet(grid, rows=["none", "lora"], columns=list("abcdefgh"), title="a village by a lake")
    colours = {colour: count for count, colour in made.getcolors(1 << 20)}
    assert all(colours[10 * x, 100 * y, 50] == 64 * 64 for x in range(8) for y in range(2))


def test_a_sheet_needs_no_labels():
    assert 64 < contact_sheet([[painted(64, 64)]]).width < 128


def test_a_long_title_fits():
    assert contact_sheet([[painted(64, 64)]], title="a village by a lake under a wide sky").width > 300
