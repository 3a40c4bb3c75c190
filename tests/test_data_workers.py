"""Several processes, dying ones among them: the same bytes as one that nobody disturbed."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import tiny
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.data import encoding, workers
from emoscene.data.preparation import prepare
from emoscene.data.records import Record
from emoscene.data.workers import WorkerGroup
from emoscene_mini.world1.layouts import write_layout


def joined(folder, rank, world, monkeypatch):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))
    return WorkerGroup(folder)


def test_parts_of_the_dead_are_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.6)
    monkeypatch.setattr(workers, "BEAT", 0.1)
    monkeypatch.setattr(workers, "WAIT", 0.01)
    parts = [tmp_path / f"part-{number}" for number in range(12)]
    made = {0: [], 2: []}

    def make(rank, mine):
        for part in mine:
            made[rank].append(part)
            time.sleep(0.02)
            aside = tmp_path / f"rank-{rank}-{part}"  # as processes have it, whose numbers differ; threads share one
            aside.write_bytes(b"whole")
            aside.replace(parts[part])

    def work(member):
        with member:
            member.complete(parts, lambda mine: make(member.rank, mine))
            member.close(lambda: (tmp_path / "done").exists(), lambda: run_dir.write_atomic(tmp_path / "done", b""))

    (tmp_path / f"{run_dir.TEMPORARY_PREFIX}alive-1").touch()  # it was there, and is seen no more
    members = [joined(tmp_path, rank, 3, monkeypatch) for rank in (0, 2)]
    threads = [threading.Thread(target=work, args=[member]) for member in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(part.read_bytes() == b"whole" for part in parts) and (tmp_path / "done").exists()
    assert made[0][:4] == [0, 3, 6, 9] and made[2][:4] == [2, 5, 8, 11]
    assert sorted({*made[0][4:], *made[2][4:]}) == [1, 4, 7, 10] and made[0][4:] and made[2][4:]


def test_nobody_waits_for_nobody(tmp_path, monkeypatch):
    with joined(tmp_path, 0, 1, monkeypatch) as alone:
        assert alone.list_alive() == [0]
        alone.complete([], lambda mine: None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="launch with torchrun"):
        joined(tmp_path, 2, 2, monkeypatch)


def test_a_sign_of_life_that_was_swept_away_kills_nobody(tmp_path, monkeypatch):
    with joined(tmp_path, 0, 1, monkeypatch) as alone:
        monkeypatch.setattr(WorkerGroup, "_touch", lambda self: self._sign_file(0).unlink(missing_ok=True))
        assert alone.list_alive() == [0]


def test_two_may_make_one_shard(tmp_path, monkeypatch):
    """While the first process writes a picture, a second makes the whole shard."""
    networks = SimpleNamespace(
        kind="png", fitting=None, encode_batch=lambda part: [(record, 0.0) for _, record, _ in part]
    )
    kept, calls = Path.write_bytes, []

    def shard():
        items = [(0, Record("a"), Image.new("RGB", (8, 8), "red"))]
        return encoding._encode_shard(tmp_path, 0, items, networks, lambda more: None)

    def meanwhile(path, data):
        kept(path, data)
        calls.append(path)
        if len(calls) == 1:
            monkeypatch.setattr(os, "getpid", lambda: 0)
            shard()

    (tmp_path / "pictures/00000").mkdir(parents=True)
    monkeypatch.setattr(Path, "write_bytes", meanwhile)
    assert [record.file for record in shard()] == ["pictures/00000/a.png"]
    assert len(calls) == 2 and [path.name for path in tmp_path.rglob("*.png")] == ["a.png"]


def test_the_room_is_looked_at_before_it_is_needed(tmp_path, monkeypatch):
    base, root = (
        str(tiny.make(tmp_path / "base")),
        write_layout("imagefolder", 16, 1, tmp_path / "raw", size=32, workers=0),
    )
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1))
    with pytest.raises(EmosceneError, match=r"0\.0 GB free.*make room"):
        prepare("imagefolder", root=root, out=tmp_path / "out", base=base, workers=0)


KILLS = """
import json, os, random, signal, sys, time, traceback
import torch
torch.set_num_threads(1)
from emoscene.data import encoding, preparation, workers
preparation.SHARD, encoding.BATCH = 8, 4
workers.PATIENCE, workers.BEAT, workers.WAIT = 1.0, 0.2, 0.02
root, base, folder, world, kills = *sys.argv[1:4], *map(int, sys.argv[4:])

def go(out, world):
    pids = []
    for rank in range(world):
        pids.append(os.fork())
        if not pids[-1]:
            os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
            try:
                preparation.prepare("imagefolder", root=root, out=out, base=base, on_message=str, workers=0)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    return pids

def ended(pids):
    return all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids)

began = time.monotonic()
assert ended(go(f"{folder}/whole", 1))
long = time.monotonic() - began
dice = random.Random(0)
unfinished = 0
for number in range(kills):
    out = f"{folder}/torn"
    pids = go(out, world)
    time.sleep(long * dice.random() * 0.9)
    victims = pids if world == 1 or number % 2 else pids[1:2]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert all(status in (0, -9) for status in statuses), statuses
    try:
        unfinished += json.load(open(f"{out}/manifest.json"))["state"] != "done"
    except FileNotFoundError:
        unfinished += 1
    assert ended(go(out, world))
    prints = [json.load(open(f"{one}/manifest.json"))["fingerprint"] for one in (out, f"{folder}/whole")]
    assert prints[0] == prints[1], (number, prints)
    os.rename(out, f"{folder}/done-{number}")
print(json.dumps({"seconds": long, "unfinished": unfinished}))
"""


def kill(tmp_path, world, kills, pictures):
    """Prepare in `world` processes, killed and called again `kills` times."""
    base, root = (
        tiny.make(tmp_path / "base"),
        write_layout("imagefolder", pictures, 1, tmp_path / "raw", size=32, workers=0),
    )
    (tmp_path / "out").mkdir()
    words = [root, base, tmp_path / "out", world, kills]
    done = subprocess.run(
        [sys.executable, "-c", KILLS, *map(str, words)], capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["unfinished"] >= kills // 3


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 3])
def test_twenty_kills_change_nothing(tmp_path, world):
    kill(tmp_path, world, kills=20, pictures=60)
