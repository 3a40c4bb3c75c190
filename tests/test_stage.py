import errno
import json
import os
import subprocess
import sys
import time
from itertools import chain

import pytest

from emoscene.core import processes, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.run_dir import RunDir

CALL = {"kind": "artifact", "config": {"rank": 8, "sizes": (1, 2), "deep": {"lr": 0.1}}, "seed": 3}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_stage_is_open_until_its_done_mark(tmp_path):
    made = RunDir.open(tmp_path / "deep" / "out", **CALL)
    assert not made.is_done
    run_dir.write_atomic(made.path / "part", b"x")
    made.finish(pictures=1)
    manifest = run_dir.read_manifest(made.path, "artifact")
    assert manifest["state"] == "done"
    assert manifest["pictures"] == 1
    assert manifest["fingerprint"] == run_dir.fingerprint_folder(made.path)
    assert manifest["versions"]["python"]


def test_the_same_call_goes_on_and_tuples_are_lists(tmp_path):
    run_dir.write_atomic(RunDir.open(tmp_path, **CALL).path / "part", b"x")
    again = RunDir.open(tmp_path, **CALL)
    assert (again.path / "part").read_bytes() == b"x"
    again.finish()
    assert RunDir.open(tmp_path, **CALL).is_done


@pytest.mark.parametrize(
    ("change", "key"),
    [({"config": {"rank": 16}}, "config.rank is 8 there and 16 here"), ({"seed": 4}, "seed"), ({"kind": "x"}, "kind")],
)
def test_another_call_is_refused_by_its_first_difference(tmp_path, change, key):
    RunDir.open(tmp_path, **CALL)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=key):
        RunDir.open(tmp_path, **{**CALL, **change})
    assert contents(tmp_path) == before


def test_a_difference_deep_inside_is_named_by_its_path(tmp_path):
    RunDir.open(tmp_path, **CALL)
    with pytest.raises(UsageError, match=r"config\.deep\.lr is 0\.1 there and 0\.2 here"):
        RunDir.open(tmp_path, **{**CALL, "config": {**CALL["config"], "deep": {"lr": 0.2}}})


def test_a_difference_in_a_list_is_named_by_its_place_and_cut_short(tmp_path):
    rows = [{"prompt": "a dog", "seed": seed} for seed in range(200)]
    call = {"out": tmp_path, "kind": "pictures"}
    RunDir.open(**call, config={"rows": rows})
    with pytest.raises(UsageError, match=r"config\.rows\.1\.prompt is .a dog. there and .a cat. here"):
        RunDir.open(**call, config={"rows": [rows[0], {**rows[1], "prompt": "a cat"}, *rows[2:]]})
    with pytest.raises(UsageError, match=r"config\.rows\.199 is .* there and null here"):
        RunDir.open(**call, config={"rows": rows[:199]})
    with pytest.raises(UsageError, match=r"config\.rows is .*\.\.\. there and 3 here") as refusal:
        RunDir.open(**call, config={"rows": 3})
    assert len(str(refusal.value)) < 300
    with pytest.raises(UsageError, match=r"config\.span is \[1, 8\] there and \[1, 9\] here"):
        [RunDir.open(tmp_path / "short", "x", {"span": span}) for span in ((1, 8), (1, 9))]


def test_what_an_older_version_wrote_may_mean_the_same_today(tmp_path):
    call = {"out": tmp_path, "kind": "pictures", "migrate_config": lambda there: {"low": 0.0, **there}}
    RunDir.open(**call, config={"cfg": 5.0})
    assert not RunDir.open(**call, config={"cfg": 5.0, "low": 0.0}).is_done
    with pytest.raises(UsageError, match=r"config\.low is 0\.0 there and 0\.1 here"):
        RunDir.open(**call, config={"cfg": 5.0, "low": 0.1})


@pytest.mark.parametrize("lost", ["config", "parents", "seed"])
def test_a_manifest_that_lacks_something_is_damaged(tmp_path, lost):
    RunDir.open(tmp_path, **CALL)
    manifest = run_dir.read_manifest(tmp_path)
    del manifest[lost]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(EmosceneError, match=r"manifest\.json is damaged: make the folder again"):
        RunDir.open(tmp_path, **CALL)


def test_someones_files_are_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="did not make"):
        RunDir.open(tmp_path, **CALL)
    with pytest.raises(UsageError, match="is a file"):
        RunDir.open(tmp_path / "thesis.txt", **CALL)
    assert contents(tmp_path) == {"thesis.txt": b"mine"}


def test_parents_travel_with_their_children(tmp_path):
    parent = RunDir.open(tmp_path / "parent", **CALL)
    run_dir.write_atomic(parent.path / "part", b"x")
    parent.finish()
    child = {"out": tmp_path / "child", "kind": "pictures", "config": {}, "parents": [parent.path]}
    RunDir.open(**child)
    assert run_dir.read_manifest(tmp_path / "child")["parents"] == [run_dir.read_manifest(parent.path)]
    run_dir.write_atomic(parent.path / "part", b"y")
    parent.finish()
    with pytest.raises(UsageError, match="parents"):
        RunDir.open(**child)


def test_reading_what_is_no_stage(tmp_path):
    with pytest.raises(UsageError, match="is not there: give a folder that `emoscene prepare` wrote"):
        run_dir.read_manifest(tmp_path / "nowhere", "prepared")
    with pytest.raises(UsageError, match=r"has no manifest\.json: give a folder that emoscene wrote"):
        run_dir.read_manifest(tmp_path)
    RunDir.open(tmp_path, **CALL)
    with pytest.raises(
        UsageError, match="artifact, and pictures is wanted: give a folder that `emoscene generate` wrote"
    ):
        run_dir.read_manifest(tmp_path, "pictures")
    with pytest.raises(UsageError, match=r"manifest\.json is a file: give a folder that `emoscene evaluate` wrote"):
        run_dir.read_manifest(tmp_path / "manifest.json", "scores")
    (tmp_path / "manifest.json").write_text('{"kind": "arti')
    with pytest.raises(EmosceneError, match="damaged"):
        run_dir.read_manifest(tmp_path)


def test_a_write_is_whole_or_not_at_all(tmp_path):
    run_dir.write_atomic(tmp_path / "part", b"old")

    def torn(path):
        path.write_bytes(b"ne")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_dir.write_atomic(tmp_path / "part", torn)
    assert contents(tmp_path) == {"part": b"old"}


def test_a_folder_is_written_whole_too(tmp_path):
    def pour(path):
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "part").write_text("x")

    run_dir.write_atomic(tmp_path / "step-1", pour)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert (tmp_path / "step-1" / "deep" / "part").read_text() == "x"


def test_leftovers_neither_count_nor_stay(tmp_path):
    made = RunDir.open(tmp_path, **CALL)
    before = run_dir.fingerprint_folder(tmp_path)
    (tmp_path / f"{run_dir.TEMPORARY_PREFIX}99-folder").mkdir()
    (tmp_path / f"{run_dir.TEMPORARY_PREFIX}99-folder" / "part").write_text("x")
    (tmp_path / f"{run_dir.TEMPORARY_PREFIX}99-part").write_text("x")
    assert run_dir.fingerprint_folder(tmp_path) == before
    made.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_full_disk_is_told_with_its_path_and_size(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EmosceneError, match=r"part: 1 bytes to write and [\d,]+ bytes free"):
        run_dir.write_atomic(tmp_path / "part", b"x")
    assert not contents(tmp_path)
    run_dir.write_atomic(tmp_path / "part", b"x", flush=False)  # nobody waits for the disk
    assert contents(tmp_path) == {"part": b"x"}


def test_a_full_disk_is_known_by_its_words_too(tmp_path):
    def pour(path):
        path.write_bytes(b"x")
        raise RuntimeError("IoError: No space left on device")  # as safetensors says it

    with pytest.raises(EmosceneError, match="the disk is full at"):
        run_dir.write_atomic(tmp_path / "part", pour)
    assert not contents(tmp_path)


def test_a_fingerprint_tells_of_contents_and_names_alone(tmp_path):
    (tmp_path / "a").write_text("x")
    first = run_dir.fingerprint_folder(tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "history.jsonl").write_text("{}")
    for passing in ("logs", "checkpoints"):
        (tmp_path / passing).mkdir()
        (tmp_path / passing / "part").write_text("x")
    assert run_dir.fingerprint_folder(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert run_dir.fingerprint_folder(tmp_path) != first


def test_rows_come_back_and_a_torn_one_is_cut_off(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert list(run_dir.read_jsonl(path)) == []
    run_dir.append_row(path, {"n": 1, "text": "é\n"})
    with path.open("ab") as file:
        file.write(b'{"n": 2, "te')
    assert [row["n"] for row in run_dir.read_jsonl(path)] == [1]
    run_dir.append_row(path, {"n": 3})
    assert [row["n"] for row in run_dir.read_jsonl(path)] == [1, 3]


def test_a_damaged_row_in_the_middle_is_told(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(EmosceneError, match=r"rows\.jsonl:2"):
        list(run_dir.read_jsonl(path))
    path.write_text('{"n": 1}\n[2]\n')
    with pytest.raises(EmosceneError, match=r"rows\.jsonl:2 is damaged \(it is no table\)"):
        list(run_dir.read_jsonl(path))


def test_shares_are_a_partition():
    shares = [processes.shard(range(11), rank, 4) for rank in range(4)]
    assert sorted(chain.from_iterable(shares)) == list(range(11))
    assert max(map(len, shares)) - min(map(len, shares)) == 1


def test_a_process_killed_while_writing_leaves_a_stage_that_goes_on(tmp_path):
    script = f"""
from emoscene.core import run_dir
made = run_dir.RunDir.open({str(tmp_path / "out")!r}, "artifact", {{}})
for number in range(10**6):
    run_dir.write_atomic(made.path / f"{{number % 7}}.bin", bytes([number % 251]) * 100_000)
    run_dir.append_row(made.path / "rows.jsonl", {{"number": number}})
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 20
    while not (tmp_path / "out" / "rows.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    process.kill()
    process.wait()
    made = RunDir.open(tmp_path / "out", "artifact", {})
    parts = [path.read_bytes() for path in made.path.glob("[0-9].bin")]
    assert parts
    assert all(len(part) == 100_000 and len(set(part)) == 1 for part in parts)
    numbers = [row["number"] for row in run_dir.read_jsonl(made.path / "rows.jsonl")]
    assert numbers == list(range(len(numbers)))
    made.finish()
    assert json.loads((made.path / "manifest.json").read_text())["state"] == "done"


def test_a_name_that_no_folder_can_have_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be the name of a folder"):
        run_dir.RunDir.open(f"{tmp_path}/a\0b", "scores", {})


@pytest.mark.posix
def test_nothing_is_written_through_a_link_in_a_run_folder_and_the_folder_itself_may_be_one(tmp_path):
    disk, run = tmp_path / "disk", tmp_path / "run"
    disk.mkdir()
    run.symlink_to(disk)
    opened = RunDir.open(run, **CALL)
    with opened.hold():
        run_dir.write_atomic(run / "part.bin", b"part")
    assert (disk / "part.bin").read_bytes() == b"part"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (disk / "pictures").symlink_to(elsewhere)
    told = r"run/pictures is a link that leads out of its folder.*make .*run itself the link"
    with pytest.raises(EmosceneError, match=told), opened.hold():
        pass
    (disk / "pictures").unlink()
    (disk / "inside").mkdir()
    (disk / "pictures").symlink_to(disk / "inside")
    with opened.hold():
        opened.finish()
    assert RunDir.open(run, **CALL).is_done

    (disk / "inside").rename(elsewhere / "inside")
    (disk / "pictures").unlink()
    (disk / "pictures").symlink_to(elsewhere / "inside")
    with RunDir.open(run, **CALL).hold():
        pass  # what is done is only read


def test_a_folder_may_be_spelt_in_another_way(tmp_path, monkeypatch):
    """A slash at the end, an absolute path: the same call; another folder, and a base's name, are not."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "others", "mini"):
        (tmp_path / name).mkdir()
    config = {"root": "photos", "judge": ["photos", "inception"], "base": "mini", "clip": ""}
    RunDir.open("run", "prepared", config)
    for root in ("photos/", "./photos", tmp_path / "photos", "others/../photos"):
        same = {**config, "root": root, "judge": [str(root), "inception"]}
        assert RunDir.find("run", "prepared", same) is not None
    for change in ({"root": "others"}, {"root": "gone"}, {"base": "./mini"}, {"judge": ["others/", "inception"]}):
        with pytest.raises(UsageError, match=rf"another call's: config\.{next(iter(change))}"):
            RunDir.find("run", "prepared", {**config, **change})
    with pytest.raises(UsageError, match=r"config\.clip"):
        RunDir.find("run", "prepared", {**config, "clip": "."})


def test_what_is_known_of_a_call_is_enough_to_refuse_it(tmp_path):
    config = {"steps": 3, "weights": {"base": "abc"}}
    run_dir.check_known(tmp_path / "run", "scores", {"steps": 3}, ("weights",))
    RunDir.open(tmp_path / "run", "scores", config)
    run_dir.check_known(tmp_path / "run", "scores", {"steps": 3}, ("weights",))
    for known in ({"steps": 4}, {"steps": 3, "more": 1}, {}):
        with pytest.raises(UsageError, match=r"another call's: config\..*; choose another folder, or call as before"):
            run_dir.check_known(tmp_path / "run", "scores", known, ("weights",))
    with pytest.raises(UsageError, match="it holds scores and not pictures"):
        run_dir.check_known(tmp_path / "run", "pictures", {"steps": 3}, ("weights",))
