"""Windows and macOS, as far as they can be played on Linux: what only POSIX has is taken away.

The sources are read for names that some systems lack; training runs in a process that lacks them.
"""

import ast
import errno
import json
import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

import tiny
from emoscene.cli import main
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.diffusion import loras
from emoscene.exports import artifact
from emoscene.learning import precision
from emoscene_mini.world1 import render_pool

SRC = Path(__file__).parent.parent / "src"
FILES = sorted(SRC.rglob("*.py"))
OF_OS = """
O_CLOEXEC O_DIRECTORY O_NOFOLLOW WNOHANG chown chroot ctermid fchdir fchmod fchown fdatasync fork forkpty getegid
geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getsid getuid initgroups kill killpg lchown link
memfd_create mkfifo mknod nice openpty posix_fadvise posix_fallocate posix_spawn pread pwrite readlink
sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setpgid setpriority setsid setuid
statvfs symlink sync sysconf ttyname uname wait wait3 wait4 waitid
"""
OF_SIGNAL = """
SIGALRM SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1
SIGUSR2 SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait
sigwait sigwaitinfo
"""
MODULES = {"crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog"}
MODULES |= {"termios", "tty"}
CALLS = {
    "os": set(OF_OS.split()),
    "signal": set(OF_SIGNAL.split()),
    "socket": {"AF_UNIX", "SO_REUSEPORT", "socketpair"},
    "time": {"clock_settime", "pthread_getcpuclockid", "tzset"},
    "select": {"epoll", "kqueue", "poll"},
}
TAKEN = ["sched_getaffinity", "killpg", "getuid", "geteuid", "symlink", "getloadavg", "nice"]  # shutil needs the rest
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
        if name == "write_text" and "newline" not in given:
            found.append(f"line {node.lineno}: write_text without a newline")
    return found


def opens_text(call: ast.Call) -> bool:
    """Whether a call is the built-in `open`, or a path's, in a text mode; other classes have an `open` as well."""
    builtin = isinstance(call.func, ast.Name)
    arguments = call.args[1:] if builtin else call.args
    if not arguments:
        return True
    mode = getattr(arguments[0], "value", None)
    return isinstance(mode, str) and set(mode) <= set("rwax+t")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_nothing_is_used_that_only_posix_has(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf8"))
    assert find_posix_names(tree) == []
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    places = {(path.relative_to(SRC).as_posix(), text) for text in texts if text.startswith(FOLDERS)}
    assert places <= ALLOWED
    assert not texts & STARTS
    assert find_local_text(tree) == []


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
        "subprocess.run(words, text=True)",
    ],
)
def test_the_reader_of_the_sources_finds_local_text(line: str) -> None:
    assert find_local_text(ast.parse(line))


WITHOUT_POSIX = """
import builtins, errno, fcntl, importlib.util, json, os, shutil, signal, sys
from pathlib import Path
from types import SimpleNamespace

import psutil, torch
import emoscene.training.train  # and with it all packages that it needs, which know Windows by themselves

for name in [name for name in sys.modules if name.startswith("emoscene")]:
    del sys.modules[name]

base, data, out = sys.argv[1:]
opened, replaced, flushed, flags = os.open, os.replace, os.fsync, fcntl.fcntl

def open_file(path, *options, **named):
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return opened(path, *options, **named)

def flush(handle):
    if flags(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    flushed(handle)

def replace(source, target, **named):
    if os.path.isdir(target):
        raise PermissionError(errno.EACCES, "Access is denied", str(source), 5, str(target))
    replaced(source, target, **named)

os.open, os.fsync, os.replace = open_file, flush, replace
shutil._use_fd_functions = False
absent, imported, sought = set(json.loads(os.environ["MODULES"])), builtins.__import__, importlib.util.find_spec

def ours(depth):
    return sys._getframe(depth).f_globals.get("__name__", "").startswith("emoscene")

def import_module(name, *options, **named):
    if name in absent and ours(2):
        raise ModuleNotFoundError("No module named " + name)
    return imported(name, *options, **named)

def find_spec(name, *options):
    return None if name in absent and ours(2) else sought(name, *options)

builtins.__import__, importlib.util.find_spec = import_module, find_spec
for name in json.loads(os.environ["SIGNALS"]):
    delattr(signal, name)
for name in json.loads(os.environ["CALLS"]):
    delattr(os, name)
torch.ops.mkldnn = SimpleNamespace()

import emoscene
from emoscene.learning import precision
from emoscene.data.preparation import prepare

precision.STATUS = Path("/nowhere")
prepare("mini", out=data, limit=24, base=base, workers=0, on_message=str)
words = dict(data=data, base=base, steps=2, batch_size=2, rank=2, checkpoint_every=1, on_message=str)
emoscene.train("lora", out=out, **words, dry_run=True)
print(emoscene.train("lora", out=out, **words))
"""


def test_training_runs_where_posix_is_not(tmp_path: Path) -> None:
    base = tiny.make(tmp_path / "base")
    names = {
        "MODULES": sorted(MODULES),
        "SIGNALS": sorted(name for name in CALLS["signal"] if name.startswith("SIG") and name != "SIGCHLD"),
        "CALLS": TAKEN,
    }
    environment = {**os.environ, **{key: json.dumps(value) for key, value in names.items()}}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path)
    line = [sys.executable, "-c", WITHOUT_POSIX, *map(str, (base, tmp_path / "data", tmp_path / "out"))]
    done = subprocess.run(line, env=environment, capture_output=True, encoding="utf8")
    assert done.returncode == 0, done.stderr[-3000:]
    assert run_dir.read_manifest(tmp_path / "out", "artifact")["state"] == "done"


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
    Path(f"{file}.safetensors").write_bytes(b"\0" * 16)  # here, a name like any other
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
