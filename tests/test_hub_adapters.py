"""Adapters that others publish: `owner/name@COMMIT`, by a stand-in hub on loopback."""

import json
import time

import pytest
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

import emoscene
import standin
import tiny
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.pipeline.adapters import locate_adapter
from standin import COMMIT, NAME

PINNED = f"{NAME}@{COMMIT}"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture
def adapter(base, tmp_path):
    """What somebody published: an adapter, and beside it what nobody needs."""
    folder = tmp_path / "published"
    folder.mkdir()
    model = DiffusionModel.load(base)
    learners.save_learner(tiny.made("inversion", model), "inversion", folder, model)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "run.py").write_text("raise SystemExit")
    return folder


@pytest.fixture
def hub(adapter, tmp_path, monkeypatch):
    with standin.serving(adapter) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield server


def test_it_generates_as_the_same_folder_does_and_the_image_says_whose_it_is(hub, adapter, base):
    call = {"emotion": "awe", "seed": 3, "num_inference_steps": 2}
    here = emoscene.load(base, adapter=adapter)("a dog", **call)
    there = emoscene.load(base, adapter=PINNED)("a dog", **call)
    assert here.images[0].tobytes() == there.images[0].tobytes()
    assert there.params[0].adapters == (PINNED,)
    assert here.params[0].adapters == ("published",)
    files = {path.name for path in locate_adapter(PINNED).iterdir()}
    assert files == {"learner.json", "tokens.safetensors"}
    hub.asked.clear()
    emoscene.load(base, adapter=PINNED)
    assert hub.asked == [], "what is pinned and cached asks no network"


@pytest.mark.parametrize("place", [f"{NAME}@main", f"{NAME}@v1.0", f"{NAME}@0123abc"])
def test_one_that_may_change_is_refused(place, hub, base):
    with pytest.raises(UsageError, match=f"may change from one day to the next: pin it, as {NAME}@ and the 40"):
        emoscene.load(base, adapter=place)
    assert hub.asked == []


def test_one_without_safetensors_is_refused(hub, adapter, base):
    (adapter / "tokens.safetensors").unlink()
    with pytest.raises(UsageError, match="has no safetensors, and pickles are not read"):
        emoscene.load(base, adapter=PINNED)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learner": 3}, "learner is no text"),
        ({"config": None}, "config is no table"),
        ({"base": {"name": "x", "fingerprint": 5, "width": 32}}, "base.fingerprint is no text"),
    ],
)
def test_a_card_that_is_off_is_refused(change, said, hub, adapter, base):
    card = json.loads((adapter / "learner.json").read_text())
    (adapter / "learner.json").write_text(json.dumps(card | change))
    with pytest.raises(EmosceneError, match=said):
        emoscene.load(base, adapter=PINNED)


def test_weights_that_are_not_the_cards_are_refused(hub, adapter, base):
    weights = load_file(adapter / "tokens.safetensors")
    save_file({name: value[:, :1].clone() for name, value in weights.items()}, adapter / "tokens.safetensors")
    with pytest.raises((UsageError, EmosceneError), match="holds other weights than its"):
        emoscene.load(base, adapter=PINNED)


def test_a_path_stays_a_path(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert locate_adapter(tmp_path / "a@b") == tmp_path / "a@b"
    assert str(locate_adapter("runs/lora")) == "runs/lora"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mini:lora", "mini:lora is mini's own adapter: give --method lora in place"),
        ("somebody/adapter", "with its commit, somebody/adapter@COMMIT"),
    ],
)
def test_what_is_no_folder_is_explained_by_its_spelling(place, said, base):
    with pytest.raises(UsageError, match=said):
        emoscene.load(base, adapter=place)


def test_what_export_writes_for_emoscene_is_such_an_adapter(adapter, base, tmp_path):
    out = emoscene.export(adapter, to="emoscene", out=tmp_path / "share", base=base, steps=1, on_message=str)
    assert {"learner.json", "tokens.safetensors", "README.md", "gallery.png"} <= {path.name for path in out.iterdir()}
    assert not (out / "pytorch_model.bin").exists()
    assert emoscene.load(base, adapter=out).method == "inversion"
    text = (out / "README.md").read_text()
    for paper in ("2411.05985", "2602.00032", "2604.13305"):
        assert paper in text
    assert "No figure that emoscene publishes was measured on real photographs" in text
