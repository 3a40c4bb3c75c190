"""Several workers on a Ray cluster, dying ones among them: the same files as of one process that nobody disturbed."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.core import cluster as clusters
from emoscene.core import run_dir
from emoscene.core.cluster import Cluster, complete_parts, open_cluster
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.processes import read_rank
from emoscene.data import encoding, preparation
from emoscene.data.preparation import prepare
from emoscene.data.records import Record
from emoscene_mini.world1.layouts import write_layout


@pytest.fixture(scope="module")
def ray():
    """A cluster of two workers on this machine, which every call of these tests finds."""
    found = pytest.importorskip("ray", reason="the extra ray is not installed")
    found.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield found
    found.shutdown()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def write_numbers(folder, deadly=(), wrong=()):
    """A job's maker, and its parts: each file holds what the job is; a number in `deadly` kills its first worker."""

    def make(job, numbers, worker):
        for number in numbers:
            if number in wrong:
                raise UsageError(f"no part {number}")
            mark = folder / f"died-{number}"
            if number in deadly and not mark.exists():
                mark.touch()
                os._exit(1)
            (folder / f"part-{number}").write_text(f"{job} {bool(worker)}")
            yield number

    return make, [folder / f"part-{number}" for number in range(6)]


def test_parts_are_made_where_they_are_missing(tmp_path):
    make, parts = write_numbers(tmp_path)
    parts[2].write_text("there")
    assert list(complete_parts(parts, make, "here")) == [0, 1, 3, 4, 5]
    assert [path.read_text() for path in parts] == ["here False"] * 2 + ["there"] + ["here False"] * 3


def test_the_parts_of_dead_workers_are_made_by_others(ray, tmp_path):
    make, parts = write_numbers(tmp_path, deadly=(1, 4))
    parts[2].write_text("there")
    with open_cluster("auto", lambda: "loaded") as cluster:
        assert sorted(complete_parts(parts, make, "here", cluster)) == [0, 1, 3, 4, 5]
        assert list(complete_parts(parts, make, "here", cluster)) == []
    assert len(list(tmp_path.glob("died-*"))) == 2
    assert {path.read_text() for path in parts} == {"loaded True", "there"}
    assert ray.is_initialized()  # it was not this call's own


@pytest.mark.slow
def test_what_a_worker_raises_is_raised_here(ray, tmp_path, monkeypatch):
    make, parts = write_numbers(tmp_path, wrong=(3,))
    with open_cluster("auto", str) as cluster, pytest.raises(UsageError, match=r"^no part 3$"):
        list(complete_parts(parts, make, "", cluster))

    def refuse():
        raise EmosceneError("no such base")

    with open_cluster("auto", refuse) as cluster, pytest.raises(EmosceneError, match=r"^no such base$"):
        list(complete_parts(parts, make, "", cluster))

    monkeypatch.setattr(clusters, "DELAY", 0.1)
    elsewhere = [tmp_path / "not-shared" / path.name for path in parts]
    with open_cluster("auto", str) as cluster, pytest.raises(EmosceneError, match="a disk that all nodes share"):
        list(complete_parts(elsewhere, write_numbers(tmp_path)[0], "", cluster))


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_the_call(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "DEATHS", 1)

    def die(job, numbers, worker):
        os._exit(1)
        yield 0

    with open_cluster("auto", str) as cluster, pytest.raises(EmosceneError, match="die, 3 in a row"):
        list(complete_parts([tmp_path / "0"], die, "", cluster))


def test_a_device_that_the_cluster_lacks(monkeypatch):
    resources = {"CPU": 4.0}
    ray = SimpleNamespace(
        cluster_resources=lambda: resources,
        nodes=lambda: [{"Alive": True, "Resources": resources}, {"Alive": False, "Resources": resources}],
        remote=lambda **words: lambda actor: words,
    )
    for device, words in (
        ("cuda", "the Ray cluster has no GPU"),
        ("cuda:1", "--device cuda$"),
        ("gpu", "no device 'gpu'"),
    ):
        with pytest.raises(UsageError, match=words):
            Cluster(ray, str, device)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    cluster = Cluster(ray, str, None)
    assert cluster.actor == {"num_cpus": 2, "num_gpus": 0} and cluster._count_places() == 2
    resources["GPU"] = 8.0
    for device, gpus, places in ((None, 1, 2), ("cuda", 1, 2), ("cpu", 0, 2)):
        cluster = Cluster(ray, str, device)
        assert cluster.actor == {"num_cpus": 2, "num_gpus": gpus} and cluster._count_places() == places
    resources["CPU"] = 64.0
    assert [Cluster(ray, str, device)._count_places() for device in (None, "cpu")] == [8, 32]
    monkeypatch.setenv("OMP_NUM_THREADS", "65")
    with pytest.raises(UsageError, match="no node of the Ray cluster has 65 CPUs"):
        Cluster(ray, str, None)


def test_without_ray_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EmosceneError, match=r"pip install 'emoscene\[ray\]'"), open_cluster("auto", str):
        pass


@pytest.mark.parametrize("verb", ["prepare", "generate", "evaluate", "demo", "tune"])
def test_a_launcher_is_refused(verb, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = {"prepare": {"source": "mini"}, "tune": {"name": "lora", "data": tmp_path}}.get(verb, {})
    remedy = {"demo": "without a launcher", "tune": "once for each worker"}.get(verb, "--ray auto")
    with pytest.raises(UsageError, match=f"^{verb} runs in one process and was launched in 2: .*{remedy}"):
        getattr(emoscene, verb)(**words, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_launchers_numbers_that_do_not_go_together(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="launch with torchrun"):
        read_rank()


def test_images_that_are_there_need_no_workers(tmp_path):
    with pytest.raises(UsageError, match="--images has nothing to generate"):
        emoscene.evaluate(out=tmp_path / "out", images=tmp_path, ray="auto")


def test_an_address_without_a_cluster(monkeypatch):
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "atuo"):
        with pytest.raises(EmosceneError, match=f"no Ray cluster at {address}: "), open_cluster(address, str):
            pass
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(EmosceneError, match=r"no Ray cluster at 127\.0\.0\.1:1: "), open_cluster("auto", str):
        pass


@pytest.mark.parametrize("verb", ["prepare", "generate", "evaluate"])
def test_an_address_is_tried_before_a_base_is_downloaded(verb, tmp_path):
    """Nothing of sd15 is on this machine, and the hub is not asked."""
    words = {"base": "sd15", "out": tmp_path / "out", "ray": "127.0.0.1:1"}
    words |= {"prepare": {"source": "imagefolder", "root": tmp_path}, "generate": {"prompt": "a lake"}}.get(verb, {})
    with pytest.raises(EmosceneError, match=r"no Ray cluster at 127\.0\.0\.1:1: "):
        getattr(emoscene, verb)(**words)


@pytest.mark.slow
def test_workers_prepare_what_one_process_does(ray, base, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD", 8)
    root = write_layout("imagefolder", 60, 1, tmp_path / "raw", size=32, workers=0)
    call = {"root": root, "base": base, "on_message": str, "workers": 0}
    seen = []
    one = prepare("imagefolder", out=tmp_path / "one", **call)
    two = prepare("imagefolder", out=tmp_path / "two", ray="auto", on_progress=lambda *now: seen.append(now), **call)
    manifests = [run_dir.read_manifest(folder) for folder in (one, two)]
    assert manifests[0] == manifests[1]
    assert {path.name for path in one.rglob("*")} == {path.name for path in two.rglob("*")}
    assert seen[:8] == [(min(60, 8 * done), 60) for done in range(1, 9)] and seen[-1][0] == seen[-1][1]


@pytest.mark.slow
def test_workers_generate_what_one_process_does(ray, base, tmp_path):
    call = {"prompt": "a dog", "emotion": "all", "base": base, "batch": 2, "num_inference_steps": 2}
    one = emoscene.generate(out=tmp_path / "one", **call)
    seen = []
    two = emoscene.generate(out=tmp_path / "two", ray="auto", on_progress=lambda *now: seen.append(now), **call)
    assert seen == [(2, 8), (4, 8), (6, 8), (8, 8)]
    files = sorted(path.name for path in one.iterdir())
    assert files == sorted(path.name for path in two.iterdir())
    for file in files:
        if file.endswith(".png"):
            assert (one / file).read_bytes() == (two / file).read_bytes()
    rows = [list(run_dir.read_jsonl(folder / "images.jsonl")) for folder in (one, two)]
    for row in [*rows[0], *rows[1]]:
        assert row.pop("seconds") > 0
    assert rows[0] == rows[1]


@pytest.mark.slow
@pytest.mark.parametrize("keep_images", [True, False])
def test_workers_evaluate_what_one_process_does(ray, base, tmp_path, keep_images):
    """Scores are equal to the last digit, but for speeds and memory."""
    (tmp_path / "prompts.txt").write_text("a dog\na cat\n")
    call = {"base": base, "judge": tiny.judges(tmp_path), "prompts": tmp_path / "prompts.txt", "seeds": "0:2"}
    call |= {"method": "prompt", "num_inference_steps": 1, "on_message": str, "keep_images": keep_images}
    told = []
    for name, address in (("one", None), ("two", "auto")):
        out = emoscene.evaluate(out=tmp_path / name, ray=address, **call)
        scores = json.loads((out / "scores.json").read_text())
        assert scores.pop("peak_memory_mb") > 0 < scores.pop("images_per_second")
        assert scores["cost"].pop("seconds_per_image") > 0
        told.append((scores, (out / "verdicts.jsonl").read_text()))
        assert [path.name for path in (out / "pictures").glob("*.jsonl")] == ["images.jsonl"]
    assert told[0] == told[1]


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
    with pytest.raises(EmosceneError, match=r"0\.0 MB free.*make room"):
        prepare("imagefolder", root=root, out=tmp_path / "out", base=base, workers=0)


DRIVE = """
import sys
from emoscene.data import preparation
preparation.SHARD = 8
root, base, out, address = sys.argv[1:]
preparation.prepare("imagefolder", root=root, base=base, out=out, ray=address, on_message=str, workers=0)
"""
STRIKES = (("worker", "notes", 2), ("node", "notes", 12), ("driver", "data", 4), ("worker", "data", 16))
"""What is killed in turn, and when: after how many files of which pass."""


def strike(cluster, nodes, driver, what):
    """Kill a worker, a node or the driver without a warning; whether it was there."""
    if what == "driver":
        driver.kill()
        return driver.wait() != 0
    if what == "node":
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        nodes.append(cluster.add_node(num_cpus=1))
        return True
    for node in nodes:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for child in raylet.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.cmdline()[0].startswith("ray::Worker"):
                    child.kill()
                    return True
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Ray tests several nodes on one machine on Linux alone")
def test_twenty_kills_change_nothing(base, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray import cluster_utils

    monkeypatch.setattr(preparation, "SHARD", 8)
    root = write_layout("imagefolder", 240, 1, tmp_path / "raw", size=32, workers=0)
    whole = prepare("imagefolder", root=root, base=base, out=tmp_path / "whole", on_message=str, workers=0)
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    landed = 0
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        for turn in range(5):
            out = tmp_path / f"torn-{turn}"
            line = [sys.executable, "-c", DRIVE, root, base, out, cluster.address]
            driver = subprocess.Popen([*map(str, line)])
            for what, name, count in STRIKES:
                while driver.poll() is None and len(list(out.rglob(f"{name}-*.arrow"))) < count:
                    time.sleep(0.002)
                if driver.poll() is None:
                    landed += strike(cluster, nodes, driver, what)
                if what == "driver":
                    driver = subprocess.Popen([*map(str, line)])
            assert driver.wait(120) == 0
            assert run_dir.read_manifest(out) == run_dir.read_manifest(whole)
    finally:
        cluster.shutdown()
    assert landed >= 16, f"of 20 kills {landed} came in time"
