"""Two calls at once on one folder: the second is told who is at work there, and nothing of the first is touched."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emoscene.core import folder_lock, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.training import checks

HOLD = """
import sys
from emoscene.core.run_dir import RunDir
opened = RunDir.open(sys.argv[1], "artifact", {"steps": 1})
with opened.hold():
    print("held", flush=True)
    sys.stdin.read()
    opened.finish()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the folder until its input ends."""
    line = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def hold(folder: Path) -> run_dir.RunDir:
    opened = run_dir.RunDir.open(folder, "artifact", {"steps": 1})
    with opened.hold():
        return opened


def test_the_second_call_is_told_who_is_at_work(tmp_path: Path) -> None:
    with other_process(tmp_path / "run") as process:
        for _ in range(2):
            with pytest.raises(EmosceneError, match=rf"run is being written by process {process.pid} on .*, since 20"):
                hold(tmp_path / "run")
        process.communicate("")
    opened = hold(tmp_path / "run")
    assert opened.is_done, "what the other process finished meanwhile is not begun again"
    assert {path.name for path in opened.path.iterdir()} == {run_dir.MANIFEST}


def test_a_killed_process_has_nothing_any_more(tmp_path: Path) -> None:
    with other_process(tmp_path / "run") as process:
        process.kill()
        process.wait()
    assert (tmp_path / "run" / folder_lock.OWNER).exists()
    opened = hold(tmp_path / "run")
    assert not opened.is_done
    assert not (tmp_path / "run" / folder_lock.OWNER).exists()


def test_what_fails_lets_go(tmp_path: Path) -> None:
    opened = run_dir.RunDir.open(tmp_path, "artifact", {"steps": 1})
    for _ in range(2):
        with pytest.raises(KeyError), opened.hold():
            raise KeyError
    with opened.hold():
        opened.finish()
    assert {path.name for path in tmp_path.iterdir()} == {run_dir.MANIFEST}


def test_a_note_of_a_stranger_is_one_line(tmp_path: Path) -> None:
    assert folder_lock.read_owner(tmp_path) == "another process"
    (tmp_path / folder_lock.OWNER).write_bytes(b"\x1b[2J\n" + b"a" * 1000)
    assert folder_lock.read_owner(tmp_path) == "[2J" + "a" * 115
    (tmp_path / folder_lock.OWNER).write_bytes(b"\xff")
    assert folder_lock.read_owner(tmp_path) == "another process"


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_note_that_leads_elsewhere_is_neither_read_nor_written(kind: str, tmp_path: Path) -> None:
    secret, note = tmp_path / "secret", tmp_path / "run" / folder_lock.OWNER
    secret.write_text("precious")
    run_dir.RunDir.open(tmp_path / "run", "artifact", {"steps": 1})
    if kind == "link":
        note.symlink_to(secret)
    elif kind == "device":
        note.symlink_to("/dev/zero")
    else:
        os.mkfifo(note)
    assert folder_lock.read_owner(tmp_path / "run") == "another process"
    hold(tmp_path / "run")
    assert secret.read_text() == "precious"


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_rows_are_not_written_through_what_is_no_file(kind: str, tmp_path: Path) -> None:
    secret, place = tmp_path / "secret", tmp_path / "history.jsonl"
    secret.write_text("precious")
    if kind == "link":
        place.symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(EmosceneError, match="a link or no regular file"):
        run_dir.append_row(place, {"step": 1})
    assert secret.read_text() == "precious"


def test_a_run_that_is_being_written_is_told_before_resume_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.checkpoints, "list_checkpoints", lambda folder: [folder / "step-1"])
    with folder_lock.lock_folder(tmp_path), pytest.raises(EmosceneError, match="is being written by process"):
        checks.check_resumed(tmp_path, None, False)
    with pytest.raises(UsageError, match="give --resume"):
        checks.check_resumed(tmp_path, None, False)


@pytest.mark.slow
@pytest.mark.posix
def test_two_trainings_of_one_folder(tmp_path: Path) -> None:
    """The issue's case: the loser ends in one sentence with the winner's number, and the winner in an artifact."""
    run = [sys.executable, "-m", "emoscene"]
    subprocess.run([*run, "prepare", "mini", "--limit", "32", "--out", tmp_path / "data"], check=True)
    call = [
        *run,
        "train",
        "inversion",
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "run",
        "steps=60",
        "batch_size=4",
    ]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as first:
        while not (tmp_path / "run" / folder_lock.OWNER).exists():
            assert first.poll() is None
        second = subprocess.run(call, capture_output=True, text=True, timeout=120)
        assert second.returncode == 1
        assert f"is being written by process {first.pid} on" in second.stderr.splitlines()[-1]
        os.kill(first.pid, signal.SIGTERM)
        first.communicate(timeout=120)
    assert first.returncode == 1
    assert subprocess.run([*call, "--resume"], capture_output=True, timeout=280).returncode == 0


@pytest.mark.posix
@pytest.mark.parametrize("kind", ["link", "lost link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_one_sentence(kind: str, tmp_path: Path) -> None:
    secret, lock = tmp_path / "secret", tmp_path / "run" / folder_lock.LOCK
    secret.write_text("precious")
    run_dir.RunDir.open(tmp_path / "run", "artifact", {"steps": 1})
    if kind == "folder":
        lock.mkdir()
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(secret if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(EmosceneError, match="aside-lock is a link or no regular file, and no lock can be held on it"):
        hold(tmp_path / "run")
    assert not folder_lock.is_locked(tmp_path / "run")
    assert secret.read_text() == "precious" and not (tmp_path / "nowhere").exists()
