"""The judge: it learns, it is an ordinary image classifier, and a picture's blemishes come from its own dice."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

import tiny
from emoscene.core import config as configs
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.encoders.base import to_tensor
from emoscene.encoders.judge import Judge, augment
from emoscene.evaluation.judges import load_judge
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch
from emoscene.training import loop, state
from emoscene_mini import judges

SMALL = {"side": 32, "patch": 8, "width": 32, "layers": 2, "heads": 2}


def small(**settings):
    return configs.replace_fields(Judge.Config(), SMALL | settings)


class Shades:
    """Pictures whose colour is their emotion and whose light, from above or below, is their scene."""

    def __len__(self):
        return 64

    def column(self, column):
        return self.read(range(64), [column])[column]

    def read(self, indices, columns):
        colours = torch.linspace(-1, 1, 8)
        shades = torch.stack([colours, colours.flip(0), colours.roll(3)], 1)
        light = torch.linspace(-0.5, 0.5, 32)[:, None].expand(32, 32)
        pictures, weights, scenes, objects = [], [], [], []
        for index in indices:
            noise = 0.1 * torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(index))
            picture = 0.5 * shades[index % 8][:, None, None] + noise + light * (1 - 2 * (index // 8 % 2))
            pictures.append(picture.clamp(-1, 1))
            weights.append(torch.eye(8)[index % 8] if index % 16 else torch.zeros(8))
            scenes.append(("up", "down")[index // 8 % 2])
            objects.append(("lamp", "shade", "")[index // 8 % 3])
        found = {"image": torch.stack(pictures), "weights": torch.stack(weights), "scene": scenes, "object": objects}
        return {column: found[column] for column in columns}


def batch(slots=range(16), step=0):
    return Batch(Shades().read(list(slots), Judge.columns), 0, step, list(slots))


@pytest.mark.parametrize("target", ["emotion", "scene"])
def test_a_judge_learns(target, tmp_path):
    torch.manual_seed(0)
    settings = state.Config(steps=60, batch_size=32, lr=3e-3, ema_decay=0, precision="fp32", checkpoint_every=1000)
    judge = loop.run_training(Judge.from_scratch(small(target=target), None, Shades()), Shades(), settings, tmp_path)
    assert judge.labels == (EMOTIONS if target == "emotion" else ("down", "up"))
    with torch.no_grad():
        answers = judge.encode(Shades().read(range(64), ["image"])["image"])[0].argmax(1)
    truth = torch.arange(64) % 8 if target == "emotion" else 1 - torch.arange(64) // 8 % 2
    assert (answers == truth).float().mean() > 0.9


def test_it_is_an_ordinary_image_classifier(tmp_path):
    torch.manual_seed(0)
    judge = Judge.from_scratch(small(), None)
    learners.save_learner(judge, "judge", tmp_path, None, cost={})
    plain = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert [plain.config.id2label[number] for number in range(8)] == list(EMOTIONS)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    seen = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(picture, return_tensors="pt")
    again = learners.load_learner("encoders", tmp_path, None)
    reading = again.read([picture])
    with torch.no_grad():
        assert torch.allclose(torch.tensor(reading.probabilities), plain(**seen).logits.softmax(1), atol=1e-5)
        assert torch.allclose(
            judge.eval().encode(to_tensor([picture]))[0], torch.tensor(reading.probabilities), atol=1e-6
        )
    assert reading.features.shape == (1, 32)
    assert json.loads((tmp_path / "learner.json").read_text())["emotions"] == list(EMOTIONS)


def test_a_picture_without_a_label_counts_nothing():
    torch.manual_seed(0)
    judge = Judge.from_scratch(small(), None)
    losses = judge.compute_loss(batch())
    assert losses.shape == (16,)
    assert losses[0] == 0
    assert (losses[1:] > 0).all()


def test_blemishes_belong_to_the_sample():
    whole = augment(batch()["image"], batch())
    some = Batch(Shades().read([3, 9], Judge.columns), 0, 0, [3, 9])
    assert torch.equal(augment(some["image"], some), whole[[3, 9]])
    other = batch(step=1)
    assert not torch.equal(augment(other["image"], other), whole)
    assert whole.abs().max() <= 1


def test_any_size_is_read():
    torch.manual_seed(0)
    judge = Judge.from_scratch(small(), None).eval()
    sizes = [Image.new("RGB", (48, 80), "red"), Image.new("RGB", (48, 80), "blue")]
    assert judge.read(sizes, batch=1).probabilities.shape == (2, 8)
    assert judge.read([]).probabilities.shape == (0, 8)


def test_a_judge_of_objects_learns_nothing_of_an_image_without_one():
    torch.manual_seed(0)
    judge = Judge.from_scratch(small(target="object"), None, Shades())
    assert judge.labels == ("lamp", "shade")
    read = Shades().read(range(24), judge.columns)
    loss = judge.compute_loss(Batch(read, 0, 0, list(range(24))))
    named = torch.tensor([bool(name) for name in read["object"]])
    assert (loss[named] > 0).all()
    assert (loss[~named] == 0).all()
    assert 0 < int(named.sum()) < 24


def test_the_miniatures_judge_of_objects_is_told_faces_and_objects():
    data = judges.JudgeData(Rendered())
    names = data.read(range(40), ["object"])["object"]
    for name, drawn in zip(names, data.plans, strict=True):
        assert name == ("face" if drawn.scene == "portrait" else drawn.object)
    assert {"", "face"} < {*names}
    assert {*names} - {""} <= {*judges.LABELS["object"]}


class Rendered:
    """Forty images of the judges' seeds, known by their seeds alone."""

    notes = tuple({"seed": 40_000_000 + number} for number in range(40))

    def __len__(self):
        return len(self.notes)

    def read(self, indices, columns):
        assert not columns
        return {}


def test_the_miniatures_judges_learn_what_viewers_voted():
    data = judges.JudgeData(Rendered())
    weights = data.read(range(40), ["weights"])["weights"]
    divided = 0
    for row, drawn in zip(weights.tolist(), data.plans, strict=True):
        expected = drawn.votes if drawn.intended else drawn.weights
        assert row == pytest.approx(expected)
        divided += bool(drawn.intended) and 0 < max(row) < 1
    assert divided > 10


@pytest.mark.slow
def test_the_miniatures_judges_are_built_and_resumed(tmp_path):
    settings = state.Config(steps=2, batch_size=4, checkpoint_every=1, ema_decay=0)
    told = []
    words = tiny.make(tmp_path / "base") / "tokenizer"
    call = {
        "pictures": 8,
        "checked": 8,
        "settings": settings,
        "worded": settings,
        "workers": 0,
        "on_message": told.append,
    }
    judges.train_judges(tmp_path / "work", tmp_path / "out", words, **call)
    for target in judges.TARGETS:
        about = json.loads((tmp_path / "out" / f"judge-{target}/learner.json").read_text())
        assert about["config"]["target"] == target
        assert 0 <= about["accuracy"] <= 1
    second = tmp_path / "out/judge-clip"
    about = json.loads((second / "learner.json").read_text())
    assert (about["learner"], about["config"]["role"], about["config"]["tokenizer"]) == ("emotion_clip", "judges", "")
    assert (second / "model.safetensors").stat().st_size < 4e6
    judge = load_judge(second)
    assert judge.target == "emotion"
    assert judge.read([Image.new("RGB", (128, 128), "red")]).probabilities.sum() == pytest.approx(1)
    told.clear()
    judges.train_judges(tmp_path / "work", tmp_path / "out", words, **call)
    assert not any("loss" in line for line in told)


def test_a_judge_of_emotions_has_no_other_labels():
    with pytest.raises(UsageError, match="has the labels amusement, awe"):
        Judge.from_scratch(small(labels=("<b>awe</b>", *EMOTIONS[1:])), None)
    with pytest.raises(UsageError, match="in this order"):
        Judge.from_scratch(small(labels=tuple(sorted(EMOTIONS))), None)
