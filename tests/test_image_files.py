"""The one reader of image files: today's cameras, odd formats, deep pixels; and everybody who reads goes through it."""

import json
import struct
import sys
import types
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import tiny
from emoscene.core import image_files, images
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_files import ImageRefused, decode_image
from emoscene.core.images import open_image, read_image, read_image_size
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.predictions import group_by_size, open_judged, predict_files
from emoscene.pipeline.generate import load

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60)
CAMERA = (9504, 6336)  # a camera of 61 megapixels


def blobs(wide=64, high=48, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((wide, high), Image.Resampling.BICUBIC)


def encoded(image, kind, **how):
    buffer = BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def deep_png(pixels):
    """A PNG of 16 bits and three channels, which Pillow does not write; pixels [H, W, 3]."""
    high, wide, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def deep_tiff(pixels, bits, packed, sample_format=1, channels=1):
    """A TIFF without compression, with any number of bits."""
    high, wide = pixels.shape[:2]
    tags = [(256, 3, 1, wide), (257, 3, 1, high), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 1 + (channels == 3))]
    tags += [
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 3, 1, high),
        (279, 4, 1, len(packed)),
        (339, 3, 1, sample_format),
    ]
    body = packed
    if channels == 3:
        tags[2] = (258, 3, 3, 8 + len(body))
        body += struct.pack("<HHH", bits, bits, bits)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def brightness(data):
    return float(np.asarray(decode_image(data).image).mean())


def test_todays_cameras_fit(tmp_path):
    Image.new("L", CAMERA, 90).save(tmp_path / "a.jpg")
    read = read_image(tmp_path / "a.jpg", enough=256)
    assert read.size == CAMERA
    assert read.image.size == (1188, 792)
    assert read.image.getpixel((5, 5)) == (90, 90, 90)
    with pytest.raises(ImageRefused, match="7800 x 7900 pixels, more than 61 megapixels: make it smaller first"):
        decode_image(encoded(Image.new("1", (7800, 7900)), "PNG"))


@pytest.mark.parametrize("turned", [1, 6])
def test_a_jpeg_that_is_decoded_smaller_shows_the_same(turned):
    exif = Image.Exif()
    exif[image_files.ORIENTATION] = turned
    data = encoded(blobs(1600, 1200), "JPEG", quality=95, exif=exif)
    whole, small = decode_image(data), decode_image(data, enough=64)
    assert small.size == whole.size == whole.image.size == ((1600, 1200) if turned == 1 else (1200, 1600))
    assert max(small.image.size) == 400
    pair = [np.asarray(read.image.resize((60, 60), Image.Resampling.LANCZOS), np.int64) for read in (whole, small)]
    assert np.abs(pair[0] - pair[1]).max() <= 4
    assert decode_image(data, enough=300).image.size == whole.size  # three times that would not be left


def test_a_torn_jpeg_is_found_at_any_size():
    data = encoded(blobs(1600, 1200), "JPEG", quality=95)
    with pytest.raises(ImageRefused, match="it is damaged"):
        decode_image(data[: len(data) // 2], enough=1)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow was built without AVIF")
def test_avif_is_read():
    near = np.asarray(decode_image(encoded(blobs(), "AVIF", quality=95), "a.avif").image, np.int64) - np.asarray(
        blobs()
    )
    assert np.abs(near).mean() < 8
    assert decode_image(encoded(blobs(), "AVIF"), "a.jpg").mended == ("a AVIF named .jpg",)


@pytest.mark.parametrize(
    ("data", "kind", "module", "package"),
    [(HEIC, "HEIF", "pillow_heif", "pillow-heif"), (JXL, "JXL", "pillow_jxl", "pillow-jxl-plugin")],
)
def test_a_format_of_a_plugin_is_named_with_the_remedy_or_read(data, kind, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(
        ImageRefused, match=rf"it is a {kind} and Pillow's plug-in .*: pip install {package}, or save it"
    ):
        decode_image(data, "a.heic")

    def register():
        Image.register_open(kind, lambda file, name: blobs(), lambda beginning: beginning[:12] == data[:12])

    plugin = types.ModuleType(module)
    plugin.register_heif_opener = register
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    Image.OPEN.pop(kind, None)
    if kind == "JXL":
        register()  # this one does so when it is imported
    monkeypatch.setitem(sys.modules, module, plugin)
    assert decode_image(data).image.size == (64, 48)


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "a.svg", "an SVG, a drawing without pixels: export it as a PNG"),
        (b"II*\0" + bytes(40), "a.NEF", "a camera's raw file: develop it"),
        (b"8BPS" + bytes(40), "a.psd", "a Photoshop file, which is not read"),
        (b"\0\0\0\x20ftypisom" + bytes(40), "a.heic", "a film, which is not read"),
        (deep_tiff(np.zeros((4, 4, 3)), 32, bytes(192), 3, 3), "a.tif", "a kind of TIFF that Pillow does not read"),
        (encoded(Image.new("RGB", (32, 32)), "TIFF", tiffinfo={0xC612: b"\1\4\0\0"}), "a.tif", "a camera's raw file"),
    ],
    ids=["svg", "raw", "psd", "film", "float colour", "dng"],
)
def test_what_is_not_read_is_named(data, name, reason):
    with pytest.raises(ImageRefused, match=reason):
        decode_image(data, name)


@pytest.mark.parametrize("white", [65535, 20000, 250])
def test_sixteen_bits_are_as_bright_as_their_type_says(white):
    ramp = np.linspace(0, white, 48 * 64).reshape(48, 64)
    wanted = ramp.mean() / 65535 * 255
    grey = ramp.astype(np.uint16)
    colour = np.stack([grey] * 3, axis=-1)
    for data in (
        encoded(Image.fromarray(grey), "PNG"),
        encoded(Image.fromarray(grey), "TIFF"),
        deep_png(colour),
        deep_tiff(colour, 16, colour.astype("<u2").tobytes(), channels=3),
    ):
        assert brightness(data) == pytest.approx(wanted, abs=0.7)


def test_twelve_bits_and_signed_ones_too():
    values = np.full((2, 2), 0x800, np.uint16)  # half of 4095
    packed = b"\x80\x08\x00" * 2  # two of them in three bytes
    assert brightness(deep_tiff(values, 12, packed)) == pytest.approx(127.5, abs=1)
    signed = np.full((4, 4), 16384, "<i2")
    assert brightness(deep_tiff(signed, 16, signed.tobytes(), 2)) == pytest.approx(127.5, abs=1)
    wide = np.full((4, 4), 16384, "<i4")
    with pytest.raises(ImageRefused, match="integers of 32 bits, of which none is known to be white"):
        decode_image(deep_tiff(wide, 32, wide.tobytes(), 2))


@pytest.mark.parametrize("white", [1.0, 0.2, 0.001])
def test_floating_point_is_as_bright_as_its_type_says(white):
    ramp = np.linspace(0, white, 48 * 64, dtype=np.float32).reshape(48, 64)
    assert brightness(encoded(Image.fromarray(ramp), "TIFF")) == pytest.approx(255 * white / 2, abs=0.5)
    glints = ramp.copy()
    glints[0, :5] = 900  # a few highlights do not darken the rest
    assert brightness(encoded(Image.fromarray(glints), "TIFF")) == pytest.approx(255 * white / 2, abs=1)
    with pytest.raises(ImageRefused, match="most of its floating-point pixels are above 1"):
        decode_image(encoded(Image.fromarray(ramp + 100), "TIFF"))


def test_large_images_are_flattened_as_small_ones():
    """Strips meet without a seam."""
    high = 2 * image_files.STRIP + 40
    layer = blobs(40, high).convert("RGBA")
    layer.putalpha(blobs(40, high, 1).convert("L"))
    white = Image.new("RGBA", layer.size, "white")
    assert np.array_equal(image_files.to_upright_rgb(layer), Image.alpha_composite(white, layer).convert("RGB"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def test_ones_own_photographs(base, tmp_path):
    """Texts of files and folders, panoramas, other files, what is not read, and a card that shows the captions."""
    root, heard = tmp_path / "raw", []
    for emotion in ("awe", "fear"):
        (root / emotion).mkdir(parents=True)
        for number in range(14):
            blobs(90, 60, number + (emotion == "fear") * 100).save(root / emotion / f"{number}.png")
    (root / "awe/caption.txt").write_text("a valley\nin the Alps\n")
    (root / "awe/3.txt").write_text("a |lake| <b>![x](http://y)")
    blobs(300, 60, 7777).save(root / "awe/wide.jpg")
    (root / "awe/drawing.svg").write_text("<svg/>")
    (root / "fear/phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (root / "fear/notes.xmp").write_text("x")
    (root / "fear/notes.json").write_text("{}")
    (root / "stray.jpg").write_bytes(encoded(blobs(), "JPEG"))
    (root / ".hidden").write_text("x")
    call = {"root": root, "base": base, "workers": 0, "on_message": heard.append, "alike": -1}
    out = prepare("imagefolder", out=tmp_path / "out", **call)
    told = "\n".join(heard)
    assert (
        "3 files are not used: neither image of this source nor caption" in told and ".jpg 1, .json 1, .xmp 1" in told
    )
    assert "1 image is a panorama, and the cut to the middle takes more than half" in told
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["unused"] == {".jpg": 1, ".json": 1, ".xmp": 1}
    refused = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    assert [Path(row["file"]).name for row in refused] == ["drawing.svg", "phone.heic"]
    data = PreparedDataset(out)
    captions = dict(zip(data.column("id"), data.column("caption"), strict=True))
    assert captions["awe.0"] == captions["awe.wide"] == "a valley in the Alps"
    assert captions["awe.3"].startswith("a |lake|") and captions["fear.0"] == ""
    card = (out / "README.md").read_text()
    lines = [line for line in card.splitlines() if line.startswith("| <img")]
    assert "## 20 images and their captions" in card and len(lines) == 20
    assert all((out / line.split('"')[1]).is_file() for line in lines)
    assert any(line.endswith("| awe | a valley in the Alps |") for line in lines)
    assert any(line.endswith("| fear | *none* |") for line in lines)
    assert "http" not in card.split("## 20 images")[1] or "![x]" not in card
    buckets = prepare("imagefolder", out=tmp_path / "buckets", buckets=True, **call)
    assert any("panorama" in key for key in json.loads((buckets / "manifest.json").read_text())["mended"])


def test_an_edit_comes_back_at_the_size_of_the_photograph(base, tmp_path):
    pipe = load(base, device="cpu")
    call = {"num_inference_steps": 2, "strength": 0.5}
    for size in ((1600, 900), (20, 30), (600, 40)):
        blobs(*size).save(tmp_path / "a.jpg")
        result = pipe("a dog", image=tmp_path / "a.jpg", **call)
        assert result.images[0].size == size
        [row] = result.params
        wide, high = pipe.image_inputs.working_size(row)
        assert 0.6 * 64**2 <= wide * high <= 6 * 64**2
    blobs(1600, 900).save(tmp_path / "a.jpg")
    rows = [*pipe.plan("a", image=tmp_path / "a.jpg", **call), *pipe.plan("a", image=blobs(800, 450), **call)]
    rows += pipe.plan("a", image=blobs(400, 200), width=160, height=96, **call)
    assert [image.size for _, image in pipe.generate(rows)] == [(1600, 900), (800, 450), (160, 96)]
    assert pipe.image_inputs.working_size(rows[2]) == (160, 96)


def test_everybody_reads_by_the_same_reader(base, tmp_path):
    """One file that is refused, and one that needs care, at every door."""
    form = pytest.importorskip("emoscene.web.form")
    pipe = load(base, device="cpu")
    (tmp_path / "awe").mkdir()
    bad, good = tmp_path / "awe/a.heic", tmp_path / "awe/b.tif"
    bad.write_bytes(HEIC)
    Image.fromarray(np.full((64, 64), 200, np.uint16)).save(good)
    doors = [
        open_image,
        lambda file: pipe.plan("a", image=file),
        lambda file: pipe.plan("a", emotion_image=file),
        lambda file: form.open_uploads([file]),
    ]
    for door in doors:
        with pytest.raises(UsageError, match=r"a\.heic cannot be read as an image \(it is a HEIF and .* pillow-heif"):
            door(str(bad))
    samples, missing = find_samples(tmp_path)
    assert [sample.file for sample in samples] == [good]
    assert f"1 of 2 images cannot be read and was left out: {bad} (it is a HEIF and Pillow's" in missing["images"]
    call = {"root": tmp_path, "base": base, "workers": 0, "on_message": str}
    out = prepare("imagefolder", out=tmp_path.parent / f"{tmp_path.name}-out", spoilt=0.9, **call)
    assert "it is a HEIF and" in (out / "quarantine.jsonl").read_text()
    [prepared] = out.glob("pictures/*/*.png")
    seen = [open_image(good), pipe.image_inputs.open_registered(str(good)), form.open_uploads([str(good)])[0]]
    assert {image.getextrema()[0] for image in [*seen, open_judged(good), open_image(prepared)]} == {(1, 1)}


def test_each_file_that_is_not_read_is_named_however_many_they_are(tmp_path):
    Image.new("RGB", (32, 32)).save(tmp_path / "good.png")
    for number in range(60):
        (tmp_path / f"bad-{number}.png").write_text("no image")
    _, missing = find_samples(tmp_path)
    assert missing["images"].startswith("60 of 61 images cannot be read")
    assert all(f"{tmp_path}/bad-{number}.png (" in missing["images"] for number in range(60))


def test_photographs_are_judged_at_a_bounded_size(tmp_path):
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.jpg")
        blobs(4000, 3000, number).save(files[-1])
    assert open_judged(files[0]).size == (2309, 1732)
    assert [len(group) for group in group_by_size(files)] == [3]
    blobs(500, 300).save(files[0])
    assert open_judged(files[0]).size == (500, 300)


KINDS_OF_FILES = ["a.jpg", "a.png", "a.webp", "a.tif", "a.avif", "a.gif", "a.bmp"]


@pytest.mark.parametrize("name", KINDS_OF_FILES)
def test_the_size_of_an_image_is_read_as_it_is_decoded(name, tmp_path):
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        blobs(90, 40).save(tmp_path / name, exif=exif)
        for enough in (None, 5):
            size = read_image_size(tmp_path / name, enough)
            assert size == open_image(tmp_path / name, enough).size
    blobs(90, 40).save(tmp_path / name)
    assert read_image_size(tmp_path / name) == (90, 40)


def test_a_png_may_say_behind_its_pixels_that_it_lies_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(blobs(90, 40), "PNG", exif=exif)
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    chunk, rest = data[at : at + length], data[:at] + data[at + length :]
    (tmp_path / "a.png").write_bytes(rest[:-12] + chunk + rest[-12:])
    assert read_image_size(tmp_path / "a.png") == open_image(tmp_path / "a.png").size == (40, 90)


def test_what_cannot_be_read_has_no_size(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for path in (tmp_path / "a.png", tmp_path / "gone.png", tmp_path):
        with pytest.raises(UsageError, match=r"is not there|cannot be read"):
            read_image_size(path)


def test_files_that_are_judged_are_decoded_once_and_in_the_same_groups(tmp_path, monkeypatch):
    files = []
    for number, (wide, high) in enumerate([(60, 40), (40, 60), (2600, 1700), (60, 40), (1700, 2600), (2600, 1700)]):
        exif = Image.Exif()
        exif[0x0112] = 6 if high > wide else 1
        files.append(tmp_path / f"{number}.{'png' if number % 2 else 'jpg'}")
        blobs(wide, high, number).save(files[-1], exif=exif)
    sizes = {}
    for place, file in enumerate(files):
        sizes.setdefault(open_judged(file).size, []).append(place)
    decoded = []

    def count_decoded(data, name, *rest):
        decoded.append(name)
        return decode_image(data, name, *rest)

    for module in (images, image_files):
        monkeypatch.setattr(module, "decode_image", count_decoded)
    assert list(group_by_size(files)) == list(sizes.values())
    assert not decoded
    assert len(predict_files(files, {})["gradient"]) == len(files)
    assert sorted(decoded) == [file.name for file in files]


def test_nothing_to_judge_says_why(tmp_path):
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises((UsageError, EmosceneError), match=r"none of 1 can be read, such as .*a\.svg: it is an SVG"):
        find_samples(tmp_path)


def test_an_image_too_small_to_judge_is_named(tmp_path):
    """One of a single pixel has no gradient and no spectrum, and would take those of all others."""
    blobs().save(tmp_path / "a.jpg")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.jpg")
    samples, missing = find_samples(tmp_path)
    assert [sample.file.name for sample in samples] == ["a.jpg"]
    assert "dot.jpg (it has 1 x 1 pixels, fewer than 16 a side)" in missing["images"]
