"""A folder of damaged and odd pictures: nothing crashes, each bad one is named with its reason, every good one kept."""

import json
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import tiny
from emoscene.core import image_files
from emoscene.core.errors import EmosceneError
from emoscene.core.image_files import ImageRefused
from emoscene.data import image_checks
from emoscene.data.aspect_buckets import crop_square
from emoscene.data.dataset import PreparedDataset
from emoscene.data.image_checks import open_checked
from emoscene.data.preparation import prepare

FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF"}


def noise(seed, size=(40, 32), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(image, kind, **how):
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def huge(width, height):
    """A small PNG whose header promises a large picture."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def bad():
    """Names, bytes and a word of the reason."""
    for number, (ending, kind) in enumerate(FORMATS.items()):
        data = saved(noise(number), kind)
        yield f"empty.{ending}", b"", "empty"
        for share in (0.02, 0.3, 0.45, 0.6):
            yield f"torn-{share}.{ending}", data[: max(4, int(len(data) * share))], "damaged"
        yield f"text.{ending}", b"this is a letter and no picture\n" * 20, "no image"
        yield f"zeros.{ending}", bytes(500), "no image"
        yield f"tiny.{ending}", saved(noise(number, (3, 40)), kind), "pixels, fewer than 16"
    png = saved(noise(99), "PNG")
    yield "bomb.png", huge(60_000, 60_000), "pixels"
    yield "large.png", huge(9_000, 9_000), "more than 61 megapixels"
    yield "flipped.png", png[:60] + bytes(255 - byte for byte in png[60:90]) + png[90:], "damaged"
    yield "heavy.bmp", b"BM" + bytes(61 * 2**20), "larger than 60 MB"
    yield "page.png", b"<html><script>alert(1)</script></html>", "no image"
    yield "vector.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG, a drawing without pixels"
    yield "paper.jpg", b"%PDF-1.4\n%%EOF", "a PDF, which is not read"
    yield "print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n", "a PostScript file, which is not read"
    yield "archive.png", b"PK\x03\x04" + bytes(100), "no image"
    yield "pickle.png", b"\x80\x04\x95" + bytes(100), "no image"
    yield "icon.png", saved(noise(1, (32, 32)), "ICO"), "no image"
    yield "header.jpg", b"\xff\xd8\xff\xe0" + bytes(60), "damaged"
    yield "header.gif", b"GIF89a" + bytes(4), "damaged"
    yield "header.webp", b"RIFF\x10\x00\x00\x00WEBPVP8 ", "damaged"
    yield "loop.tif", b"II*\x00\x08\x00\x00\x00" + bytes(20), "damaged"


def good():
    """Names, bytes and what is said of them; all show the same kind of noise."""
    turned = Image.Exif()
    turned[image_files.ORIENTATION] = 6
    yield "plain.png", saved(noise(200), "PNG"), ""
    yield "plain.jpg", saved(noise(201), "JPEG"), ""
    yield "grey.png", saved(noise(202, mode="L"), "PNG"), ""
    yield "progressive.jpg", saved(noise(203), "JPEG", progressive=True), ""
    yield "cmyk.jpg", saved(noise(204, mode="CMYK"), "JPEG"), "CMYK brought to RGB"
    yield "palette.png", saved(noise(205).quantize(16), "PNG"), "P brought to RGB"
    yield "clear.png", saved(noise(206, mode="RGBA"), "PNG"), "RGBA brought to RGB"
    yield "bits.png", saved(noise(207, mode="1"), "PNG"), "1 brought to RGB"
    deep = np.random.default_rng(208).integers(0, 65535, (32, 40)).astype(np.uint16)
    yield "deep.png", saved(Image.fromarray(deep), "PNG"), "I;16 brought to RGB"
    yield "turned.jpg", saved(noise(209, (60, 20)), "JPEG", exif=turned), "turned as its EXIF says"
    frames = [noise(seed).quantize(32) for seed in (210, 211, 212)]
    yield "moving.gif", saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), "the first of several frames"
    yield "lying.png", saved(noise(213), "JPEG"), "a JPEG named .png"
    yield "lying.jpg", saved(noise(214), "WEBP"), "a WEBP named .jpg"
    yield "LOUD.JPG", saved(noise(215), "JPEG"), ""
    yield "long.png", saved(noise(216, (400, 20)), "PNG"), ""
    for number, (ending, kind) in enumerate(FORMATS.items()):
        yield f"fine.{ending}", saved(noise(220 + number), kind), None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    (root / "awe").mkdir()
    for name, data, _ in (*bad(), *good()):
        (root / "awe" / name).write_bytes(data)
    (root / "awe/nowhere.png").symlink_to("gone.png")
    return root


def test_each_bad_one_is_named_and_every_good_one_kept(folder, tmp_path):
    base, wrong, right = str(tiny.make(tmp_path / "base")), list(bad()), list(good())
    assert len(wrong) >= 60
    before = {path.name: path.read_bytes() for path in folder.glob("awe/*") if path.exists()}
    call = {"root": folder, "out": tmp_path / "prepared", "base": base, "workers": 3}
    with pytest.raises(EmosceneError, match=r"\d+ of \d+ images are refused, such as .*spoilt="):
        prepare("imagefolder", **call)
    out = prepare("imagefolder", **call, spoilt=0.9)
    rows = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    reasons = {row["file"]: row["reason"] for row in rows}
    assert set(reasons) == {str(folder / "awe" / name) for name in [*(name for name, _, _ in wrong), "nowhere.png"]}
    missed = {name: reasons[str(folder / "awe" / name)] for name, _, why in wrong
              if why not in reasons[str(folder / "awe" / name)] and why != "damaged"}  # fmt: skip
    assert not missed
    assert all(len(reason) > 10 and "\n" not in reason for reason in reasons.values())
    assert len(PreparedDataset(out)) == len(right)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["refused"] == len(wrong) + 1
    for _, _, said in right:
        assert not said or manifest["mended"][said] >= 1
    assert before == {path.name: path.read_bytes() for path in folder.glob("awe/*") if path.exists()}


@pytest.mark.parametrize(("name", "data", "said"), [pytest.param(*one, id=one[0]) for one in good()])
def test_what_was_done_to_a_good_one_is_said(name, data, said):
    with image_checks.silence_pillow():
        image, mended = open_checked(data, name)
    assert image.mode == "RGB"
    assert said is None or (said in mended if said else not mended)
    assert crop_square(image, 24).size == (24, 24)


def test_a_turned_picture_stands_upright():
    exif = Image.Exif()
    exif[image_files.ORIENTATION] = 6
    picture = Image.new("RGB", (60, 20), "black")
    picture.paste("white", (0, 0, 20, 20))  # the left is up, once it is turned
    image, _ = open_checked(saved(picture, "PNG", exif=exif), "a.png")
    assert image.size == (20, 60)
    assert image.getpixel((10, 10)) == (255, 255, 255) and image.getpixel((10, 50)) == (0, 0, 0)


def test_the_middle_is_kept():
    wide = Image.new("RGB", (90, 30), "black")
    wide.paste("white", (30, 0, 60, 30))
    assert np.asarray(crop_square(wide, 10))[1:-1, 1:-1].min() > 250
    with pytest.raises(ImageRefused, match="fewer than 16 a side"):
        open_checked(saved(Image.new("RGB", (15, 90)), "PNG"), "a.png")


def test_nothing_but_bad_ones_is_an_error(tmp_path):
    (tmp_path / "raw/awe").mkdir(parents=True)
    (tmp_path / "raw/awe/a.png").write_bytes(b"")
    base = str(tiny.make(tmp_path / "base"))
    with pytest.raises(EmosceneError, match=r"not one of 1 image is sound, such as .*a.png \(it is empty\): mend"):
        prepare("imagefolder", root=tmp_path / "raw", out=tmp_path / "out", base=base, workers=0, spoilt=1)
