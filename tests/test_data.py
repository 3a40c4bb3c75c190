"""Preparing and reading: what is written opens with `datasets`, roles never meet, the same call goes on."""

import json

import datasets
import numpy as np
import pytest
import torch

import tiny
from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import encoding, preparation
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.data.records import Record, pack_arrays, unpack_arrays
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.learning import learner
from emoscene_mini.source import Mini
from emoscene_mini.world import roles
from emoscene_mini.world1.layouts import write_layout
from emoscene_mini.world1.render_pool import render_image, render_images

LOADED = {
    "brightness": 11,
    "colorfulness": 11,
    "scene": 254,
    "object": 409,
    "facial_expression": 6,
    "human_action": 264,
}
"""The attributes that EmoSet's own PyTorch loader looks up by `label2idx[str(value)]`, and its numbers of classes."""
COLUMNS = [
    "id",
    "file",
    "emotion",
    "weights",
    "votes",
    "caption",
    "caption_long",
    "scene",
    "role",
    "latent",
    "shape",
    "mirrored",
    "vector",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def prepared(base, tmp_path_factory):
    return prepare("mini", out=tmp_path_factory.mktemp("data") / "prepared", limit=40, base=base, workers=0)


def test_a_prepared_folder_opens_with_datasets(prepared):
    opened = datasets.load_from_disk(str(prepared))
    assert opened.column_names == COLUMNS
    assert opened.features["emotion"].names == list(EMOTIONS)
    row = opened[0]
    assert np.frombuffer(row["latent"], np.float16).size == np.prod(row["shape"]) == 4 * 8 * 8
    assert open_image(prepared / row["file"]).size == (64, 64)
    assert json.loads((prepared / "manifest.json").read_text())["state"] == "done"


def test_latents_may_be_encoded_in_half_precision(prepared, base, tmp_path):
    call = {"limit": 4, "base": base, "workers": 0, "on_message": str}
    half = prepare("mini", out=tmp_path / "half", dtype="bfloat16", **call)
    whole = prepare("mini", out=tmp_path / "whole", **call)
    one, other = (PreparedDataset(folder).column("latent") for folder in (half, whole))
    assert not torch.equal(one, other)
    assert (one - other).abs().max() < 0.05 * other.abs().max()
    marks = [run_dir.read_manifest(folder)["config"].get("dtype") for folder in (half, whole)]
    assert marks == ["bfloat16", None]
    with pytest.raises(UsageError, match="no dtype 'half'"):
        prepare("mini", out=tmp_path / "off", dtype="half", **call)


def test_rows_are_what_was_prepared(prepared, base):
    data = PreparedDataset(prepared)
    rows = data.read([5, 0, 5], ["latent", "weights", "emotion", "caption", "caption_long", "id", "image"])
    assert rows["latent"].shape == (3, 4, 8, 8)
    assert rows["latent"].dtype == rows["weights"].dtype == rows["image"].dtype == torch.float32
    assert torch.equal(rows["latent"][0], rows["latent"][2])
    seed = int(rows["id"][1].removeprefix("mini-"))
    made = render_image({"seed": seed}, 64)
    assert (rows["caption"][1], rows["caption_long"][1]) == (made.short, made.long)
    pixels = ((rows["image"][1] + 1) * 127.5).round().byte().permute(1, 2, 0)
    assert np.array_equal(pixels.numpy(), made.pixels)
    backbone = preparation.DiffusionModel.load(base)
    again = backbone.encode_images(rows["image"][1:2])
    assert torch.allclose(again[0], rows["latent"][1], atol=0.01)


def test_votes_that_nobody_gave_are_zero(prepared):
    assert not PreparedDataset(prepared).read(range(40), ["votes"])["votes"].any()


def test_emotions_and_weights_agree(prepared):
    rows = PreparedDataset(prepared).read(range(40), ["weights", "emotion"])
    for weights, emotion in zip(rows["weights"], rows["emotion"], strict=True):
        assert emotion == (int(weights.argmax()) if weights.any() else -1)


def test_each_role_has_its_own_pictures(prepared):
    whole, counts = len(PreparedDataset(prepared)), {}
    for role in ("methods", "selector", "judges", "heldout"):
        data = PreparedDataset(prepared, role)
        counts[role] = len(data)
        assert set(data.column("role")) == {role}
        assert {roles.role_of_seed(int(name.removeprefix("mini-"))) for name in data.column("id")} == {role}
    assert sum(counts.values()) == whole == 40
    with pytest.raises(UsageError, match="no images for anyone"):
        PreparedDataset(prepared, "anyone")
    with pytest.raises(UsageError, match="did you mean 'latent'"):
        PreparedDataset(prepared).read([0], ["latnt"])


def test_the_same_call_goes_on_and_another_is_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD", 8)
    monkeypatch.setattr(encoding, "BATCH", 4)
    whole = prepare("mini", out=tmp_path / "whole", limit=20, base=base, workers=0)
    kept = Mini.read_images

    def torn(self, numbers):
        yield from list(kept(self, numbers[:11]))
        raise KeyboardInterrupt

    monkeypatch.setattr(Mini, "read_images", torn)
    with pytest.raises(KeyboardInterrupt):
        prepare("mini", out=tmp_path / "part", limit=20, base=base, workers=0)
    with pytest.raises(UsageError, match="not finished"):
        PreparedDataset(tmp_path / "part")
    asked = []
    monkeypatch.setattr(Mini, "read_images", lambda self, numbers: asked.extend(numbers) or kept(self, numbers))
    said = []
    part = prepare("mini", out=tmp_path / "part", limit=20, base=base, workers=0, on_message=said.append)
    assert asked == list(range(8, 20))
    assert [line for line in said if line.startswith("preparing on ")] == [
        "preparing on cpu in float32 (no accelerator is found here)"
    ]
    for column in ("id", "latent", "caption"):
        one, other = PreparedDataset(whole).column(column), PreparedDataset(part).column(column)
        assert torch.equal(one, other) if column == "latent" else one == other
    with pytest.raises(UsageError, match="limit is 20 there and 21 here"):
        prepare("mini", out=part, limit=21, base=base)


def test_someones_folder_is_not_touched(base, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="did not make"):
        prepare("mini", out=tmp_path, limit=4, base=base)
    with pytest.raises(UsageError, match="did not make"):
        write_layout("emoset", 4, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_vectors_are_emotion_clips_own(prepared, base, tmp_path):
    torch.manual_seed(0)
    small = {"side": 32, "patch": 16, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "vector": 16}
    clip = EmotionCLIP.from_scratch(
        configs.replace_fields(EmotionCLIP.Config(), small), preparation.DiffusionModel.load(base)
    )
    (tmp_path / "clip").mkdir()
    learner.save_learner(clip, "emotion_clip", tmp_path / "clip", None)
    call = {"limit": 40, "base": base, "workers": 0}
    folder = prepare("mini", out=tmp_path / "prepared", emotion_clip=str(tmp_path / "clip"), **call)
    data = PreparedDataset(folder, "methods")
    rows = data.read([4, 0], ["vector", "image"])
    with torch.no_grad():
        vectors = clip.eval().encode(rows["image"])[1]
    assert rows["vector"].shape == (2, 16)
    torch.testing.assert_close(rows["vector"], vectors, atol=2e-3, rtol=0)
    torch.testing.assert_close(data.column("vector").norm(dim=1), torch.ones(len(data)))
    assert data.emotion_clip == run_dir.fingerprint_folder(tmp_path / "clip") in (folder / "manifest.json").read_text()
    assert PreparedDataset(prepared).column("latent").equal(PreparedDataset(folder).column("latent"))
    with pytest.raises(UsageError, match=r"no EmotionCLIP vectors.*emotion_clip="):
        PreparedDataset(prepared).column("vector")
    with pytest.raises(UsageError, match=r"another call's: config\.emotion_clip"):
        prepare("mini", out=folder, **call)


def test_another_encoder_gives_no_vectors(base, tmp_path):
    learner.save_learner(Judge.from_scratch(Judge.Config(width=16, layers=1, heads=1), None), "judge", tmp_path, None)
    with pytest.raises(UsageError, match="is no EmotionCLIP"):
        prepare("mini", out=tmp_path / "prepared", limit=4, base=base, workers=0, emotion_clip=str(tmp_path))


def test_records_are_checked():
    with pytest.raises(EmosceneError, match="is no id"):
        Record(id="../x")
    with pytest.raises(EmosceneError, match="role"):
        Record(id="x", role="nobody")
    latents = np.random.default_rng(0).normal(size=(3, 4, 2, 2)).astype(np.float32)
    parts = pack_arrays(latents)
    assert np.allclose(unpack_arrays([latent for latent, _ in parts], parts[0][1]), latents, atol=2e-3)


def test_workers_print_the_same_pictures_in_order():
    orders = [{"seed": seed} for seed in range(6)]
    alone, together = list(render_images(orders, 32, 0)), list(render_images(iter(orders), 32, 2))
    assert [one.plan for one in alone] == [one.plan for one in together]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(alone, together, strict=True))
    with pytest.raises(UsageError, match="no scene 'moon'"):
        list(render_images([{"seed": 0, "scene": "moon"}], 32, 1))


@pytest.mark.slow
def test_the_world_in_emosets_layout(tmp_path):
    root = write_layout("emoset", 80, 3, tmp_path / "world", size=32, workers=0)
    info = json.loads((root / "info.json").read_text())
    assert list(info) == [
        *("emotion", "brightness", "colorfulness", "scene", "object", "facial_expression", "human_action"),
    ]
    assert [info["emotion"]["idx2label"][str(n)] for n in range(8)] == list(EMOTIONS)
    rows = [row for split in ("train", "val", "test") for row in json.loads((root / f"{split}.json").read_text())]
    assert len(rows) == 80 == len({row[1] for row in rows})
    for emotion, id, picture, annotation in rows:
        about = json.loads((root / annotation).read_text())
        assert (about["emotion"], about["image_id"]) == (emotion, id)
        assert picture == f"image/{emotion}/{id}.jpg"
        assert (root / picture).read_bytes().startswith(b"\xff\xd8")
        for key in LOADED.keys() - {"object"}:
            assert key not in about or str(about[key]) in info[key]["label2idx"]
        assert set(about.get("object", ())) <= set(info["object"]["label2idx"])
    for key, most in LOADED.items():
        labels = info[key]["label2idx"]
        assert sorted(labels.values()) == list(range(len(labels))) and len(labels) <= most
        assert {place: str(name) for place, name in info[key]["idx2label"].items()} == {
            str(n): name for name, n in labels.items()
        }


def test_the_world_in_raf_dbs_layout(tmp_path):
    root = write_layout("raf-db", 40, 3, tmp_path / "faces")
    rows = [line.split() for line in (root / "basic/EmoLabel/list_patition_label.txt").read_text().splitlines()]
    assert len(rows) == 40
    assert {int(label) for _, label in rows} == set(range(1, 8))
    assert {name.split("_")[0] for name, _ in rows} == {"train", "test"}
    for name, _ in rows:
        path = root / "basic/Image/aligned" / name.replace(".jpg", "_aligned.jpg")
        assert open_image(path).size == (100, 100)


def test_the_world_as_an_imagefolder(tmp_path):
    root = write_layout("imagefolder", 16, 3, tmp_path / "world", size=32, workers=0)
    rows = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == set(EMOTIONS)
    opened = datasets.load_dataset("imagefolder", data_dir=str(root), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(opened) == 16
    assert set(opened.column_names) == {"image", "label", "caption", "caption_long", "scene"}
    with pytest.raises(UsageError, match="did you mean 'emoset'"):
        write_layout("emosets", 1, 0, tmp_path / "other")
