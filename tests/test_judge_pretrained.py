"""A judge that starts from a published image model: CLIP, DINOv2, ViT, ConvNeXt, tiny and with random weights."""

import json

import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageClassification,
    CLIPConfig,
    CLIPModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTForImageClassification,
)

import emoscene
from emoscene.core import config as configs
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.encoders.judge import Judge
from emoscene.evaluation import evaluate as evaluate_module
from emoscene.evaluation.judges import judge_fingerprints, load_judge
from emoscene.learning import learner as learners
from emoscene.training import loop, state
from test_judge import Shades, batch

PIXELS = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = ["clip", "dinov2", "vit", "convnext"]


def make(kind):
    torch.manual_seed(0)
    if kind == "clip":
        vision = {**SIZES, "image_size": 32, "patch_size": 8, "projection_dim": 16}
        text = {**SIZES, "vocab_size": 64, "projection_dim": 16}
        return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    if kind == "dinov2":  # its own side is another than the one that it is used at, as the published ones have it
        return Dinov2Model(Dinov2Config(**SIZES, image_size=56, patch_size=8))
    if kind == "vit":
        return ViTForImageClassification(ViTConfig(**SIZES, image_size=32, patch_size=8, num_labels=5))
    return ConvNextForImageClassification(
        ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=7)
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    places = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        make(kind).save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS))
        places[kind] = str(folder)
    return places


def begin(place, **settings):
    torch.manual_seed(1)
    return Judge.from_scratch(configs.replace_fields(Judge.Config(), {"pretrained": place, **settings}), None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [True, False])
def test_it_learns_all_of_the_model_or_the_last_layer_alone(kind, frozen, models, tmp_path):
    judge = begin(models[kind], freeze_backbone=frozen)
    trainable = judge.trainable
    heads = {"model.classifier.weight", "model.classifier.bias"}
    assert (set(trainable) == heads) == frozen
    assert judge.lr_multiplier("model.classifier.weight") == (1.0 if frozen else 20.0)
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    settings = state.Config(steps=2, batch_size=4, lr=1e-2, ema_decay=0, precision="fp32", checkpoint_every=9)
    judge = loop.run_training(judge, Shades(), settings, tmp_path / "run")
    moved = {name for name, value in judge.state_dict().items() if not torch.equal(value, before[name])}
    assert heads <= moved
    assert (moved == heads) == frozen
    learners.save_learner(judge, "judge", tmp_path, None)
    again = load_judge(tmp_path)
    images = Shades().read(range(4), ["image"])["image"]
    with torch.no_grad():
        likely, features = judge.encode(images)
        for there, here in zip(again.encode(images), (likely, features), strict=True):
            assert torch.equal(there, here)
    assert likely.shape == (4, 8)
    assert features.shape == (4, 16 if kind == "convnext" else 32)
    assert again.labels == EMOTIONS
    if kind != "clip":
        plain = AutoModelForImageClassification.from_pretrained(tmp_path)
        assert [plain.config.id2label[number] for number in range(8)] == list(EMOTIONS)
        mean, deviation = [torch.tensor(PIXELS[word]).view(3, 1, 1) for word in ("image_mean", "image_std")]
        with torch.no_grad():
            seen = plain((images / 2 + 0.5 - mean) / deviation).logits.softmax(1)
        torch.testing.assert_close(seen, likely, atol=1e-5, rtol=0)


def test_a_probe_of_clip_stands_on_its_image_vectors(models):
    judge = begin(models["clip"], freeze_backbone=True)
    images = Shades().read(range(3), ["image"])["image"]
    clip = CLIPModel.from_pretrained(models["clip"])
    with torch.no_grad():
        vectors = clip.get_image_features(judge.pixels.transform(images)).pooler_output
        head = judge.model.classifier
        expected = (vectors @ head.weight.T + head.bias).softmax(1)
        torch.testing.assert_close(judge.eval().encode(images)[0], expected)


def test_a_samples_loss_is_its_own_while_it_learns(tmp_path):
    """Drop-out of the published model would draw from torch's own stream, and two runs would differ."""
    ViTForImageClassification(ViTConfig(**SIZES, image_size=32, patch_size=8, hidden_dropout_prob=0.5)).save_pretrained(
        tmp_path
    )
    judge = begin(str(tmp_path)).train()
    whole, part = judge.compute_loss(batch(range(8))), judge.compute_loss(batch(range(8)).select(slice(2, 4)))
    torch.testing.assert_close(part, whole[2:4])


def test_what_is_no_image_model_is_refused(models, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="holds no image model"):
        begin(str(tmp_path))
    with pytest.raises(UsageError, match="freeze_backbone=yes is a probe of a published model: give pretrained=MODEL"):
        begin("", freeze_backbone=True)
    for name, value in (("hints", 3), ("width", 64), ("side", 64)):
        with pytest.raises(
            UsageError, match=f"{name} is of a new judge, and this one starts from .*: leave out {name}"
        ):
            begin(models["vit"], **{name: value})


def test_a_strangers_card_leads_nowhere(models, tmp_path):
    """A card without a shape would load whatever it names."""
    learners.save_learner(begin(models["vit"]), "judge", tmp_path, None)
    card = json.loads((tmp_path / "learner.json").read_text())
    card["config"]["shape"] = ""
    (tmp_path / "learner.json").write_text(json.dumps(card))
    with pytest.raises(Exception, match="leads to pretrained="):
        load_judge(tmp_path)


@pytest.fixture
def published(tmp_path):
    """Somebody's classifier, whose labels need an explanation."""
    names = ["joy", "LABEL_1", "neutral", "gloom"]
    config = ViTConfig(**SIZES, image_size=32, patch_size=8, id2label=dict(enumerate(names)))
    torch.manual_seed(2)
    ViTForImageClassification(config).save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def write_map(folder, text):
    file = folder / "labels.toml"
    file.write_text(text)
    return file


def test_a_label_map_says_what_a_classifiers_labels_mean(published, tmp_path):
    file = write_map(tmp_path, '[labels]\nLABEL_1 = "fear"\ngloom = "sadness:0.75,fear:0.25"\n')
    judge, plain = load_judge(f"{published}={file}"), load_judge(published)
    assert plain.explains == ("amusement", "contentment"), "joy alone is known"
    assert judge.explains == ("amusement", "contentment", "fear", "sadness")
    image = Image.new("RGB", (32, 32), "green")
    joy, one, _, gloom = plain.model(
        plain.pixels.transform(torch.tensor([-1.0, 128 / 127.5 - 1, -1.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32))
    ).logits.softmax(1)[0]
    total = joy + one + gloom
    found = dict(zip(EMOTIONS, judge.read([image]).probabilities[0].tolist(), strict=True))
    expected = {"amusement": joy / 2, "contentment": joy / 2, "fear": one + gloom / 4, "sadness": gloom * 0.75}
    for name in EMOTIONS:
        assert found[name] == pytest.approx(float(expected.get(name, joy * 0) / total), abs=1e-5)


def test_scores_by_another_label_map_are_by_another_judge(published, tmp_path):
    def mark(text):
        return judge_fingerprints("mini", [f"{published}={write_map(tmp_path, text)}"])["published"]

    alone = judge_fingerprints("mini", [str(published)])["published"]
    assert alone == run_dir.fingerprint_folder(published)
    assert len({alone, mark('[labels]\njoy = "awe"\n'), mark('[labels]\njoy = "fear"\n')}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[labels]\njoi = "awe"\n', "'joi': did you mean 'joy'"),
        ('[labels]\njoy = "aw"\n', "no emotion 'aw': did you mean 'awe'"),
        ("[labels]\njoy = 3\n", "joy = 3 is no emotion"),
        ('[labels]\njoy = "awe:-1"\n', "has a weight below 0"),
        ('joy = "awe"\n', "has no labels"),
    ],
)
def test_a_label_map_that_is_off_is_refused(text, said, published, tmp_path):
    with pytest.raises(UsageError, match=said):
        load_judge(f"{published}={write_map(tmp_path, text)}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[labels]\njoy = "awe"\n', "loading has begun"),
        ('[labels]\njoy = "aw"\n', "joy: no emotion 'aw': did you mean 'awe'"),
        ("labels = 3\n", "has no labels"),
        (None, "labels.toml is not there: owner/classifier@0123456=LABELS.toml names a file with a table .labels."),
        ("folder", "labels.toml is no regular file: .*names a file with a table .labels."),
        ("text", "labels.txt does not end in .toml: .*names a file with a table .labels."),
    ],
)
def test_evaluate_takes_a_hubs_classifier_whose_label_map_is_read_before_anything_is_loaded(
    text, said, tmp_path, monkeypatch
):
    def begin_loading(*given, **named):
        raise UsageError("loading has begun")

    monkeypatch.setattr(evaluate_module, "load", begin_loading)
    file = tmp_path / "labels.toml"
    if text == "folder":
        file.mkdir()
    elif text is not None:
        file = file.with_suffix(".txt" if text == "text" else ".toml")
        file.write_text(text)
    judge = f"owner/classifier@0123456={file}"
    with pytest.raises(UsageError, match=said):
        emoscene.evaluate(base="sd15", method="prompt", judge=judge, out=tmp_path / "out")


def test_a_base_without_judges_asks_for_one_before_it_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_module, "load", None)
    with pytest.raises(UsageError, match="'sd15' has no judge of emotions: give --judge"):
        emoscene.evaluate(base="sd15", method="prompt", out=tmp_path / "out")


def test_a_label_map_is_there_and_is_a_classifiers(published, models, tmp_path):
    with pytest.raises(UsageError, match=r"labels\.toml is not there"):
        load_judge(f"{published}={tmp_path / 'labels.toml'}")
    own = tmp_path / "own"
    own.mkdir()
    learners.save_learner(begin(models["vit"]), "judge", own, None)
    with pytest.raises(UsageError, match="says the eight emotions itself"):
        load_judge(f"{own}={write_map(tmp_path, '[labels]')}")
