"""LPIPS and Inception's features, whose packages import no torchvision here: what they are handed, what comes of it."""

import json
import sys
from hashlib import sha256
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import emotion_weights
from emoscene.encoders.inception import Inception
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.perceptual import Perceptual


def stand_in(monkeypatch, name, **contents):
    """A module of that name that has these contents."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


class LPIPS(torch.nn.Module):
    """Takes what lpips takes, [-1, 1], and answers in its shape with the mean absolute difference."""

    def __init__(self, net, verbose):
        super().__init__()
        assert net in ("alex", "vgg")
        assert not verbose

    def forward(self, one, other):
        assert one.min() >= -1
        assert one.max() <= 1
        return (one - other).abs().mean((1, 2, 3), keepdim=True)


class Network(torch.nn.Module):
    """Takes what torch-fidelity's Inception takes, bytes, and answers with a tuple of features."""

    def __init__(self, name, layers, feature_extractor_weights_path=None):
        super().__init__()
        assert layers == ["2048"]
        self.weights, self.scale = feature_extractor_weights_path, torch.nn.Parameter(torch.ones(1))

    def forward(self, pixels):
        assert pixels.dtype == torch.uint8
        return (self.scale * pixels.float().mean((2, 3)).repeat(1, 4),)


@pytest.fixture
def packages(monkeypatch):
    stand_in(monkeypatch, "lpips", LPIPS=LPIPS)
    stand_in(monkeypatch, "torch_fidelity")
    stand_in(monkeypatch, "torch_fidelity.feature_extractor_inceptionv3", FeatureExtractorInceptionV3=Network)


def test_lpips_is_handed_whole_pictures_in_its_range(packages):
    black, white = (Image.new("RGB", (64, 48), colour) for colour in ("black", "white"))
    apart = Perceptual.load("alex").distance
    assert apart(black, black) == 0
    assert apart(black, white) == pytest.approx(2)


def test_inception_is_handed_bytes(packages, tmp_path):
    eyes = Inception.from_scratch(Inception.Config(), None)
    read = eyes.read([Image.new("RGB", (32, 32), (0, 100, 255))] * 3)
    assert read.probabilities.shape == (3, 0)
    assert read.features.shape == (3, 12)
    assert read.features[0, :3].tolist() == [0, 100, 255]
    (tmp_path / "own.pth").write_bytes(b"weights")
    assert Inception.from_scratch(Inception.Config(str(tmp_path / "own.pth")), None).model.weights == str(
        tmp_path / "own.pth"
    )
    with pytest.raises(UsageError, match="no weights of Inception in"):
        Inception.from_scratch(Inception.Config(str(tmp_path / "gone.pth")), None)


@pytest.mark.parametrize("asked", [{"features": "inception"}, {"lpips": "alex"}])
def test_without_the_extra_its_command_is_named_and_nothing_written(asked, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with pytest.raises(EmosceneError, match=r"pip install 'emoscene\[perceptual\]'"):
        evaluate(out=tmp_path / "out", images=tmp_path, **asked)
    assert not (tmp_path / "out").exists()


def test_lpips_stands_beside_what_else_is_told_of_edits(packages, tmp_path):
    """An edit that is its picture is 0 apart, and one that is not is not; the figure names its network's package."""
    judges, base = tiny.judges(tmp_path / "judges"), str(tiny.make(tmp_path / "base"))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    picture.save(tmp_path / "was.png")
    (tmp_path / "from").mkdir()
    for seed, made in enumerate((picture, picture.point(lambda value: 255 - value))):
        row = GenerationParams(
            file=f"{seed}.png",
            prompt="a beach",
            emotion=emotion_weights("awe"),
            image=str(tmp_path / "was.png"),
            seed=seed,
            digests={str(tmp_path / "was.png"): sha256((tmp_path / "was.png").read_bytes()).hexdigest()},
        )
        save_image(made, tmp_path / "from" / row.file, row)
    out = evaluate(
        out=tmp_path / "out", images=tmp_path / "from", base=base, judge=judges, lpips="alex", features="inception"
    )
    scores = json.loads((out / "scores.json").read_text())
    gap = np.abs(2 * np.asarray(picture, float) - 255).mean() / 127.5
    assert scores["metrics"]["lpips"]["value"] == pytest.approx(gap / 2, rel=1e-5)
    assert scores["metrics"]["diversity"]["by"] == scores["judged_by"]["inception"] == "inception"
