"""Who may judge: anybody's classifier and CLIP, read by the names of their labels, and none that is kin."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

import tiny
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EKMAN, EMOTIONS, MIKELS8, emotion_weights, load_taxonomy, map_label
from emoscene.encoders.base import load_encoder, locate_model
from emoscene.encoders.emotion_clip import TEMPLATES, EmotionCLIP
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.judges import check_unrelated, load_judge, load_judges
from emoscene.learning import learner as learners

FACES = ("Neutral", "sad", "Happy", "ANGRY", "fear", "disgust", "surprise")
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}


def classifier(folder, labels=FACES, **more):
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: n for n, name in enumerate(labels)}}
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, **sizes, **names)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("panel") / "faces")


@pytest.fixture(scope="module")
def clip(tmp_path_factory, base):
    torch.manual_seed(0)
    small = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2, "vector": 8}
    made = EmotionCLIP.from_scratch(EmotionCLIP.Config(tokenizer=f"{base}/tokenizer", **small), None)
    folder = tmp_path_factory.mktemp("clip") / "words"
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def picture(seed=0, size=(32, 32)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8))


def test_labels_are_read_by_name():
    assert map_label("Awe") == emotion_weights("awe")
    assert map_label(" happy") == map_label("joy") == emotion_weights("amusement:0.5,contentment:0.5")
    assert map_label("neutral") is map_label("surprise") is map_label("a_tree") is None
    synonyms = {**MIKELS8.synonyms, **load_taxonomy("ekman7").synonyms}
    assert {word: name for word, name in synonyms.items() if name not in {*EMOTIONS, *EKMAN}} == {}


def test_somebodys_classifier_is_read_as_transformers_does_and_by_its_labels(faces):
    judge = load_judge(faces)
    assert judge.labels == EMOTIONS
    assert judge.explains == ("amusement", "contentment", "anger", "disgust", "fear", "sadness")
    model = AutoModelForImageClassification.from_pretrained(faces)
    pixels = AutoImageProcessor.from_pretrained(faces, backend="pil")(picture(), return_tensors="pt")
    with torch.no_grad():
        theirs = dict(zip(FACES, model(**pixels).logits.softmax(1)[0].tolist(), strict=True))
    reading = judge.read([picture()])
    ours = dict(zip(EMOTIONS, reading.probabilities[0], strict=True))
    whole = 1 - theirs["Neutral"] - theirs["surprise"]
    expected = {
        "anger": theirs["ANGRY"],
        "sadness": theirs["sad"],
        "fear": theirs["fear"],
        "disgust": theirs["disgust"],
    }
    assert {name: ours[name] for name in expected} == pytest.approx({n: p / whole for n, p in expected.items()})
    assert ours["amusement"] == ours["contentment"] == pytest.approx(theirs["Happy"] / whole / 2)
    assert ours["awe"] == ours["excitement"] == 0
    assert reading.features.shape == (1, 16)
    assert judge.read([picture(size=(48, 80))]).probabilities.sum() == pytest.approx(1)


def test_a_convolutional_one_is_a_classifier_too(tmp_path):
    names = {"id2label": {0: "awe", 1: "fear"}, "label2id": {"awe": 0, "fear": 1}}
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic", **names)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    judge = load_judge(tmp_path / "net")
    assert judge.explains == ("awe", "fear")
    assert judge.read([picture()]).features.shape == (1, 12)


def test_labels_that_match_nothing_are_said(tmp_path):
    classifier(tmp_path / "typing", ("amusment", "tree"))
    with pytest.raises(UsageError, match=r"no emotion among the labels of .*'amusment': did you mean 'amusement'"):
        load_judge(tmp_path / "typing")
    assert load_encoder("classifier", tmp_path / "typing", target="object").labels == ("amusment", "tree")


def test_any_clip_reads_emotions_by_their_templates(clip):
    judge = load_judge(clip)
    model, pixels = CLIPModel.from_pretrained(clip), picture()
    texts = [template.format(name) for name in EMOTIONS for template in TEMPLATES]
    with torch.no_grad():
        told = judge.encode_texts(texts).unflatten(0, (8, -1)).mean(1)
        told = told / told.norm(dim=1, keepdim=True)
        reading = judge.read([pixels])
        expected = (model.logit_scale.exp() * torch.tensor(reading.features) @ told.T).softmax(1)
    np.testing.assert_allclose(reading.probabilities, expected, rtol=1e-5)


def test_a_vision_model_is_a_space_for_distances(tmp_path, faces):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(tmp_path)
    crop = PROCESSOR | {"image_processor_type": "BitImageProcessor", "crop_size": {"height": 28, "width": 28}}
    crop |= {"size": {"shortest_edge": 28}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(crop))
    pixels = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(picture(size=(28, 28)), return_tensors="pt")
    with torch.no_grad():
        theirs = Dinov2Model.from_pretrained(tmp_path)(**pixels).pooler_output
    reading = load_encoder("vision", tmp_path).read([picture(size=(28, 28))])
    np.testing.assert_allclose(reading.features, theirs, atol=1e-5)
    assert reading.probabilities.shape == (1, 0)


def test_what_is_no_judge(tmp_path, base, clip):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty is no judge: emoscene train judge makes one"):
        load_judge(tmp_path / "empty")
    with pytest.raises(UsageError, match="is no judge"):
        load_judge(tmp_path / "nowhere")
    with pytest.raises(EmosceneError, match="hf download nobody/nothing --revision v1"):
        load_judge("nobody/nothing@v1")
    with pytest.raises(UsageError, match=r"does not read images alone"):
        load_encoder("vision", clip)
    (tmp_path / "empty/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match="holds no image classifier"):
        load_judge(tmp_path / "empty")
    assert locate_model(tmp_path / "empty") == tmp_path / "empty"


def test_a_head_that_was_never_trained_is_no_judge(tmp_path, faces):
    vision = ViTForImageClassification.from_pretrained(faces).vit
    vision.save_pretrained(tmp_path / "eye")
    about = json.loads((faces / "config.json").read_text())
    (tmp_path / "eye/config.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match=r"no whole image classifier: its weights lack classifier"):
        load_judge(tmp_path / "eye")
    plain, again = (load_encoder("vision", tmp_path / "eye").read([picture()]).features for _ in range(2))
    assert np.array_equal(plain, again)  # no pooler is drawn by chance


def test_three_roles_share_no_pictures(tmp_path, faces):
    def card(folder, **facts):
        folder.mkdir(exist_ok=True)
        (folder / learners.CARD).write_text(json.dumps({"config": {}, "emotions": [], "base": None, **facts}))
        return folder

    adapter = card(tmp_path / "lora", learner="lora", data="d" * 64)
    for learner, config in (("judge", {}), ("emotion_clip", {"role": "judges"})):
        check_unrelated(card(tmp_path / "judge", learner=learner, data="d" * 64, config=config), [str(adapter)])
    with pytest.raises(UsageError, match=r"learnt from the images that .* \(dddddddddddd\).*role=judges"):
        check_unrelated(card(tmp_path / "clip", learner="emotion_clip", data="d" * 64), [str(adapter)])
    manifest = {"kind": "prepared", "state": "done", "fingerprint": "d" * 64}
    (tmp_path / "lora" / run_dir.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="and cannot judge it"):
        check_unrelated(tmp_path / "judge", [], tmp_path / "lora")
    check_unrelated(faces, [str(adapter)], tmp_path / "lora")


def test_two_judges_of_different_kinds_judge_side_by_side(tmp_path, base, faces, clip):
    for number, name in enumerate([*EMOTIONS, "fear", "fear"]):
        (tmp_path / "from" / name).mkdir(parents=True, exist_ok=True)
        picture(number).save(tmp_path / f"from/{name}/{number}.png")
    more = {"semantics": classifier(tmp_path / "things", ("dog", "boat")), "features": faces}
    with pytest.raises(UsageError, match="no judge of emotions"):
        evaluate(out=tmp_path / "none", images=tmp_path / "from", base=base)
    assert not (tmp_path / "none").exists()
    out = evaluate(out=tmp_path / "out", images=tmp_path / "from", base=base, judge=[faces, clip], **more)
    scores = json.loads((out / "scores.json").read_text())
    assert set(scores["judges"]) == {"faces", "words"}
    told = scores["judges"]["faces"]
    assert told["not_judged"] == ["awe", "excitement"]
    assert told["emotion_accuracy"]["n"] == 8 == np.sum(told["confusion"])
    assert "not_judged" not in scores["judges"]["words"]
    assert scores["judges"]["words"]["emotion_accuracy"]["n"] == 10
    assert scores["metrics"]["diversity"]["by"] == "faces-2"
    assert set(scores["judged_by"]) == {"faces", "words", "things", "faces-2"}
    rows = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert [set(row["seen"]) for row in rows if row["asked"] == "awe"] == [{"words"}]
    right = [row["seen"]["faces"] == row["asked"] for row in rows if "faces" in row["seen"]]
    assert np.mean(right) == told["emotion_accuracy"]["value"]


def test_two_judges_of_one_name_are_both_heard(tmp_path, base, faces):
    other = classifier(tmp_path / "faces", ("awe", "fear"))
    assert [len(judge.explains) for judge in load_judges(base, [str(faces), str(other)]).values()] == [6, 2]
