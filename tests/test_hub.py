"""Models of the hub, by a stand-in on loopback: what is fetched, what goes on, and what each failure says."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import Image

import standin
import tiny
from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import hub
from emoscene.diffusion.base_spec import find_spec
from emoscene.diffusion.model import DiffusionModel
from emoscene.training import train
from standin import COMMIT, NAME

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A base as a hub has it: with a half-precision twin, a pickle and a model card that nobody needs."""
    folder = tiny.make(tmp_path_factory.mktemp("hub") / "model")
    for extra in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "README.md"):
        (folder / extra).write_bytes(b"not wanted")
    return folder


@pytest.fixture
def stand_in(model, tmp_path, monkeypatch):
    """The hub, and an empty cache; waiting between tries takes no time."""
    with standin.serving(model) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", standin.PIECE)  # 10 MB: a tiny model would be one piece
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield server


def test_a_base_comes_from_the_hub_and_only_what_is_read(stand_in, model):
    base = DiffusionModel.load(f"{NAME}@{COMMIT}")
    assert base.fingerprint == DiffusionModel.load(str(model)).fingerprint
    files = {path.relative_to(base.folder).as_posix() for path in base.folder.rglob("*") if path.is_file()}
    assert WEIGHTS in files
    assert all(name.endswith((".json", ".txt", "model.safetensors")) for name in files)
    assert not [name for name in files if name.endswith("fp16.safetensors")]


def test_what_is_pinned_and_cached_asks_no_network(stand_in):
    folder = hub.fetch(NAME, COMMIT)
    stand_in.asked.clear()
    assert hub.fetch(NAME, COMMIT) == folder == hub.resolve_folder(f"{NAME}@{COMMIT}")
    assert stand_in.asked == []


def test_without_a_revision_it_is_the_newest_commit(stand_in):
    assert hub.fetch(NAME).name == COMMIT


def test_a_download_that_broke_off_goes_on_from_its_last_byte(stand_in, model):
    stand_in.broken = 1
    folder = hub.fetch(NAME, COMMIT)
    first, second = stand_in.starts(WEIGHTS)
    half = (model / WEIGHTS).stat().st_size // 2
    assert first == 0
    assert half - standin.PIECE < second <= half
    assert (folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()


def snapshot():
    return Path(constants.HF_HUB_CACHE) / f"models--{NAME.replace('/', '--')}" / "snapshots" / COMMIT


def test_the_same_call_fetches_what_is_missing_and_no_more(stand_in, model):
    stand_in.broken = 99
    with pytest.raises(EmosceneError, match="the same call goes on with what is missing"):
        hub.fetch(NAME, COMMIT)
    whole = {path.relative_to(snapshot()).as_posix() for path in snapshot().rglob("*") if path.is_file()}
    assert whole
    stand_in.asked.clear()
    stand_in.broken = 0
    folder = hub.fetch(NAME, COMMIT)
    assert (folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()
    fetched = {path.partition(f"/resolve/{COMMIT}/")[2] for method, path, _ in stand_in.asked if method == "GET"}
    assert WEIGHTS in fetched
    assert not fetched & whole


@pytest.mark.parametrize(
    ("status", "code", "kind", "sentence"),
    [
        (401, "", UsageError, "the hub shows no model somebody/tiny (401): check the name or, for one that is private"),
        (403, "GatedRepo", UsageError, "run `hf auth login`"),
        (404, "RepoNotFound", UsageError, "the hub shows no model somebody/tiny (404)"),
        (404, "RevisionNotFound", UsageError, f"somebody/tiny has no revision {COMMIT}: write somebody/tiny@"),
        (
            503,
            "",
            EmosceneError,
            "the hub answers 503: the same call goes on with what is missing, and `hf download somebody/",
        ),
    ],
)
def test_each_refusal_is_one_sentence_with_its_remedy(stand_in, status, code, kind, sentence):
    stand_in.status, stand_in.code = status, code
    with pytest.raises(kind) as caught:
        hub.fetch(NAME, COMMIT)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_that_fails_between_two_files(stand_in, monkeypatch):
    answer, count = standin.Handler.file, []

    def failing(self, name, body):
        count.append(name)
        return answer(self, name, body) if len(count) < 4 else self.reply(503)

    monkeypatch.setattr(standin.Handler, "file", failing)
    with pytest.raises(EmosceneError, match="the hub answers 503"):
        hub.fetch(NAME, COMMIT)
    monkeypatch.setattr(standin.Handler, "file", answer)
    assert (hub.fetch(NAME, COMMIT) / WEIGHTS).is_file()


def test_where_the_hub_is_away_the_cache_stands_in_and_that_is_said(stand_in, capsys, monkeypatch):
    folder = hub.fetch(NAME)
    capsys.readouterr()
    stand_in.status = 503
    assert hub.fetch(NAME) == folder
    assert f"{NAME} is taken from the cache, for the hub answers 503" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(NAME) == folder
    assert "for HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_offline_without_a_cache_the_sentence_names_the_command(stand_in, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EmosceneError) as caught:
        DiffusionModel.load("sd15")
    assert "HF_HUB_OFFLINE is set" in str(caught.value)
    assert "`hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --revision 451f4fe" in str(caught.value)
    assert "--include '*model.safetensors'` fetches it where there is a network (--base mini" in str(caught.value)


def test_nobody_there(stand_in, monkeypatch):
    stand_in.shutdown()
    stand_in.server_close()
    with pytest.raises(EmosceneError, match=r"the hub cannot be reached \(ConnectError\)"):
        hub.fetch(NAME, COMMIT)


def test_a_snapshot_with_a_hole_is_not_the_cache(stand_in):
    folder = hub.fetch(NAME, COMMIT)
    (folder / WEIGHTS).unlink()
    assert hub.find_cached(NAME, COMMIT) is None
    assert (hub.fetch(NAME, COMMIT) / WEIGHTS).is_file()


def test_a_model_of_pickles_alone_is_refused(stand_in, tmp_path):
    stand_in.folder = tmp_path / "pickles"
    stand_in.folder.mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        (stand_in.folder / name).write_text("{}")
    with pytest.raises(UsageError, match="has no safetensors, and pickles are not read"):
        hub.fetch(NAME, COMMIT)


def test_a_full_disk_is_told(stand_in, monkeypatch):
    def full(*words, **options):
        if not options.get("local_files_only"):
            raise OSError(errno.ENOSPC, "No space left on device")
        raise hub.LocalEntryNotFoundError("nothing")

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(EmosceneError, match=r"the disk is full at .*: make room, or name another disk with HF_HOME"):
        hub.fetch(NAME, COMMIT)


def test_a_folder_is_itself(tmp_path):
    assert hub.resolve_folder(tmp_path) == tmp_path
    assert hub.resolve_folder("nowhere") == Path("nowhere")


@pytest.mark.slow
def test_the_command_line_by_hf_endpoint(model, tmp_path):
    """A slow hub, a bar, a picture; and the same again with nobody there."""
    with standin.serving(model) as server:
        server.pause = 0.05
        words = {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        line = [sys.executable, "-m", "emoscene", "generate", "a lake", "--base", NAME, "--steps", "1", "--out"]

        def call(out):
            return subprocess.run(
                [*line, out], env={**os.environ, **words}, capture_output=True, text=True, cwd=tmp_path
            )

        first = call("first")
        assert first.returncode == 0, first.stderr
        assert "100%" in first.stderr
    second = call("second")
    assert second.returncode == 0, second.stderr
    assert f"emoscene: {NAME} is taken from the cache, for the hub cannot be reached" in second.stderr
    pictures = [Image.open(next((tmp_path / out).glob("*.png"))) for out in ("first", "second")]
    assert pictures[0].tobytes() == pictures[1].tobytes()
    words["HF_HOME"] = str(tmp_path / "empty")
    third = call("third")
    assert (third.returncode, third.stderr.count("\n")) == (1, 1), third.stderr
    assert "`hf download somebody/tiny --include '*.json'" in third.stderr


def test_a_copy_of_the_miniature_on_the_hub_is_known_once_it_is_here(stand_in):
    stand_in.folder = registry.package_folder("bases", "mini") / "weights/base"
    assert find_spec(NAME).architecture == ""
    base = DiffusionModel.load(NAME)
    assert (base.spec.architecture, base.spec.guidance_scale, base.spec.lexicon) == ("mini", 5.0, "mini")
    assert train.find_recipe("lora", NAME) == train.find_recipe("lora", "mini")


@pytest.mark.parametrize("place", ["./typo", "../typo", "-a/b", "a/b--c", "a/b..c", "a/b.git", "a/" + "b" * 97])
def test_what_the_hub_takes_for_no_id_is_a_path(place):
    assert hub.resolve_folder(place) == Path(place)
