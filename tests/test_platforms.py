"""Windows and macOS, as far as they can be played on Linux: what only POSIX has is taken away.

The sources are read for names that some systems lack; training runs in a process that lacks them.
"""

import ast
import errno
import json
import os
import re
import signal
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tiny
from emoscene.cli import main
from emoscene.core import interrupts, paths, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import name_files
from emoscene.core.params import GenerationParams
from emoscene.diffusion import loras
from emoscene.exports import artifact
from emoscene.learning import precision
from emoscene_mini.world1 import render_pool
from posix_removal import CALLS, MODULES

SRC = Path(__file__).parent.parent / "src"
FILES = sorted(SRC.rglob("*.py"))
METHODS = {"symlink_to", "hardlink_to", "lchmod"}  # of a Path
KEYWORDS = {"preexec_fn", "start_new_session", "pass_fds", "process_group", "umask"}  # of subprocess
STARTS = {"fork", "forkserver"}  # of multiprocessing
FOLDERS = ("/proc", "/dev", "/tmp", "/etc", "/sys", "/var", "/usr")
ALLOWED = {("emoscene/learning/precision.py", "/proc/self/status")}  # asked with `is_file` first


def find_posix_names(tree: ast.AST) -> list[str]:
    """What some systems lack in a module's source: imports and names, with their lines."""
    found = []
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            names = {str(node.module)} & MODULES
            names |= {alias.name for alias in node.names} & CALLS.get(str(node.module), set())
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = {node.attr} & (CALLS.get(node.value.id, set()) | METHODS)
        elif isinstance(node, ast.Attribute):
            names = {node.attr} & METHODS
        elif isinstance(node, ast.keyword):
            names = {str(node.arg)} & KEYWORDS
        found += [f"line {node.lineno}: {name}" for name in sorted(names)]
    return found


def find_local_text(tree: ast.AST) -> list[str]:
    """Text files that are opened in the letters, or written with the line ends, of the system."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = {keyword.arg for keyword in node.keywords}
        text = name in {"read_text", "write_text"} or (name == "open" and opens_text(node))
        text = text or (name in {"run", "Popen", "check_output"} and bool(given & {"text", "universal_newlines"}))
        if text and "encoding" not in given:
            found.append(f"line {node.lineno}: {name} without an encoding")
        writes = name == "write_text" or (name == "open" and opens_text(node) and writes_file(node))
        if writes and "newline" not in given:
            found.append(f"line {node.lineno}: {name} without a newline")
    return found


def writes_file(call: ast.Call) -> bool:
    """Whether a call of `open` is given a mode that writes."""
    values = [getattr(argument, "value", None) for argument in call.args]
    return any(isinstance(value, str) and set(value) & set("wax") and set(value) <= set("rwax+t") for value in values)


def opens_text(call: ast.Call) -> bool:
    """Whether a call is the built-in `open`, or a path's, in a text mode; other classes have an `open` as well."""
    builtin = isinstance(call.func, ast.Name)
    arguments = call.args[1:] if builtin else call.args
    if not arguments:
        return True
    mode = getattr(arguments[0], "value", None)
    return isinstance(mode, str) and set(mode) <= set("rwax+t")


def test_nothing_is_used_that_only_posix_has() -> None:
    for path in FILES:
        name = path.relative_to(SRC).as_posix()
        tree = ast.parse(path.read_text(encoding="utf8"))
        assert find_posix_names(tree) == [], name
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        texts = {value for value in constants if isinstance(value, str)}
        places = {(name, text) for text in texts if text.startswith(FOLDERS)}
        assert places <= ALLOWED, name
        assert not texts & STARTS, name
        assert find_local_text(tree) == [], name


@pytest.mark.parametrize(
    "line",
    [
        "import resource",
        "from os import fork",
        "os.killpg(1, 2)",
        "signal.signal(signal.SIGHUP, ask)",
        "path.symlink_to(there)",
        "folder.joinpath('a').hardlink_to(there)",
        "subprocess.Popen(words, start_new_session=True)",
    ],
)
def test_the_reader_of_the_sources_finds_names(line: str) -> None:
    assert find_posix_names(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "path.read_text()",
        "path.write_text(text, encoding='utf8')",
        "open(path)",
        "path.open('w')",
        "path.open('w', encoding='utf8')",
        "open(path, 'a', encoding='utf8')",
        "subprocess.run(words, text=True)",
    ],
)
def test_the_reader_of_the_sources_finds_local_text(line: str) -> None:
    assert find_local_text(ast.parse(line))


WITHOUT_POSIX = """
import sys
from pathlib import Path

import posix_removal

posix_removal.take_away()
import torch
import emoscene
from emoscene.learning import precision
from emoscene.data.preparation import prepare

base, data, out = sys.argv[1:]
assert precision.resource is None
assert not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
precision.STATUS = Path("/nowhere")
prepare("mini", out=data, limit=24, base=base, workers=0, on_message=str)
words = dict(data=data, base=base, steps=3, batch_size=4, validate_every=2, checkpoint_every=1, on_message=str)
emoscene.train("lora", out=out, **words, dry_run=True)
print(emoscene.train("lora", out=out, **words))
"""


@pytest.mark.slow
def test_training_runs_where_posix_is_not(tmp_path: Path) -> None:
    base = tiny.make(tmp_path / "base")
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    line = [sys.executable, "-c", WITHOUT_POSIX, *map(str, (base, tmp_path / "data", tmp_path / "out"))]
    done = subprocess.run(line, env=environment, capture_output=True, encoding="utf8", cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_dir.read_manifest(tmp_path / "out", "artifact")["state"] == "done"


TAKEN = [
    "import fcntl",
    "import importlib; importlib.import_module('resource')",
    "import signal; signal.SIGTERM",
    "from os import fork",
    "import os; os.open('.', os.O_RDONLY)",
    "import os; os.fsync(os.open('file', os.O_RDONLY))",
    "import os; os.mkdir('a'); os.mkdir('b'); os.replace('a', 'b')",
]
FOR_ALL = TAKEN[-1:]  # pathlib calls it for everybody
TRY = """
import json, os, shutil, subprocess, sys

import posix_removal

def list_missed(name):
    missed = []
    for line in json.loads(sys.argv[1]):
        try:
            exec(line, {"__name__": name})
        except (ImportError, AttributeError, OSError):
            missed.append(line)
        for folder in ("a", "b"):
            shutil.rmtree(folder, ignore_errors=True)
    return missed

if len(sys.argv) == 2:
    posix_removal.take_away()
print(json.dumps([list_missed("emoscene.invented"), list_missed("somebody")]))
if len(sys.argv) == 2:
    subprocess.run([sys.executable, *sys.orig_argv[1:], "child"], check=True)
"""


def test_what_is_taken_away_is_missed_by_emoscene_alone(tmp_path: Path) -> None:
    """Here, and in a Python that is started from here."""
    (tmp_path / "file").write_bytes(b"")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    line = [sys.executable, "-c", TRY, json.dumps(TAKEN)]
    done = subprocess.run(line, env=environment, capture_output=True, encoding="utf8", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(found) for found in done.stdout.splitlines()] == [[TAKEN, FOR_ALL]] * 2


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "docs", "notebooks"])
def test_every_system_can_hold_the_files(folder: str) -> None:
    """No two names differ only in case, none is reserved or too long, none holds a letter that Windows refuses."""
    root = SRC.parent
    names = [path.relative_to(root) for path in (root / folder).rglob("*") if "__pycache__" not in path.parts]
    assert len({name.as_posix().casefold() for name in names}) == len(names)
    for name in names:
        assert not paths.fault_of_name(name.as_posix()), name
        assert name.as_posix().isascii(), name
        assert not re.search(r'[<>:"|?*]|[. ]$', name.name), name
        assert len(name.as_posix()) < 160, name


@pytest.mark.parametrize("name", ["CON", "nul.png", "a/aux.jpg", "COM1", "a/lpt9.tar.gz", "prn .png", "con./b.png"])
def test_a_name_that_windows_keeps_for_itself_is_refused_everywhere(name: str, tmp_path: Path) -> None:
    with pytest.raises(EmosceneError, match="Windows keeps for itself"):
        paths.resolve_inside(tmp_path, name)


@pytest.mark.parametrize("name", ["icon.png", "con-0001.png", "a/com10.jpg", "console/nullable.png"])
def test_a_name_that_only_resembles_one_is_not(name: str, tmp_path: Path) -> None:
    assert paths.resolve_inside(tmp_path, name) == tmp_path / name


def test_files_of_images_differ_in_more_than_case() -> None:
    rows = [GenerationParams(emotion_image=name, seed=1) for name in ("Lake.png", "lake.png", "LAKE.png")]
    files = [row.file for row in name_files(rows)]
    assert files == ["like-Lake-0001.png", "like-lake-0001-2.png", "like-LAKE-0001-3.png"]


def test_interrupts_are_deferred_without_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGTERM")
    with interrupts.defer_interrupts() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()


def test_memory_is_told_without_getrusage(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def memory_info(self) -> object:
            return type("Memory", (), {"rss": 3, "peak_wset": 7})

    monkeypatch.setattr(precision, "STATUS", Path("/nowhere"))
    monkeypatch.setattr(precision, "resource", None)
    assert precision.peak_memory() > 2**20
    monkeypatch.setattr(precision.psutil, "Process", Process)
    assert precision.peak_memory() == 7


def test_memory_is_told_where_the_peak_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_bytes(b"Name:\tpython\xff\nVmRSS:\t5 kB\n")
    monkeypatch.setattr(precision, "STATUS", status)
    assert precision.peak_memory() > 2**20


@pytest.mark.parametrize("number", sorted(run_dir.UNFLUSHABLE))
def test_a_folder_that_cannot_be_flushed_is_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = os.fsync

    def refuse(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    run_dir.write_atomic(tmp_path / "one", b"1")
    assert (tmp_path / "one").read_bytes() == b"1"


@pytest.mark.posix
def test_a_disk_that_fails_is_no_folder_that_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        run_dir._flush(tmp_path)


def test_a_file_that_somebody_reads_is_replaced_once_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = Path.replace, [1, 2]

    def refuse(aside: Path, path: Path) -> Path:
        if refusals:
            raise PermissionError(errno.EACCES, f"refusal {refusals.pop()}")
        return replace(aside, path)

    monkeypatch.setattr(Path, "replace", refuse)
    monkeypatch.setattr(run_dir, "WAITS", (0.0, 0.0))
    run_dir.write_atomic(tmp_path / "one", b"1")
    assert (tmp_path / "one").read_bytes() == b"1"
    refusals += [1, 2, 3]
    with pytest.raises(PermissionError, match="refusal 1"):
        run_dir.write_atomic(tmp_path / "two", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_full_disk_is_known_by_windows_words(tmp_path: Path) -> None:
    def pour(aside: Path) -> None:
        raise RuntimeError("I/O error: There is not enough space on the disk. (os error 112)")

    with pytest.raises(run_dir.EmosceneError, match="the disk is full at"):
        run_dir.write_atomic(tmp_path / "weights", pour)


def test_the_order_of_a_fingerprint_is_the_same_on_every_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.md", "model.bin", "Unet/b", "a/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    here = run_dir.fingerprint_folder(tmp_path)
    monkeypatch.setattr(Path, "__lt__", lambda one, other: str(one).lower() < str(other).lower())  # as on Windows
    assert run_dir.fingerprint_folder(tmp_path) == here
    assert here == "fbca014c5af6f365544f5bc9b37edb261597ca7ed7d981ea4dcdd559e77b6bb2"


@pytest.mark.parametrize("text", ["C:\\loras\\style.safetensors", "C:\\style.safetensors:0.8"])
def test_a_drive_is_no_scale(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is not there") as told:
        loras.parse_lora(text)
    assert text in str(told.value)
    file, _, scale = text.partition(".safetensors")
    save_file({"a": torch.ones(3)}, f"{file}.safetensors")  # here, a name like any other
    assert loras.parse_lora(text).scale == float(scale.removeprefix(":") or 1)


def test_a_drive_is_no_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no artifact in C:"):
        artifact.open_artifact("C:\\runs\\lora")


def test_a_pipe_without_all_letters_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = TextIOWrapper(BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", pipe)
    monkeypatch.setattr(main, "run_call", lambda call: print("猫"))
    assert main.main(["ls"]) == 0
    pipe.flush()
    assert pipe.buffer.getvalue().strip() == b"\\u732b"


def test_a_pipe_that_breaks_in_windows_words_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def dump(order: object, pipe: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(render_pool.pickle, "dump", dump)
    with pytest.raises(render_pool.EmosceneError, match="a rendering process died"):
        list(render_pool.render_images([{"seed": 7}], 16, 1))
