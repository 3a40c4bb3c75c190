"""The verb `train`, from a prepared folder to an artifact that paints."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

import emoscene
import tiny
from emoscene import checkpoints, stage
from emoscene.data.preparation import prepare
from emoscene.errors import Failure, Usage

FEW = {"steps": 4, "batch": 4, "precision": "fp32", "checkpoint_every": 2, "rank": 2}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("mini", out=tmp_path_factory.mktemp("data") / "prepared", limit=24, base=base, workers=0)


def train(data: Path, out: Path, base: str, name: str = "lora", **settings: object) -> Path:
    return emoscene.train(name, data=data, out=out, base=base, tell=lambda text: None, **{**FEW, **settings})


def test_what_it_makes_paints_and_says_where_it_comes_from(data: Path, base: str, tmp_path: Path) -> None:
    out = train(data, tmp_path / "lora", base)
    manifest = stage.read(out, "artifact")
    assert manifest["state"] == "done"
    assert manifest["parents"][0]["fingerprint"] == stage.read(data)["fingerprint"]
    assert manifest["cost"]["pictures"] == 16
    assert not (out / "checkpoints").exists()
    pipe = emoscene.load(base, adapter=out)
    assert pipe.method == "lora"
    assert pipe("a dog", emotion="awe", steps=2).rows[0].adapters == ("lora",)


def test_stopped_and_resumed_it_is_the_same_artifact(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(data, tmp_path / "whole", base)
    real = checkpoints.save

    def stop(folder: Path, step: int, *rest: object, **facts: object) -> Path:
        target = real(folder, step, *rest, **facts)  # type: ignore[arg-type]
        if step == 2:
            raise Failure("pulled the plug")
        return target

    monkeypatch.setattr(checkpoints, "save", stop)
    with pytest.raises(Failure, match="plug"):
        train(data, tmp_path / "parts", base)
    monkeypatch.undo()
    with pytest.raises(Usage, match="--resume"):
        train(data, tmp_path / "parts", base)
    parts = train(data, tmp_path / "parts", base, resume=True)
    assert stage.fingerprint(whole) == stage.fingerprint(parts)


def test_done_is_not_done_again_and_another_call_is_refused(data: Path, base: str, tmp_path: Path) -> None:
    out = train(data, tmp_path / "lora", base)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train(data, out, base) == out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(Usage, match="rank is 2 there and 3 here"):
        train(data, out, base, rank=3)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"name": "lorra"}, "did you mean 'lora'"),
        ({"name": "prompt"}, "nothing to learn"),
        ({"rnk": 3}, "did you mean 'rank'"),
        ({"rank": 0}, "out of range"),
        ({"resume": True}, "nothing to resume"),
    ],
)
def test_words_that_are_off(words: dict[str, object], sentence: str, data: Path, base: str, tmp_path: Path) -> None:
    with pytest.raises(Usage, match=sentence):
        train(data, tmp_path / "out", base, **words)  # type: ignore[arg-type]
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_latents_of_another_autoencoder_are_refused(data: Path, base: str, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "base")
    vae = AutoencoderKL.from_pretrained(str(other / "vae"))
    with torch.no_grad():
        vae.encoder.conv_in.weight.add_(0.1)
    vae.save_pretrained(str(other / "vae"))
    with pytest.raises(Usage, match="another autoencoder"):
        train(data, tmp_path / "out", str(other))
    assert not (tmp_path / "out").exists()
