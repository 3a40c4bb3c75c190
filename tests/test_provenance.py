"""Which image files say that a model made them: every one that did, in each format, and no photograph and no chart."""

import json
import os
import re
import socket
import struct
import sys
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.cli.main import main
from emoscene.cli.verbs import list_verbs
from emoscene.cli.verify import describe_facts, inspect_file
from emoscene.core import content_credentials, provenance
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_origin import encode_mark, is_file_rendered, mark_rendered
from emoscene.core.images import (
    SUFFIXES,
    WRITTEN,
    GeneratedImage,
    check_fit,
    contact_sheet,
    encode_image,
    name_files,
    open_image,
    read_image_size,
    read_params,
    read_texts,
    save_image,
)
from emoscene.core.params import GenerationParams
from emoscene.core.provenance import COMPOSITE, NEWSCODES, RENDERED, TRAINED, encode_xmp, read_statement
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.pipeline.pipeline import Result
from emoscene.reporting.html import Figure
from emoscene.web.calls import _save_sheet, save_files

ODD = 'a "lake" <b> & ]]> é 界 😀\r\nnext\tline'
ROW = GenerationParams(prompt=ODD, negative_prompt="blurry", emotion="awe", seed=7, width=24, height=16)
EDIT = replace(ROW, image="lake.jpg", strength=0.5)
EVERY_FORMAT = pytest.mark.parametrize("kind", WRITTEN)


def noise(size: tuple[int, int] = (24, 16), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def says(data: bytes) -> str:
    """The source type, found in the bytes of the file without our reader."""
    begin = data.find(NEWSCODES.encode())
    if begin < 0:
        return ""
    return data[begin:].split(b"<", 1)[0].decode().rpartition("/")[2]


@EVERY_FORMAT
@pytest.mark.parametrize(("row", "expected"), [(ROW, TRAINED), (EDIT, COMPOSITE)], ids=["generated", "edited"])
def test_a_file_says_what_made_it_and_from_what(kind, row, expected, tmp_path):
    data = encode_image(noise(), row, kind)
    assert says(data) == expected == read_statement(opened(data)).source_type
    assert opened(data).format == kind.upper()
    assert encode_image(noise(), row, kind) == data
    path = tmp_path / f"x{SUFFIXES[kind]}"
    save_image(noise(), path, row)
    assert path.read_bytes() == data
    assert read_params(path) == row
    assert read_texts(opened(data))["parameters"] == row.to_a1111_text()
    assert not says(encode_image(noise(), row, kind, "none"))
    path.write_bytes(encode_image(noise(), row, kind, "none"))
    assert read_params(path) == row


@EVERY_FORMAT
def test_pixels_and_size_are_not_touched(kind, tmp_path):
    path, bare = tmp_path / f"x{SUFFIXES[kind]}", BytesIO()
    save_image(noise(), path, ROW)
    noise().save(bare, kind, **WRITTEN[kind])
    assert np.array_equal(open_image(path), opened(bare.getvalue()).convert("RGB"))
    assert read_image_size(path) == (24, 16)


def test_the_packet_is_xml_with_the_property_of_the_standard():
    packet = encode_xmp(TRAINED, '{"a": 1}', ODD)
    root = ElementTree.fromstring(packet.decode())
    names = {element.tag: "".join(element.itertext()) for element in root.iter()}
    iptc = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert names[iptc] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert names["{http://ns.adobe.com/exif/1.0/}UserComment"] == ODD
    assert encode_xmp("") == b""


def test_the_comment_of_a_jpeg_is_what_a1111_writes():
    """Its EXIF, read by hand: UserComment (0x9286) of the directory 0x8769, UNICODE and UTF-16, high byte first."""
    exif = opened(encode_image(noise(), ROW, "jpeg")).info["exif"].removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}[exif[:2]]

    def entries(at: int) -> dict[int, tuple[int, int]]:
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        found = {}
        for number in range(count):
            tag, _, length, value = struct.unpack_from(f"{order}HHII", exif, at + 2 + 12 * number)
            found[tag] = length, value
        return found

    _, directory = entries(struct.unpack_from(f"{order}I", exif, 4)[0])[0x8769]
    length, place = entries(directory)[0x9286]
    comment = exif[place : place + length]
    assert comment[:8] == b"UNICODE\0"
    assert comment[8:].decode("utf-16-be") == ROW.to_a1111_text()


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        (b"UNICODE\0" + "a lake".encode("utf-16-be"), "a lake"),
        (b"UNICODE\0" + "a lake".encode("utf-16-le"), "a lake"),
        (b"ASCII\0\0\0a lake\0\0", "a lake"),
        (b"\0\0\0\0\0\0\0\0a lake", "a lake"),
        (b"", ""),
    ],
)
def test_comments_of_other_programs_are_read(comment, expected):
    exif, buffer = Image.Exif(), BytesIO()
    exif.get_ifd(0x8769)[0x9286] = comment
    noise().save(buffer, "JPEG", exif=exif)
    assert provenance.read_exif_comment(opened(buffer.getvalue())) == expected
    damaged = opened(buffer.getvalue())
    damaged.info["exif"] = b"Exif\0\0MM\0*\xff\xff\xff"
    damaged._exif = None
    assert provenance.read_exif_comment(damaged) == ""


DESCRIPTION = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"{}</rdf:RDF></x:xmpmeta>'
)


@pytest.mark.parametrize(
    ("xmp", "expected"),
    [
        (DESCRIPTION.format(f' i:DigitalSourceType="{NEWSCODES}{TRAINED}"/>'), TRAINED),
        (
            DESCRIPTION.format(f'><i:DigitalSourceType rdf:resource="{NEWSCODES}{COMPOSITE}"/></rdf:Description>'),
            COMPOSITE,
        ),
        (DESCRIPTION.format("/>"), ""),
        (DESCRIPTION.format(f' i:DigitalSourceType="{NEWSCODES}digitalCapture"/>'), "digitalCapture"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + DESCRIPTION.format(f' i:DigitalSourceType="{NEWSCODES}{TRAINED}"/>'), ""),
        ("no XML", ""),
        ("<a" * 1000, ""),
        (DESCRIPTION.format(f' i:DigitalSourceType="{NEWSCODES}{TRAINED}"/>') + " " * 1_000_000, ""),
    ],
)
def test_what_others_write_is_read_or_left(xmp, expected):
    image = noise()
    image.info["xmp"] = xmp.encode()
    assert read_statement(image).source_type == expected


def test_parameters_too_long_for_a_jpeg_are_refused_before_anything_is_generated():
    long = replace(ROW, prompt="界" * 10_000, negative_prompt="世" * 10_000)
    check_fit([ROW], "jpeg")
    for kind in ("png", "webp"):
        check_fit([long], kind)
        assert read_texts(opened(encode_image(noise(), long, kind)))["parameters"] == long.to_a1111_text()
    with pytest.raises(UsageError, match="a JPEG has room for 65,000: give a shorter prompt, or --format png or webp"):
        check_fit([long], "jpeg")


@pytest.mark.parametrize(("name", "expected"), [("x.png", TRAINED), ("x.jpg", TRAINED), ("x.webp", TRAINED)])
def test_however_an_image_in_memory_is_saved(name, expected, tmp_path):
    image = GeneratedImage.from_image(noise(), ROW)
    image.save(tmp_path / name)
    assert says((tmp_path / name).read_bytes()) == expected
    assert read_params(tmp_path / name) == ROW
    for provenance_asked in ("xmp", "none"):
        Result([image], [ROW]).save(tmp_path / name, provenance_asked)
        assert says((tmp_path / name).read_bytes()) == (expected if provenance_asked == "xmp" else "")
        assert read_params(tmp_path / name) == ROW
    buffer = BytesIO()
    GeneratedImage.from_preview(noise()).save(buffer, "webp")
    assert says(buffer.getvalue()) == TRAINED


def test_files_are_named_by_their_format_and_none_clash():
    rows = [GenerationParams(seed=1)] * 2
    assert [row.file for row in name_files(rows, "jpeg")] == ["base-0001.jpg", "base-0001-2.jpg"]
    with pytest.raises(UsageError, match=r"x\.bmp is of a format that is not written: name it \.png, \.jpg, \.webp"):
        save_image(noise(), "x.bmp", ROW)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([ROW, ROW], TRAINED),
        ([ROW, EDIT], COMPOSITE),
        ([ROW, None], COMPOSITE),
        (["rendered", "rendered"], RENDERED),
        (["rendered", ROW], TRAINED),
        ([None, None], ""),
    ],
    ids=["generated", "edited", "beside a photograph", "rendered", "rendered and generated", "photographs"],
)
def test_a_sheet_and_a_page_say_it_of_what_they_show(cells, expected, tmp_path):
    images: list[Image.Image] = []
    for cell in cells:
        if isinstance(cell, GenerationParams):
            images.append(GeneratedImage.from_image(noise(), cell))
        else:
            images.append(mark_rendered(noise(), "mini") if cell else noise())
    sheet = contact_sheet([images])
    _save_sheet(sheet, str(tmp_path / "sheet.png"))
    assert says((tmp_path / "sheet.png").read_bytes()) == expected
    wanted = provenance.read_statement(images[0]).source_type
    shown = BytesIO(b64decode(Figure(images[0], "a").data_uri().partition(",")[2]))
    assert says(shown.getvalue()) == wanted


def test_rendered_images_say_it_and_prepared_copies_keep_it(tmp_path):
    image = mark_rendered(noise(), "mini")
    for kind in WRITTEN:
        path = tmp_path / f"x{SUFFIXES[kind]}"
        image.save(path, kind, **encode_mark(image))
        assert says(path.read_bytes()) == RENDERED and is_file_rendered(path)
        again = BytesIO()
        copy = open_image(path).resize((8, 8))
        copy.save(again, kind, **encode_mark(copy))
        assert says(again.getvalue()) == RENDERED


def test_prepare_marks_no_photograph_and_keeps_the_mark_of_others(tmp_path):
    """A camera's own XMP stays at home, whatever it says; that of a generated image loses all but its mark."""
    camera = DESCRIPTION.format(f' i:DigitalSourceType="{NEWSCODES}digitalCapture"/>').encode()
    for place, emotion in enumerate(EMOTIONS[:3]):
        (tmp_path / "raw" / emotion).mkdir(parents=True)
        for number in range(3):
            file = tmp_path / f"raw/{emotion}/{number}.jpg"
            image = noise((64, 64), 10 * place + number)
            if emotion == EMOTIONS[2]:
                save_image(image, file, ROW)
            else:
                image.save(file, "JPEG", **([{}, {"xmp": camera}][place]))
    base = str(tiny.make(tmp_path / "base"))
    out = prepare("imagefolder", root=tmp_path / "raw", out=tmp_path / "out", base=base, workers=0, on_message=str)
    expected = {EMOTIONS[0]: "", EMOTIONS[1]: "", EMOTIONS[2]: TRAINED}
    found: dict[str, set[str]] = {}
    data = PreparedDataset(out)
    for file, id in zip(data.column("file"), data.column("id"), strict=True):
        content = (out / file).read_bytes()
        found.setdefault(id.partition(".")[0], set()).add(says(content))
        assert b"blurry" not in content and b"digitalCapture" not in content
    assert found == {emotion: {word} for emotion, word in expected.items()}


MAKES = {
    "generate": TRAINED,
    "evaluate": TRAINED,
    "export": TRAINED,
    "train": TRAINED,
    "tune": TRAINED,
    "web": TRAINED,
    "demo": TRAINED,
    "mini": RENDERED,
    "prepare": "",
    "report": "",
    "study": "",
    "verify": "",
    "doctor": "",
    "ls": "",
    "show": "",
    "clean": "",
}
"""What the images that each verb writes say; of `prepare`, `report` and `study`, what their sources say."""


def test_every_verb_is_thought_of():
    assert set(MAKES) == set(list_verbs())


def images_below(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in {*SUFFIXES.values(), ".jpeg"}:
            found[path.relative_to(folder).as_posix()] = says(path.read_bytes())
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_generate_in_each_format(kind, base, tmp_path, capsys):
    line = ["generate", "a dog", "--base", base, "--device", "cpu", "--steps", "1", "--num", "2", "--method", "none"]
    assert main([*line, "--format", kind, "--out", str(tmp_path / "out")]) == 0
    found = images_below(tmp_path / "out")
    assert len(found) == 2 and set(found.values()) == {TRAINED}
    assert {Path(name).suffix for name in found} == {SUFFIXES[kind]}
    assert main([*line, "--format", kind, "--out", str(tmp_path / "out")]) == 0
    for name in found:
        assert read_params(tmp_path / "out" / name).prompt == "a dog"
    other = [*line, "--format", kind, "--provenance", "none", "--out", str(tmp_path / "out")]
    assert main(other) == 2
    assert "provenance" in capsys.readouterr().err
    assert main([*line, "--format", kind, "--provenance", "none", "--out", str(tmp_path / "bare")]) == 0
    assert set(images_below(tmp_path / "bare").values()) == {""}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--format", "jpg"], "no --format 'jpg': did you mean 'jpeg'?"),
        (["--provenance", "xml"], "no --provenance 'xml': did you mean 'xmp'?"),
    ],
)
def test_a_misspelt_word_is_refused(words, told, capsys):
    assert main(["generate", "a dog", *words]) == 2
    assert told in capsys.readouterr().err
    with pytest.raises(UsageError, match="did you mean"):
        emoscene.generate("a dog", **{words[0].strip("-"): words[1]})


@pytest.mark.slow
def test_every_image_that_the_verbs_write(base, tmp_path, capsys):
    """Each verb writes its images; what every file of it says is counted."""
    root, on = tmp_path, ["--base", base, "--device", "cpu"]
    (root / "raw").mkdir()
    for emotion in EMOTIONS:
        (root / "raw" / emotion).mkdir()
        for number in range(2):
            noise((64, 64), EMOTIONS.index(emotion) * 10 + number).save(root / f"raw/{emotion}/{number}.png")
    judges = []
    for place in tiny.judges(root / "judges"):
        judges += ["--judge", str(place)]
    photograph = str(root / "raw/awe/0.png")
    prepared = ["prepare", "imagefolder", "--root", str(root / "raw"), "--limit", "8"]
    lines = {
        "generate": ["generate", "a dog", *on, "--steps", "1", "--emotion", "all", "--method", "none"],
        "edit": ["generate", "a dog", *on, "--steps", "2", "--image", photograph, "--method", "none"],
        "evaluate": ["evaluate", *on, "--method", "none", "--seeds", "0:1", "--steps", "1", *judges[:2]],
        "prepare": [*prepared, *on],
        "mini": ["mini", "--layout", "imagefolder", "--num", "8"],
        "emoset": ["mini", "--layout", "emoset", "--num", "8"],
        "raf-db": ["mini", "--layout", "raf-db", "--num", "8"],
        "rendered": ["prepare", "mini", "--limit", "8", *on],
    }
    later = {
        "train": ["train", "lora", "--data", str(root / "rendered"), *on, "steps=2", "images_every=1", "rank=1"],
        "report": ["report", str(root / "evaluate")],
        "export": ["export", str(root / "train"), "--to", "emoscene", *on[:2]],
    }
    for name, line in {**lines, **later}.items():
        assert main([*line, "--out", str(root / name)]) == 0, capsys.readouterr().err
    expected = {"edit": COMPOSITE, "prepare": "", "mini": RENDERED, "emoset": RENDERED, "raf-db": RENDERED}
    expected |= {"rendered": RENDERED, "generate": TRAINED, "evaluate": TRAINED, "train": TRAINED, "export": TRAINED}
    for name, word in expected.items():
        found = images_below(root / name)
        assert found and set(found.values()) == {word}, (name, found)
    page = (root / "report/index.html").read_text()
    shown = page.split("data:image/webp;base64,")[1:]
    words = [says(b64decode(text.partition('"')[0])) for text in shown]
    assert words and set(words) <= {TRAINED, ""}
    files = save_files([(replace(ROW, file="a.png"), noise())], str(root))
    assert says(Path(files[0][0]).read_bytes()) == TRAINED
    capsys.readouterr()


# Signatures


@pytest.fixture
def credentials(tmp_path, monkeypatch):
    """A machine on which nothing was signed yet."""
    pytest.importorskip("c2pa", reason="pip install emoscene[provenance] signs")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    monkeypatch.delenv(content_credentials.CERTIFICATE, raising=False)
    monkeypatch.delenv(content_credentials.KEY, raising=False)
    return tmp_path / "config/emoscene"


def change_pixel(data: bytes, kind: str) -> bytes:
    """A signed file with one pixel changed, and everything else, its manifest too, as it was."""
    image = opened(data).convert("RGB")
    red, green, blue = image.getpixel((3, 3))
    image.putpixel((3, 3), (red ^ 255, green ^ 255, blue ^ 255))
    buffer = BytesIO()
    if kind == "png":
        image.save(buffer, "PNG")
        return replace_chunks(data, buffer.getvalue())
    image.save(buffer, kind, **WRITTEN[kind])
    if kind == "jpeg":
        old, new = data.rindex(b"\xff\xda"), buffer.getvalue()
        return data[:old] + new[new.rindex(b"\xff\xda") :]
    place = data.index(b"VP8 ")
    fresh = buffer.getvalue()
    at = fresh.index(b"VP8 ")
    sizes = [struct.unpack_from("<I", many, where + 4)[0] for many, where in ((data, place), (fresh, at))]
    chunks = [size + size % 2 + 8 for size in sizes]
    changed = data[:place] + fresh[at : at + chunks[1]] + data[place + chunks[0] :]
    return changed[:4] + struct.pack("<I", len(changed) - 8) + changed[8:]


def replace_chunks(data: bytes, other: bytes) -> bytes:
    """A PNG with the pixels of another."""

    def split(png: bytes) -> list[tuple[bytes, bytes]]:
        at, chunks = 8, []
        while at < len(png):
            (size,) = struct.unpack_from(">I", png, at)
            chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
            at += 12 + size
        return chunks

    pixels = [chunk for chunk in split(other) if chunk[0] == b"IDAT"]
    made = []
    for name, content in split(data):
        if name != b"IDAT":
            made.append((name, content))
        elif pixels:
            made += pixels
            pixels = []
    parts = [data[:8]]
    for name, content in made:
        parts.append(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content)))
    return b"".join(parts)


@EVERY_FORMAT
def test_signed_changed_and_stripped_are_told_apart(kind, credentials, tmp_path):
    data = encode_image(noise(), EDIT, kind, "c2pa")
    path = tmp_path / f"x{SUFFIXES[kind]}"
    path.write_bytes(data)
    assert read_params(path) == EDIT
    facts = inspect_file(path)
    assert (facts["signature"], facts["source_type"], facts["signed_source_type"]) == ("holds", COMPOSITE, COMPOSITE)
    assert facts["signer"] == "emoscene on this machine"
    assert "changed by a model" in describe_facts(facts) and "unchanged since" in describe_facts(facts)

    path.write_bytes(change_pixel(data, kind))
    assert int((np.asarray(opened(data).convert("L")) != np.asarray(open_image(path).convert("L"))).sum()) >= 1
    assert inspect_file(path)["signature"] == "changed"
    with pytest.raises(EmosceneError, match="1 file was changed after signing"):
        emoscene.verify(path)

    opened(data).convert("RGB").save(path)
    facts = inspect_file(path)
    assert (facts["signature"], facts["source_type"], facts["prompt"]) == ("none", "", None)
    assert describe_facts(facts) == "says nothing of its origin; not signed"


@pytest.mark.slow
@EVERY_FORMAT
def test_a_hundred_of_each(kind, credentials, tmp_path):
    """Signed, one pixel changed, stripped: all 300 verdicts are right. A changed JPEG block is at least one pixel."""
    verdicts: dict[str, list[str]] = {"holds": [], "changed": [], "none": []}
    path = tmp_path / f"x{SUFFIXES[kind]}"
    for number in range(100):
        image = noise((96, 64), number)
        data = encode_image(image, replace(ROW, seed=number), kind, "c2pa")
        files = {"holds": data, "changed": change_pixel(data, kind), "none": encode_image(image, ROW, kind)}
        for expected, content in files.items():
            path.write_bytes(content)
            verdicts[expected].append(inspect_file(path)["signature"])
    assert {name: found.count(name) for name, found in verdicts.items()} == {"holds": 100, "changed": 100, "none": 100}


def test_a_manifest_holds_no_thumbnail_and_reaches_no_network(credentials, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    small = len(encode_image(noise(), ROW)), len(encode_image(noise(), ROW, provenance="c2pa"))
    assert small[1] - small[0] < 20_000
    assert content_credentials.read_credentials(encode_image(noise(), ROW, provenance="c2pa"), "png").state == "holds"


def test_the_key_is_made_once_and_is_nobody_elses(credentials):
    content_credentials.check_signing()
    before = {path.name: path.read_bytes() for path in credentials.glob("*.pem")}
    assert set(before) == {"certificate.pem", "key.pem"}
    assert (credentials / "key.pem").stat().st_mode & 0o077 == 0 or os.name == "nt"
    content_credentials.check_signing()
    assert {path.name: path.read_bytes() for path in credentials.glob("*.pem")} == before


def own_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[datetime], datetime]) -> None:
    """A certificate of one's own, named by the environment, valid until some time."""
    monkeypatch.setattr(content_credentials, "YEARS", 1)
    real = datetime.now(UTC)

    class Clock:
        @staticmethod
        def now(_: object) -> datetime:
            return change(real)

    monkeypatch.setattr(content_credentials, "datetime", Clock)
    certificate, key = content_credentials._issue_certificate()
    (folder / "c.pem").write_bytes(certificate)
    (folder / "k.pem").write_bytes(key)
    monkeypatch.setenv(content_credentials.CERTIFICATE, str(folder / "c.pem"))
    monkeypatch.setenv(content_credentials.KEY, str(folder / "k.pem"))


def test_ones_own_certificate_is_used(credentials, tmp_path, monkeypatch):
    own_certificate(tmp_path, monkeypatch, lambda now: now)
    content_credentials.check_signing()
    assert not credentials.exists()
    monkeypatch.delenv(content_credentials.KEY)
    with pytest.raises(EmosceneError, match="belong together: set both to files in PEM, or neither"):
        content_credentials.check_signing()


def test_an_expired_certificate_is_one_sentence_before_anything_is_generated(
    credentials, base, tmp_path, monkeypatch, capsys
):
    own_certificate(tmp_path, monkeypatch, lambda now: now - timedelta(days=800))
    assert main(["generate", "a dog", "--base", base, "--provenance", "c2pa", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "c.pem" in told and "not valid at time of signing" in told and "set EMOSCENE_C2PA_CERTIFICATE" in told
    assert not (tmp_path / "out").exists()


def test_a_key_that_is_none_is_one_sentence(credentials, tmp_path, monkeypatch):
    own_certificate(tmp_path, monkeypatch, lambda now: now)
    (tmp_path / "k.pem").write_text("no key")
    with pytest.raises(EmosceneError, match="the private key of EMOSCENE_C2PA_KEY cannot be read"):
        content_credentials.check_signing()


def test_without_the_extra_it_is_said(monkeypatch, tmp_path):
    pytest.importorskip("c2pa")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    (tmp_path / "x.png").write_bytes(encode_image(noise(), ROW, provenance="c2pa"))
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(EmosceneError, match="this needs the extra provenance"):
        encode_image(noise(), ROW, provenance="c2pa")
    facts = inspect_file(tmp_path / "x.png")
    assert facts["signature"] == "unchecked" and "which nothing here can check" in describe_facts(facts)


def test_verify_prints_lines_or_json(tmp_path, capsys):
    save_image(noise(), tmp_path / "a.png", ROW)
    noise().save(tmp_path / "photo.jpg")
    assert main(["verify", str(tmp_path / "a.png"), str(tmp_path / "photo.jpg")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "a.png: generated by a model (emoscene" in first and "not signed" in first
    assert second.endswith("photo.jpg: says nothing of its origin; not signed")
    assert main(["verify", "--json", str(tmp_path / "photo.jpg")]) == 0
    (facts,) = json.loads(capsys.readouterr().out).values()
    assert facts["source_type"] == "" and facts["signature"] == "none"
    (tmp_path / "text.png").write_text("no image")
    for name, told in {"gone.png": "is not there|cannot be read", "text.png": "cannot be read as an image"}.items():
        assert main(["verify", str(tmp_path / name)]) == 2
        assert re.search(told, capsys.readouterr().err)
    assert main(["verify"]) == 2
    assert "verify needs FILES" in capsys.readouterr().err
