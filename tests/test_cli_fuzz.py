"""The command line on lines that a careless or hostile person may type: a seeded fuzz.

Each line begins as one that works on a base of random weights; then words are exchanged, dropped, doubled or added.
Whatever comes of it, the status is 0, 1 or 2, there is no traceback, and after 2 nothing was written.
"""

import inspect
import os
import random
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.cli.main import main
from emoscene.cli.options import spell_flags
from emoscene.cli.verbs import list_verbs, load_verb
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.preparation import prepare
from test_reporting import scored

SECONDS = 20  # after which a line that works is stopped as by Ctrl-C, such as one that asks for 6,000 images
STOPPED = 130
NOT_RUN = ("web", "demo", "tune")
"""They serve, or work for minutes; of these the line is read, and the arguments are bound."""
LINES = {
    "generate": ["a lake", "--base", "base", "--method", "prompt", "--emotion", "awe", "--steps", "1", "--out", "OUT"],
    "evaluate": ["--images", "images", "--base", "base", "--judge", "judges/emotion", "--out", "OUT"],
    "prepare": ["imagefolder", "--root", "images", "--base", "base", "--limit", "4", "--out", "OUT", "--dry-run"],
    "train": ["lora", "--data", "data", "--base", "base", "--out", "OUT", "steps=1", "batch_size=1", "rank=1"],
    "report": ["scores", "--out", "OUT"],
    "export": ["adapter", "--to", "emoscene", "--base", "base", "--out", "OUT"],
    "tune": ["guidance", "--data", "data", "--trials", "1", "--out", "OUT", "steps=1"],
    "web": ["--base", "base", "--port", "1"],
    "demo": ["--out", "OUT"],
    "mini": ["--layout", "emoset", "--num", "1", "--out", "OUT"],
    "ls": ["methods"],
    "show": ["lora"],
    "doctor": [],
    "study": ["plan", "--effect", "0.6"],
    "verify": ["image.png", "images/awe/0.png"],
    "clean": ["runs", "--root", "empty"],
}
VALUES = [
    "", " ", "-", "--", "-1", "0", "1", "2", "3.5", "nan", "inf", "-inf", "1e400", "1e39", "9" * 400, "0x10", "1_0",
    "4294967295", "4294967296", "18446744073709551616", "-99999999999999999999", "true", "no", "none", "None", "null",
    "awe", "awe:nan", "awe:1e39", "awe:0.5,fear:-0.3", "awe:", ":", ",", "a=b", "=", "k=", "=v", "rank=0", "rank=1e9",
    "lr=nan", "steps=-1", "steps=1", "prompt+lora", "lora+lora", "+", "all", "joy", "0:4", "4:0", "0:999999999999",
    "128x128", "0x0", "1x", "x", "99999999x1", "../..", "/dev/null", "/dev/zero", "/proc/self/mem", ".", "\0", "0:1",
    "a\0b", "\n", "\t", "\x1b[2J", "\u202e", "\ud800", "\udcff", "界" * 90, "x" * 5000, "é", "😀", "<svg onload=x>",
    "%s", "{}", "${HOME}", "$(id)", "'", '"', "\\", "\\\\host\\share", "//host/share", "C:\\x", "nul", "con.png", "file:///x",
    "http://x/y", "owner/name", "owner/name@" + "0" * 40, "owner/name@main", "mini", "sd15", "base", "images", "scores",
    "data", "adapter", "empty", "image.png", "text.txt", "bad.png", "bad.toml", "bad.safetensors", "pipe", "nowhere",
]  # fmt: skip
HEAVY = {"--push", "--yes", "--install-completion", "--num", "--num-images-per-prompt", "--password", "--share"}
"""Flags that reach a network, remove files, install something, or make one line the work of hours."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder in which each of `LINES` works, and in which there are damaged files too."""
    root = tmp_path_factory.mktemp("fuzz")
    base = tiny.make(root / "base")
    tiny.judges(root / "judges")
    scored(root / "scores")
    noise = np.random.default_rng(0)
    for emotion in EMOTIONS:
        for number in range(2):
            file = root / f"images/{emotion}/{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 255, (64, 64, 3), np.uint8)).save(file)
    shutil.copy(root / "images/awe/0.png", root / "image.png")
    prepare("mini", out=root / "data", limit=16, base=str(base), workers=0, on_message=str)
    line = ["lora", "--data", str(root / "data"), "--base", str(base), "--out", str(root / "adapter")]
    assert main(["train", *line, "steps=1", "rank=1", "batch_size=1"]) == 0
    (root / "empty").mkdir()
    (root / "text.txt").write_text("a lake\n")
    for name in ("bad.png", "bad.toml", "bad.safetensors"):
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n\xff\0" * 9)
    if hasattr(os, "mkfifo"):
        os.mkfifo(root / "pipe")
    return root


def make_line(dice):
    """A verb and its words."""
    verb = dice.choice(sorted(LINES))
    words = list(LINES[verb])
    flags = []
    for option in load_verb(verb).options.values():
        flags += spell_flags(option)
    flags = [flag for flag in flags if flag.split("/")[0] not in HEAVY] or ["--help"]
    for _ in range(dice.choice([1, 1, 1, 2, 2, 3, 5])):
        at = dice.randrange(len(words) + 1)
        kind = dice.randrange(6)
        if kind == 0 and words:
            words[at % len(words)] = dice.choice(VALUES)
        elif kind == 1 and words:
            del words[at % len(words)]
        elif kind == 2 and words:
            words.insert(at, words[dice.randrange(len(words))])
        elif kind == 3:
            words[at:at] = [dice.choice(flags), dice.choice(VALUES)]
        elif kind == 4:
            words.insert(at, f"{dice.choice(flags)}={dice.choice(VALUES)}")
        else:
            words.insert(at, dice.choice(VALUES))
    if dice.randrange(50) == 0:
        verb = dice.choice(VALUES)
    return verb, words


def list_files(root):
    """Every path below a folder, with what tells whether it was written."""
    found = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        found[path] = about.st_size, about.st_mtime_ns
    return found


def bind_only(name):
    """A verb's function that takes its arguments and does nothing."""
    signature = inspect.signature(getattr(emoscene, name))

    def verb(*given, **words):
        signature.bind(*given, **words)

    verb.__signature__ = signature
    return verb


def stop(number, frame):
    raise KeyboardInterrupt


PARTS = [range(60), *(pytest.param(range(k, k + 1000), marks=pytest.mark.slow) for k in range(0, 5000, 1000))]


@pytest.mark.parametrize("numbers", PARTS, ids="{0.start}-{0.stop}".format)
def test_no_line_ends_in_a_traceback(numbers, place, tmp_path, monkeypatch, capsys):
    assert set(LINES) == set(list_verbs())
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in NOT_RUN:
        monkeypatch.setattr(emoscene, name, bind_only(name))
    before, codes = list_files(place), dict.fromkeys((0, 1, 2, STOPPED), 0)
    alarm = hasattr(signal, "alarm")
    if alarm:
        signal.signal(signal.SIGALRM, stop)
    for number in numbers:
        dice = random.Random(f"line {number}")
        verb, words = make_line(dice)
        words = [word.replace("OUT", str(tmp_path / "out")) for word in words]
        line = [verb, *words]
        if alarm:
            signal.alarm(SECONDS)
        try:
            code = main(line)
        except BaseException as error:
            raise AssertionError(f"line {number}: {line!r}"[:3000]) from error
        if alarm:
            signal.alarm(0)
        shown = capsys.readouterr()
        assert code in codes, line
        assert "Traceback" not in shown.out + shown.err, line
        codes[code] += 1
        after = list_files(place)
        if code == 2:
            assert shown.err.splitlines()[-1].startswith("emoscene: "), line
            assert after == before, line
            assert not (tmp_path / "out").exists(), line
        else:
            for path in sorted(set(after) - set(before), reverse=True):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        before = list_files(place)
    print(codes)
    assert min(codes[0], codes[2]) > 0
    assert codes[STOPPED] <= len(numbers) / 50


def test_each_line_works_as_it_stands(place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    for verb, words in LINES.items():
        line = [word.replace("OUT", str(tmp_path / verb)) for word in words]
        call = read_call(verb, line)
        assert call is not None and call.verb == verb
        if verb not in {*NOT_RUN, "mini", "doctor"}:
            assert main([verb, *line]) == 0
