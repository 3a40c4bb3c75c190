"""Text that is not plain costs one file or one line, never the job; and no terminal obeys a file."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tiny
from emoscene.cli.main import main
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.plain_text import cut_name, escape_unprintable, format_count
from emoscene.core.progress import terminal_callbacks
from emoscene.evaluation.external import find_samples, read_columns
from emoscene.evaluation.generate import load_prompts
from emoscene.learning import learner as learners
from test_reporting import scored

UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
HOSTILE = "x\x1b[2J\x1b]0;owned\x07\r\u202ecod\x9b31m\x00"
NAMES = (
    b"\xff.png",
    b"\xd6\xd0.png",  # GBK
    "界".encode() * 83 + b".png",
    "\u202egnp.png".encode(),
    b"a\x1b[2J.png",
    b"b\nc.png",
    b"A.png",
    b"a.png",
    "é.png".encode(),
    "e\u0301.png".encode(),
    b"=cmd|x.png",
    "😀.png".encode(),
    b"'\"<b>.png",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture
def folder(tmp_path):
    """Images of two emotions under odd names."""
    root = os.fsencode(tmp_path / "in")
    for number, emotion in enumerate((b"awe", b"fear")):
        os.makedirs(os.path.join(root, emotion))  # noqa: PTH103, PTH118  names of bytes
        for place, name in enumerate(NAMES):
            image = Image.effect_noise((64, 64), 40 + 3 * place + number).convert("RGB")
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            Path(os.fsdecode(os.path.join(root, emotion, name))).write_bytes(buffer.getvalue())  # noqa: PTH118
    return tmp_path / "in"


def test_what_is_printable_stays_and_all_else_is_escaped():
    assert escape_unprintable("a village, 中文　空 é 😀") == "a village, 中文　空 é 😀"
    assert escape_unprintable(HOSTILE).isprintable()
    assert escape_unprintable("\x1b[2J\n") == "\\x1b[2J\\n"
    assert escape_unprintable("\ud800\udcff") == "\\ud800\\udcff"


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE],
        ["generate", f"--{HOSTILE}"],
        ["show", HOSTILE],
        ["ls", HOSTILE],
        ["train", HOSTILE, "--data", "x", "--out", "y"],
        ["generate", "a lake", "--emotion", HOSTILE],
        ["generate", "a lake", "--image", HOSTILE],
        ["evaluate", "--images", HOSTILE, "--out", "x"],
        ["report", HOSTILE, "--out", "x"],
        ["export", HOSTILE, "--out", "x"],
        ["generate", "a lake", "--base", HOSTILE],
        ["generate", "caf\udce9", "--out", "x"],
    ],
)
def test_a_word_does_not_reach_the_terminal_as_an_order(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) in {1, 2}
    shown = capsys.readouterr().err
    assert shown.startswith("emoscene: ") and not UNPRINTABLE.search(shown)
    assert list(tmp_path.iterdir()) == []


def test_neither_does_what_a_file_says(capsys, tmp_path):
    (tmp_path / "scores.json").write_text("{}")
    for kind in (HOSTILE, "scores"):
        (tmp_path / "manifest.json").write_text(json.dumps({"kind": kind, "state": HOSTILE, "config": {HOSTILE: 1}}))
        assert main(["report", str(tmp_path), "--out", str(tmp_path / "out")]) in {1, 2}
        assert main(["ls", "runs", "--root", str(tmp_path)]) == 0
    (tmp_path / "learner.json").write_text(json.dumps({"learner": HOSTILE, "config": {}, "emotions": [], "base": None}))
    assert main(["generate", "a lake", "--adapter", str(tmp_path)]) in {1, 2}
    with terminal_callbacks() as callbacks:
        callbacks.on_message(f"such as {HOSTILE}")
    shown = capsys.readouterr()
    assert not UNPRINTABLE.search(shown.out + shown.err)


@pytest.mark.posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
def test_odd_names_are_judged_prepared_and_reported(folder, base, tmp_path, capsys):
    judge = str(tiny.judges(tmp_path / "judges")[0])
    out, report = str(tmp_path / "scores"), tmp_path / "report"
    assert main(["evaluate", "--images", str(folder), "--out", out, "--base", str(base), "--judge", judge]) == 0
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert scores["images"] == 2 * len(NAMES) and "images" not in scores["missing"]
    assert main(["report", out, "--out", str(report)]) == 0
    assert (
        main(["prepare", "imagefolder", "--root", str(folder), "--out", str(tmp_path / "p"), "--base", str(base)]) == 0
    )
    assert run_dir.read_manifest(tmp_path / "p")["pictures"] == 2 * len(NAMES)
    assert not UNPRINTABLE.search(capsys.readouterr().err)


@pytest.mark.posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
def test_a_report_of_a_folder_whose_name_is_not_utf8(tmp_path):
    folder = tmp_path / "\udcff"
    scored(folder)
    assert main(["report", str(folder), "--out", str(tmp_path / "report")]) == 0
    assert "\\udcff" in (tmp_path / "report/index.html").read_text()


@pytest.mark.posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
@pytest.mark.parametrize("verb", ["prepare imagefolder --root .", "train lora --data .", "tune lora --data ."])
def test_weights_and_tables_need_a_folder_whose_name_is_utf8(verb, tmp_path, capsys):
    out = tmp_path / "\udcff"
    assert main([*verb.split(), "--out", str(out)]) == 2
    assert "is no name in UTF-8" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / learners.CARD).write_text("{}")
    with pytest.raises(UsageError, match="is no name in UTF-8"):
        learners.read_card(out)


@pytest.mark.posix
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses names that are not UTF-8")
@pytest.mark.parametrize("name", NAMES[:5])
def test_an_image_with_an_odd_name_is_edited(name, folder, base, tmp_path):
    image = os.fsdecode(os.path.join(os.fsencode(folder), b"awe", name))  # noqa: PTH118
    out = os.fsdecode(os.fsencode(tmp_path / "out") + name[:60])
    words = ["generate", "a lake", "--image", image, "--base", str(base), "--method", "none", "--steps", "2"]
    assert main([*words, "--out", out]) == 0
    samples, missing = find_samples(Path(out))
    assert samples[0].original == Path(image) and not missing


@pytest.mark.parametrize("coding", ["ascii", "latin-1", "cp1252", "gbk", "utf-8"])
def test_an_output_that_cannot_print_a_path(coding, tmp_path, monkeypatch):
    out = tmp_path / "界-é-😀"
    opened = run_dir.RunDir.open(out, "scores", {})
    opened.finish()
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=coding, errors="strict"))
    assert main(["ls", "runs", "--root", str(tmp_path)]) == 0
    assert main(["ls", "runs", "--root", str(tmp_path), "--json"]) == 0
    sys.stdout.flush()
    last = written.getvalue().decode(coding).strip().splitlines()[-1]
    assert str(out) in json.dumps(json.loads(last), ensure_ascii=False)


@pytest.mark.parametrize("coding", ["latin-1", "utf-16", "gbk"])
def test_prompts_in_another_encoding_name_their_line(coding, tmp_path, capsys):
    file = tmp_path / "prompts.txt"
    file.write_bytes("a lake\ncafé 界\n".encode(coding, "ignore"))
    assert main(["evaluate", "--prompts", str(file), "--out", str(tmp_path / "out")]) == 2
    assert re.search(r"prompts.txt is not UTF-8 \(line [12]\): save it as UTF-8", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path):
    (tmp_path / "p.txt").write_text("a lake\n", encoding="utf-8-sig")
    assert [prompt.text for prompt in load_prompts(tmp_path / "p.txt")] == ["a lake"]


def test_halves_of_characters_in_a_list_are_replaced(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
    (tmp_path / "images.jsonl").write_text('{"file": "1.png", "prompt": "\\ud800 lake", "scene": "\\udfff"}\n')
    [sample], _ = find_samples(tmp_path)
    assert (sample.text, sample.scene) == ("? lake", "?")


@pytest.mark.parametrize("name", ["界" * 84 + ".md", "a" * 255, "é" * 127])
def test_a_name_as_long_as_a_disk_takes_is_written(name, tmp_path):
    run_dir.write_atomic(tmp_path / name, b"x")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_names_are_cut_by_bytes():
    assert cut_name("界" * 100, 10) == "界" * 3
    assert cut_name("a\udcff" * 10, 3) == "a\udcffa"
    assert cut_name("abc", 3) == "abc"


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1"])
def test_no_cell_of_the_csv_is_a_formula(name, tmp_path):
    folder = scored(tmp_path / "scores", method=name)
    file = folder / "scores.json"
    scores = json.loads(file.read_text())
    scores["judges"][name] = scores["judges"].pop("emotion")
    scores["metrics"][name] = scores["metrics"]["frechet"]
    file.write_text(json.dumps(scores))
    assert main(["report", str(folder), "--out", str(tmp_path / "report")]) == 0
    with (tmp_path / "report/scores.csv").open(newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row[:3]]
    assert f"'{name}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


@pytest.mark.posix
@pytest.mark.parametrize("words", [["--version"], ["ls"], ["generate", "--help"]])
def test_a_reader_that_leaves_is_no_error(words, tmp_path):
    code = f"import sys; from emoscene.cli.main import main; sys.exit(main({words!r}))"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode in {0, 1} and done.stderr == ""


@pytest.mark.parametrize(
    ("number", "words", "written"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (2, ("image is", "images are"), "2 images are"),
        (1, ("image is", "images are"), "1 image is"),
        (1.4, ("second", "", ".0f"), "1 second"),
        (12345, ("image", "", ","), "12,345 images"),
    ],
)
def test_a_number_and_its_noun_agree(number, words, written):
    assert format_count(number, *words) == written


def test_messages_about_one_image_say_image(base, tmp_path, capsys):
    """A data set of one image, one file beside it that is not used, one step, one image that is judged."""
    (tmp_path / "one/awe").mkdir(parents=True)
    Image.new("RGB", (64, 64), "navy").save(tmp_path / "one/awe/a.png")
    (tmp_path / "one/awe/a.txt").write_text("a lake")
    (tmp_path / "one/awe/notes.md").write_text("of a friend")
    data, out = str(tmp_path / "data"), str(tmp_path / "lora")
    words = ["--base", str(base), "--device", "cpu"]
    line = ["prepare", "imagefolder", "--root", str(tmp_path / "one"), "--split", "methods:1", *words]
    assert main([*line, "--out", data]) == 0
    assert main([*line, "--out", data, "--dry-run"]) == 0
    assert main(["train", "lora", "--data", data, "--out", out, "steps=1", "batch_size=1", *words]) == 0
    judge = str(tiny.judges(tmp_path / "judges")[0])
    scores = str(tmp_path / "scores")
    assert main(["evaluate", "--images", str(tmp_path / "one"), "--out", scores, "--judge", judge, *words]) == 0
    said = capsys.readouterr().err
    for part in ("checking 1 image\n", "1 of 1 image checked", "1 file is not used", "lora: 1 step of 1, 1 image\n"):
        assert part in said
    assert not re.search(r"(?<![\d.,-])1 \w+s\b(?<! is)(?<! was)(?<! ms)", said)


@pytest.mark.parametrize("value", [{"x" * 20_000: 1}, ["x" * 20_000], "x" * 20_000], ids=["table", "list", "text"])
@pytest.mark.parametrize("key", ["prompt", "emotion", "seed", "image", "digests"])
def test_a_long_value_of_a_row_is_cut_in_the_sentence(key, value):
    said = ""
    try:
        read_columns({"file": "a.png", key: value}, "images.jsonl, row 1")
    except UsageError as error:
        said = str(error)
    assert len(said) < 400
    assert said or isinstance(value, str) or key == "digests"  # a long prompt is a prompt
