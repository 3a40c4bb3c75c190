"""What may be asked of a prepared set beside its pictures: shapes, mirrored latents, captions that fit."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emoscene.core import config as configs
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.aspect_buckets import bucket_sizes, crop_to_bucket
from emoscene.data.caption_filter import CaptionFilter
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.emotion_clip import EmotionCLIP, load_text_clip
from emoscene.learning.learner import load_learner, save_learner
from emoscene.training.callbacks import image_losses, mean_losses
from emoscene.training.train import train

SIZES = [(90, 60)] * 20 + [(60, 96)] * 9 + [(64, 70)] * 11


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Pictures of many sizes with captions, all in one folder."""
    root = tmp_path_factory.mktemp("raw")
    rows = []
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 9, 3), np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(root / f"{number:02}.png")
        rows.append(
            {"file_name": f"{number:02}.png", "label": EMOTIONS[number % 8], "caption": f"{'ab' * (number + 1)}"}
        )
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def shaped(raw, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "shaped"
    share = "methods:0.7,selector:0.3"
    return prepare("imagefolder", root=raw, out=out, base=base, split=share, workers=0, buckets=True, flips=True)


def test_shapes_have_about_the_square_s_area():
    assert bucket_sizes(64, 16) == ((64, 64), (80, 48), (48, 80))
    for side, unit in ((128, 32), (512, 64), (1024, 64)):
        found = bucket_sizes(side, unit)
        assert found[0] == (side, side) and len(set(found)) == len(found) >= 3
        assert all(abs(wide * high / side**2 - 1) < 0.1 and not wide % unit and not high % unit for wide, high in found)
        assert {(high, wide) for wide, high in found} == set(found)


def test_a_picture_is_cut_to_the_nearest_shape():
    picture = Image.new("RGB", (200, 100), "black")
    picture.paste("white", (16, 0, 184, 100))
    wide = crop_to_bucket(picture, bucket_sizes(64, 16))
    assert wide.size == (80, 48)
    assert np.asarray(wide)[1:-1, 1:-1].min() > 250
    assert crop_to_bucket(picture.rotate(90, expand=True), bucket_sizes(64, 16)).size == (48, 80)
    assert crop_to_bucket(picture, ((64, 64),)).size == (64, 64)


def test_rows_of_a_shape_go_together(shaped, base):
    data = PreparedDataset(shaped)
    assert Counter(tuple(shape) for shape in data.column("shape")) == {(4, 6, 10): 20, (4, 10, 6): 9, (4, 8, 8): 11}
    assert sorted(map(len, data.rows_by_shape)) == [9, 11, 20]
    assert sorted(row for rows in data.rows_by_shape for row in rows) == list(range(40))
    with pytest.raises(UsageError, match="latents of several shapes"):
        data.read(range(40), ["latent"])
    backbone = DiffusionModel.load(base)
    for rows in data.rows_by_shape:
        some = data.read(rows[:2], ["latent", "file", "shape"], [False, True])
        pixels = np.stack([np.asarray(Image.open(shaped / file)) for file in some["file"]])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        assert list(images.shape[2:]) == [8 * side for side in some["shape"][0][1:]]
        images[1] = images[1].flip(-1)
        torch.testing.assert_close(backbone.encode_images(images), some["latent"], atol=0.01, rtol=0.01)
    assert data.column("image").shape == (40, 3, 64, 64)
    manifest = json.loads((shaped / "manifest.json").read_text())
    assert manifest["shapes"] == {"80x48": 20, "64x64": 11, "48x80": 9} and manifest["flips"]
    assert "80x48 pixels (20)" in (shaped / "README.md").read_text()


def losses_by_shape(learner, data):
    """The loss of all images of each shape, at noise and timesteps that are always the same."""
    learner.eval()
    return np.array(
        [mean_losses(*image_losses(learner, data, rows, torch.device("cpu")))["all"] for rows in data.rows_by_shape]
    )


@pytest.mark.parametrize(
    ("name", "steps", "mean", "worst"),
    [("lora", 40, 0.7, 0.7), pytest.param("guidance", 120, 0.9, 1.1, marks=pytest.mark.slow)],
)
def test_methods_learn_from_several_shapes(shaped, base, tmp_path, name, steps, mean, worst):
    """What is left of the loss on the images of each shape, of what a learner loses that is new.

    The classifier of guidance begins at chance, ln 8, and at late timesteps there is nothing to see: a shape of few
    images may gain nothing, but the mean falls.
    """
    backbone, data = DiffusionModel.load(base), PreparedDataset(shaped, "methods")
    kind = registry.load_plugin("methods", name)
    torch.manual_seed(0)
    before = losses_by_shape(kind.from_scratch(kind.Config(), backbone, data), data)
    how = {"steps": steps, "batch_size": 4, "lr": 1e-2, "precision": "fp32", "validation_images": 0}
    out = train(name, data=shaped, out=tmp_path / "run", base=base, on_message=str, **how)
    left = losses_by_shape(load_learner("methods", out, backbone), data) / before
    assert len(left) == 3
    assert left.mean() < mean, left
    assert left.max() < worst, left


@pytest.fixture(scope="module")
def clip(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    small = {"side": 32, "patch": 16, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "vector": 16}
    save_learner(
        EmotionCLIP.from_scratch(configs.replace_fields(EmotionCLIP.Config(), small), DiffusionModel.load(base)),
        "emotion_clip",
        folder,
        None,
    )
    return folder


def test_captions_that_fit_least_are_dropped(raw, base, clip, tmp_path):
    call = {"root": raw, "base": base, "workers": 0, "split": "methods:0.75,heldout:0.25", "emotion_clip": str(clip)}
    whole = PreparedDataset(prepare("imagefolder", out=tmp_path / "whole", **call))
    out = prepare("imagefolder", out=tmp_path / "some", **call, misfits=0.2)
    data = PreparedDataset(out)
    words = {
        id: (role, caption)
        for id, role, caption in zip(*(whole.column(c) for c in ("id", "role", "caption")), strict=True)
    }
    learnt = [id for id, (role, _) in words.items() if role != "heldout"]
    gone = [json.loads(line) for line in (out / "misfits/00000.jsonl").read_text().splitlines()]
    assert len(gone) == int(0.2 * len(learnt)) == 40 - len(data) >= 5
    assert {row["id"] for row in gone} == set(learnt) - set(data.column("id"))
    reader = EmotionCLIP.from_scratch(EmotionCLIP.Config(begun=str(clip)), None).eval()
    with torch.no_grad():
        seen = reader.encode(whole.column("image"))[1]
        told = reader.encode_texts([caption for _, caption in words.values()])
    fits = dict(zip(words, (seen * told).sum(1).tolist(), strict=True))
    assert sorted(learnt, key=fits.get)[: len(gone)] == [row["id"] for row in gone]
    assert all(abs(fits[row["id"]] - row["fit"]) < 1e-3 and row["caption"] == words[row["id"]][1] for row in gone)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["captions"] == {"own": 40, "dropped": len(gone)} and manifest["pictures"] == len(data)
    assert f"- captions: own 40, dropped {len(gone)}" in (out / "README.md").read_text()
    assert len(list((out / "pictures").rglob("*.png"))) == len(data)
    with pytest.raises(UsageError, match="misfits= needs a CLIP"):
        prepare("imagefolder", out=tmp_path / "none", **call | {"emotion_clip": ""}, misfits=0.2)


def test_captions_go_where_the_clip_is(clip, monkeypatch):
    """The device `meta`, which has shapes and no numbers, stands in for a GPU."""
    fitting, places, ones = CaptionFilter(load_text_clip(clip, "meta"), 0.2), [], torch.ones(2, 4)
    monkeypatch.setattr(EmotionCLIP, "encode", lambda self, images: (None, ones))
    monkeypatch.setattr(EmotionCLIP, "_encode_tokens", lambda self, ids: places.append(ids.device.type) or ones)
    assert fitting.score(torch.zeros(2, 3, 32, 32), ["a dog", "a cat"]) == pytest.approx([1, 1])
    assert places == ["meta"]
