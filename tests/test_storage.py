"""`emoscene ls runs|cache` and `emoscene clean`: what takes room, and what goes and what never does."""

import json
import sys

import pytest
from huggingface_hub import constants

import emoscene
from emoscene.cli import main, storage
from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError
from emoscene.core.folder_lock import lock_folder

MODEL = "openai/clip-vit-large-patch14"
PINNED = registry.load_table("recipes", "judge_clip_probe")["pretrained"].partition("@")[2]
OLD = "f" * 40


def make_run(folder, done=True, learner="lora"):
    opened = run_dir.RunDir.open(folder, "artifact", {"learner": learner})
    (folder / "model.safetensors").write_bytes(b"w" * 1000)
    if done:
        opened.finish()
    (folder / "checkpoints/step-5").mkdir(parents=True)
    (folder / "checkpoints/step-5/weights.safetensors").write_bytes(b"c" * 2_000_000)
    (folder / f"{run_dir.TEMPORARY_PREFIX}1-x.png").write_bytes(b"half")
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    make_run(root / "a/done")
    make_run(root / "open", done=False, learner="guidance")
    (root / "mine/checkpoints").mkdir(parents=True)
    (root / "mine/checkpoints/dear.bin").write_bytes(b"not ours")
    (root / "mine/manifest.json").write_text('{"name": "somebody else\'s"}')
    return root


def names(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_runs_are_listed_with_their_size_and_state(runs, capsys):
    emoscene.ls("runs", root=runs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(None, 3)[0] + line[line.index("(") :] for line in lines[:2]] == [
        "2.0(lora)",
        "2.0(guidance, not finished)",
    ]
    assert len(lines) == 3
    assert main.main(["ls", "runs", "--root", str(runs), "--json"]) == 0
    (first, second) = json.loads(capsys.readouterr().out)["runs"]
    assert first["bytes"] == sum(path.stat().st_size for path in (runs / "a/done").rglob("*") if path.is_file())
    assert second["about"] == "guidance, not finished"
    with pytest.raises(UsageError, match="is not a folder"):
        emoscene.ls("runs", root=runs / "none")


def test_it_is_dry_where_nobody_says_yes(runs, monkeypatch):
    before, told = names(runs), []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    emoscene.clean("runs", root=runs, on_message=told.append)
    assert names(runs) == before
    assert told[-1] == "nothing was removed: --yes frees 2.0 MB"
    assert len(told) == 3


def test_what_nobody_needs_goes_and_all_else_stays(runs):
    told = []
    emoscene.clean("runs", root=runs, yes=True, on_message=told.append)
    assert names(runs / "a/done") == {"manifest.json", "model.safetensors"}
    assert "checkpoints/step-5/weights.safetensors" in names(runs / "open")
    assert names(runs / "mine") == {"checkpoints/dear.bin", "manifest.json"}
    assert told[-1] == "2.0 MB are free"
    emoscene.clean("runs", root=runs, yes=True, unfinished=True, on_message=str)
    assert not (runs / "open/checkpoints").exists()
    told.clear()
    emoscene.clean("runs", root=runs, yes=True, unfinished=True, on_message=told.append)
    assert told == ["there is nothing to free"]


def test_a_run_at_work_keeps_its_checkpoints(runs):
    told = []
    with lock_folder(runs / "open"):
        emoscene.clean("runs", root=runs, yes=True, unfinished=True, on_message=told.append)
        assert (runs / "open/checkpoints/step-5").is_dir()
    assert [line for line in told if "open stays as it is: process" in line]
    emoscene.clean("runs", root=runs, yes=True, unfinished=True, on_message=str)
    assert not (runs / "open/checkpoints").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_no_link_is_followed(runs, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "dear.bin").write_bytes(b"mine")
    done = runs / "a/done"
    storage.shutil.rmtree(done / "checkpoints")
    (done / "checkpoints").symlink_to(outside)
    (done / f"{run_dir.TEMPORARY_PREFIX}2").symlink_to(outside)
    make_run(outside / "run")
    (runs / "linked").symlink_to(outside / "run")
    emoscene.clean("runs", root=runs, yes=True, on_message=str)
    assert (outside / "dear.bin").read_bytes() == b"mine"
    assert (outside / "run/checkpoints/step-5").is_dir()
    assert (done / "checkpoints").is_symlink()
    assert not (done / f"{run_dir.TEMPORARY_PREFIX}2").is_symlink()


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_a_person_is_asked(answer, goes, runs, monkeypatch, capsys):
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdin, "readline", lambda: answer, raising=False)
    emoscene.clean("runs", root=runs, on_message=str)
    assert "remove 2 items, 2.0 MB? [y/N]" in capsys.readouterr().err
    assert (runs / "a/done/checkpoints").exists() != goes


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two revisions of a model that emoscene names, which share a file, and another program's model."""
    root = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    for model, revisions in ((MODEL, (PINNED, OLD)), ("somebody/else", (OLD,))):
        folder = root / f"models--{model.replace('/', '--')}"
        (folder / "blobs").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs/main").write_text(OLD)
        for name, content in (("shared", b"s" * 10), (PINNED, b"p" * 1_000_000), (OLD, b"o" * 3_000_000)):
            (folder / "blobs" / f"blob-{name}").write_bytes(content)
        for revision in revisions:
            snapshot = folder / "snapshots" / revision
            snapshot.mkdir(parents=True)
            (snapshot / "config.json").symlink_to("../../blobs/blob-shared")
            (snapshot / "model.safetensors").symlink_to(f"../../blobs/blob-{revision}")
    (root / f"models--{MODEL.replace('/', '--')}/blobs/x.incomplete").write_bytes(b"i" * 500_000)
    return root


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_of_the_cache_only_emoscenes_own_models_are_listed_and_freed(cache, capsys):
    emoscene.ls("cache")
    out = capsys.readouterr().out
    assert f"({MODEL}, as emoscene uses it)" in out
    assert f"({MODEL}, a revision that emoscene does not name)" in out
    assert "somebody/else" not in out
    told = []
    emoscene.clean("cache", yes=True, on_message=told.append)
    assert told[-1] == "3.5 MB are free"
    mine = cache / f"models--{MODEL.replace('/', '--')}"
    assert {path.name for path in (mine / "blobs").iterdir()} == {"blob-shared", f"blob-{PINNED}"}
    assert [path.name for path in (mine / "snapshots").iterdir()] == [PINNED]
    assert (cache / "models--somebody--else/blobs" / f"blob-{OLD}").is_file()


@pytest.mark.parametrize("line", [["ls", "cache"], ["clean", "cache"]])
def test_a_cache_that_is_a_file_is_one_sentence(line, tmp_path, monkeypatch, capsys):
    (tmp_path / "hub").write_text("no folder")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert main.main(line) == 1
    assert "hub is no folder: take it away, or set HF_HOME" in capsys.readouterr().err


def test_where_there_is_no_cache_there_is_nothing_to_free(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "none"))
    told = []
    emoscene.clean("cache", yes=True, on_message=told.append)
    assert told == ["there is nothing to free"]
    with pytest.raises(UsageError, match="did you mean 'runs'"):
        emoscene.clean("run")
