"""Shortcuts: what colour alone tells and paints, what a selector picks, and what is said where data lack something."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import entropy
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import tiny
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.data.sources.base import shares_of_votes
from emoscene.diffusion import device
from emoscene.evaluation import colours, references
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.intervals import difference_interval
from emoscene.evaluation.judges import load_judge
from emoscene.evaluation.metrics.base import NotMeasurable, Predictions
from emoscene.evaluation.metrics.content import content
from emoscene.evaluation.metrics.emotion import emotion
from emoscene.evaluation.metrics.stereotypy import stereotypy
from emoscene.evaluation.metrics.votes import votes
from emoscene.learning.learner import Batch
from emoscene.training.train import train

HUES = np.random.default_rng(5).integers(40, 215, (8, 3))
"""A colour for each emotion."""


def read(count=96, seed=0, likely=None, **more):
    asked = np.arange(count) % 8
    if likely is None:
        likely = np.random.default_rng(seed).dirichlet(np.ones(8), count)
    blank = np.zeros((count, 1))
    prompt, seeds = np.arange(count) // 8 % 12, np.arange(count) // 96
    return Predictions(prompt, seeds, asked, likely, blank, np.zeros(count), blank, by="test", **more)


def test_six_numbers_are_means_and_deviations_of_opponent_axes():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = (255, 0, 0)  # half red, half black
    means, deviations = colours.six_numbers([image])[0].reshape(2, 3)
    assert means == pytest.approx([1 / 6, 1 / 2, 1 / 4])
    assert deviations == pytest.approx([1 / 6, 1 / 2, 1 / 4])


def test_the_reader_is_scikit_learns_linear_discriminant():
    rng = np.random.default_rng(0)
    asked = rng.integers(0, 8, 400)
    features = rng.normal(size=(400, 6)) * [1, 2, 3, 1, 1, 9] + np.eye(8)[asked][:, :6]
    theirs = LinearDiscriminantAnalysis(priors=np.full(8, 1 / 8)).fit(features, asked)
    new = rng.normal(size=(50, 6))
    ours = colours.ColourReader.fit(features, np.where(rng.random(400) < 2, asked, -1))
    np.testing.assert_allclose(ours.read(new), theirs.predict_proba(new), atol=1e-6)


def test_an_emotion_that_nobody_taught_is_never_read():
    features, asked = np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3
    found = colours.ColourReader.fit(features, asked).read(features)
    assert not found[:, 3:].any()
    assert found.sum(1) == pytest.approx(np.ones(60))
    with pytest.raises(ValueError, match="60 images of 1 emotion teach"):
        colours.ColourReader.fit(features, np.zeros(60, int))


def test_a_transfer_reaches_the_statistics_that_it_is_given():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(60, 200, (64, 64, 3)).astype(np.uint8))
    wanted = colours.colour_statistics(rng.normal((150, 110, 90), 12, (64, 64, 3)))
    found = colours.colour_statistics(np.asarray(colours.transfer_colours(image, wanted)))
    assert found == pytest.approx(wanted, abs=0.01)
    same = colours.transfer_colours(image, colours.colour_statistics(np.asarray(image)))
    assert np.abs(np.asarray(same).astype(int) - np.asarray(image)).max() <= 1


def test_grey_has_no_colour_in_reinhards_axes():
    """White is grey to the cones of Reinhard's matrix: alpha and beta are 0 but for its rounding."""
    light, alpha, beta, *deviations = colours.colour_statistics(np.full((4, 4, 3), 255))
    assert light == pytest.approx(np.sqrt(3) * np.log10(0.9995), abs=2e-3)
    assert [alpha, beta, *deviations] == pytest.approx([0] * 5, abs=2e-3)


def test_stereotypy_is_a_difference_of_balanced_accuracies():
    """Of the generated images three quarters are read, of the real ones half, and one emotion is rare among these."""
    made = read(by_colour=np.eye(8)[np.where(np.arange(96) % 4 < 3, np.arange(96) % 8, (np.arange(96) + 1) % 8)])
    real = read(384, by_colour=np.eye(8)[np.where(np.arange(384) // 8 % 2, np.arange(384) % 8, 0)])
    real = real.select(np.flatnonzero((real.asked != 7) | (np.arange(384) < 40)))
    real = replace(real, prompt=np.arange(len(real)), seed=np.zeros(len(real)))
    found = stereotypy(made, real)
    assert found["six_numbers"].value == 0.75
    halves = [np.mean(real.by_colour[real.asked == label].argmax(1) == label) for label in range(8)]
    assert found["six_numbers_real"].value == pytest.approx(np.mean(halves))
    assert found["stereotypy"].value == pytest.approx(0.75 - np.mean(halves))
    assert found["stereotypy"].low < found["stereotypy"].value < found["stereotypy"].high
    assert stereotypy(made, replace(real, by_colour=np.zeros((0, 0)))) == stereotypy(made) == {}


def test_the_divergence_from_the_votes_is_scipys():
    rng = np.random.default_rng(1)
    made, real = read(), read(192, seed=2, votes=rng.dirichlet(np.ones(8), 192))
    found = votes(made, real, draws=50)

    def by_hand(one, other):
        means = [[values[side.asked == e].mean(0) for e in range(8)] for side, values in (one, other)]
        return np.mean([entropy(*pair) for pair in zip(*means, strict=True)])

    assert found["votes_kl"].value == pytest.approx(by_hand((real, real.votes), (made, made.likely)))
    assert found["votes_kl_real"].value == pytest.approx(by_hand((real, real.votes), (real, real.likely)))
    people = replace(real, likely=real.votes)
    alike = votes(people, people, draws=5)
    assert alike["votes_kl"].value == alike["votes_kl_real"].value == 0
    certain = votes(replace(made, likely=np.eye(8)[made.asked]), real, draws=5)  # rules out what people name
    assert certain["votes_kl"].value > 5 * found["votes_kl"].value
    assert votes(made, replace(real, votes=np.zeros((192, 8)))) == votes(replace(made, says=("awe",)), real) == {}


def test_what_is_read_above_the_ceiling_is_no_merit():
    perfect, half = np.eye(8)[np.arange(96) % 8], np.eye(8)[np.where(np.arange(96) % 2, np.arange(96) % 8, 0)]
    found = emotion(read(likely=perfect), replace(read(likely=half), prompt=np.arange(96)), draws=5)
    ceiling, above = found["ceiling"], found["above_ceiling"]
    assert above.value == pytest.approx(1 - ceiling.value)
    assert above.low == pytest.approx(
        above.value - np.hypot(1 - found["emotion_accuracy"].low, ceiling.high - ceiling.value)
    )
    assert 0 < above.low < above.value < above.high


def test_newcombes_interval_of_his_own_example():
    """56 of 70 less 48 of 80 (Newcombe 1998, table II, method 10): .0524 to .3339."""
    wilson = [(0.6918, 0.8772), (0.4906, 0.7004)]
    low, high = difference_interval(56 / 70, wilson[0], 48 / 80, wilson[1])
    assert (low, high) == (pytest.approx(0.0524, abs=2e-4), pytest.approx(0.3339, abs=2e-4))


def test_the_object_is_content_too():
    likely = np.eye(4)[np.arange(96) % 4]
    thing = np.where(np.arange(96) < 48, np.arange(96) % 4, (np.arange(96) + 1) % 4)
    thing[:24] = -1
    found = content(read(objects=likely, thing=thing, object_by="things"))
    assert set(found) == {"object_accuracy"}
    assert (found["object_accuracy"].value, found["object_accuracy"].n) == (pytest.approx(24 / 72), 72)
    assert found["object_accuracy"].by == "things"
    with pytest.raises(EmosceneError, match="of 96 images, 1 read as NaN"):
        content(read(objects=np.where(np.arange(96)[:, None] == 3, np.nan, likely), thing=thing))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def call(base, tmp_path_factory):
    judges = tiny.judges(tmp_path_factory.mktemp("judges"))
    words = {"base": base, "judge": judges, "prompts": ["a beach", "a park"], "seeds": "0:1", "num_inference_steps": 1}
    return {**words, "on_message": lambda line: None}


@pytest.fixture(scope="module")
def prepared(base, tmp_path_factory):
    """Images of which each emotion has a colour of its own, and viewers' votes for two emotions of each."""
    raw = tmp_path_factory.mktemp("raw")
    rng, rows = np.random.default_rng(0), []
    for number in range(64):
        label, file = number % 8, f"{number:02d}.png"
        pixels = rng.normal(HUES[label], 12, (64, 64, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(raw / file)
        shares = (0.75 * np.eye(8)[label] + 0.25 * np.eye(8)[(label + 1) % 8]).tolist()
        rows.append({"file_name": file, "label": EMOTIONS[label], "caption": "a beach", "votes": shares})
    (raw / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = raw.parent / "prepared"
    split = "methods:0.7,judges:0.1,heldout:0.2"
    prepare("imagefolder", root=raw, out=out, base=base, split=split, alike=-1, on_message=print)
    return out


def test_colours_learnt_are_those_of_the_methods_images(prepared):
    learnt = references.learn_colours(prepared)
    found = references.LearntColours.read(learnt, {"a": read(8, colours=colours.six_numbers(HUES[:, None, None]))})
    assert found["a"].by_colour.argmax(1).tolist() == list(range(8))
    flat = Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 32, 3)).astype(np.uint8))
    painted = np.asarray(colours.transfer_colours(flat, learnt.statistics[3])).mean((0, 1))
    assert np.abs(painted - HUES[3]).max() < 15


def test_the_colour_filter_is_a_row_as_any_method(call, prepared, tmp_path):
    out = evaluate(out=tmp_path / "scores", method="colour_filter", data=prepared, **call)
    scores = json.loads((out / "scores.json").read_text())
    assert (scores["method"], scores["images"]) == ("colour_filter", 16)
    assert len(list((out / "pictures").glob("*.png"))) == 2  # the base's own, one a prompt
    files = {row["file"]: row["asked"] for row in run_dir.read_jsonl(out / "verdicts.jsonl")}
    assert len(files) == 16
    for file, asked in files.items():
        painted = np.asarray(Image.open(out / file)).mean((0, 1))
        assert np.abs(painted - HUES[EMOTIONS.index(asked)]).max() < 40
    assert scores["shortcuts"]["six_numbers"]["value"] > 0.8 < scores["shortcuts"]["six_numbers_real"]["value"]
    assert scores["judges"]["emotion"]["votes_kl"]["value"] > 0
    assert set(scores["needs"]) == {"second judge"}
    with pytest.raises(UsageError, match="no images teach what colours an emotion has: give --data"):
        evaluate(out=tmp_path / "other", method="colour-filter", **call)


def test_the_best_of_some_is_what_the_selector_says(call, tmp_path, monkeypatch):
    selector = tiny.judges(tmp_path / "selector", note="another")[0]
    words = {**call, "method": "best_of", "settings": {"candidates": 3, "selector": str(selector)}}
    out = evaluate(out=tmp_path / "scores", **words)
    scores = json.loads((out / "scores.json").read_text())
    rows = list(run_dir.read_jsonl(out / "verdicts.jsonl"))
    assert len(rows) == scores["images"] == 16
    assert len(list((out / "pictures").glob("*.png"))) == 2 * 3
    likely = {file.name: None for file in (out / "pictures").glob("*.png")}
    judge = load_judge(selector)
    for name in likely:
        likely[name] = judge.read([Image.open(out / "pictures" / name)]).probabilities[0]
    for row in rows:
        prompt = ("a beach", "a park").index(row["prompt"])
        mine = {name: p[EMOTIONS.index(row["asked"])] for name, p in likely.items() if name.startswith(f"{prompt:03d}")}
        assert row["file"] == f"pictures/{max(mine, key=mine.get)}"
        assert row["seed"] == 0
    assert scores["settings"] == {"candidates": 3, "selector": str(selector)}
    with pytest.raises(UsageError, match="cannot judge it"):
        evaluate(**{**words, "settings": {"selector": str(call["judge"][0])}}, out=tmp_path / "kin")
    with pytest.raises(UsageError, match="has no EmotionCLIP to pick images: give selector=FOLDER"):
        evaluate(**{**words, "settings": {}}, out=tmp_path / "none")


def test_a_baseline_keeps_its_images_and_has_no_adapter(call, tmp_path):
    with pytest.raises(UsageError, match="leave out --keep-images=no"):
        evaluate(out=tmp_path / "a", method="best_of", keep_images=False, **call)
    with pytest.raises(UsageError, match="made of the base alone: leave out --adapter"):
        evaluate(out=tmp_path / "b", method="best_of", adapter=[tmp_path], **call)


def test_what_data_lack_is_said_with_its_remedy(call, prepared, tmp_path):
    scores = json.loads((evaluate(out=tmp_path / "a", method="none", **call) / "scores.json").read_text())
    assert set(scores["needs"]) == {"ceiling", "stereotypy", "votes_kl", "second judge"}
    assert all("give --" in sentence for sentence in scores["needs"].values())
    assert (scores["missing"], scores["shortcuts"]) == ({}, {})
    real = references.predict_held_out(prepared, {})
    assert real == {}
    needs = references.explain_needs(prepared, read(votes=np.zeros((96, 8))), 2, "")
    assert list(needs) == ["votes_kl"]
    assert "a column `votes` of metadata.jsonl" in needs["votes_kl"]


def test_too_few_images_teach_no_colours(base, tmp_path):
    (tmp_path / "raw").mkdir()
    rows = []
    for number in range(12):
        file = f"{number:02d}.png"
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "raw" / file)
        rows.append({"file_name": file, "label": EMOTIONS[number % 2]})
    (tmp_path / "raw/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = prepare(
        "imagefolder", root=tmp_path / "raw", out=tmp_path / "out", base=base, split="methods:0.5,heldout:0.5"
    )
    with pytest.raises(NotMeasurable, match="images of single emotions for methods, too few"):
        references.learn_colours(out)


def test_baselines_are_listed_with_their_settings():
    assert {"best_of", "colour_filter"} <= set(registry.list_names("baselines"))
    assert [(name, one.name) for name, one in registry.list_call_options("best-of")] == [
        ("best-of", "candidates"),
        ("best-of", "selector"),
    ]
    assert registry.list_call_options("colour_filter") == []
    assert {name for name, _ in registry.list_call_options("lora+guidance")} == {"lora", "guidance"}


def test_votes_are_carried_through_the_preparation(prepared):
    data = PreparedDataset(prepared, "heldout")
    rows = data.read(range(len(data)), ["votes", "emotion"])
    for shares, label in zip(rows["votes"].tolist(), rows["emotion"].tolist(), strict=True):
        assert shares[label], shares[(label + 1) % 8] == (0.75, 0.25)
    found = references.predict_held_out(prepared, {})
    assert found == {}


@pytest.mark.parametrize(
    ("given", "shares"),
    [
        ([3, 1, 0, 0, 0, 0, 0, 0], {"amusement": 0.75, "awe": 0.25}),
        ("[0, 0.5, 0, 0, 0, 0, 0.5, 0]", {"awe": 0.5, "fear": 0.5}),
        ("awe:12,fear:8", {"awe": 0.6, "fear": 0.4}),
        ({"awe": 1}, {"awe": 1}),
        ('{"awe": 20}', {"awe": 1}),
        ("", {}),
        (None, {}),
    ],
)
def test_votes_are_read_in_every_form(given, shares):
    assert shares_of_votes(given, "row 1") == pytest.approx([shares.get(name, 0) for name in EMOTIONS])


@pytest.mark.parametrize(
    "given", [[1, 2], "awe:-1,fear:2", [0] * 8, "joy:3", 12, "[1, 2", {"awe": "many"}, [float("nan")] * 8, "awe:nan"]
)
def test_votes_that_are_none_are_refused_with_their_place(given):
    with pytest.raises(UsageError, match=r"^row 7: .*votes"):
        shares_of_votes(given, "row 7")


@pytest.mark.parametrize("name", ["guidance", "judge", "emotion_clip"])
def test_soft_labels_are_the_votes_where_there_are_some(name, base):
    """With votes the loss is that of the votes as labels; without, and of an image without emotion, the label's own."""
    cls = registry.load_plugin("methods" if name == "guidance" else "encoders", name)
    sizes = {"guidance": {"width": 16}, "judge": {"side": 32, "width": 32, "layers": 1, "heads": 2}}
    sizes["emotion_clip"] = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2}
    model = device.load_model(base)
    torch.manual_seed(0)
    plain = cls.from_scratch(cls.Config(**sizes[name]), model).eval()
    torch.manual_seed(0)
    soft = cls.from_scratch(cls.Config(**sizes[name], soft_labels=True), model).eval()
    assert "votes" in soft.columns
    assert "votes" not in plain.columns
    known = {**tiny.columns(4), "image": torch.rand(4, 3, 32, 32) * 2 - 1}
    known["weights"] = torch.eye(8)[[1, 2, 3, 4]]
    known["weights"][3] = 0
    shares = torch.rand(4, 8).softmax(1)
    shares[2] = 0
    with torch.no_grad():
        found = soft.compute_loss(Batch({**known, "votes": shares}, 0, 0, [0, 1, 2, 3]))
        mixed = torch.cat([shares[:2], known["weights"][2:]])
        expected = plain.compute_loss(Batch({**known, "weights": mixed}, 0, 0, [0, 1, 2, 3]))
        labels = plain.compute_loss(Batch(known, 0, 0, [0, 1, 2, 3]))
    torch.testing.assert_close(found, expected)
    assert (found - labels).abs()[:2].min() > 1e-4


def test_soft_labels_without_votes_are_refused_with_their_remedy(base, tmp_path):
    (tmp_path / "raw").mkdir()
    rows = []
    for number in range(8):
        file = f"{number:02d}.png"
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "raw" / file)
        rows.append({"file_name": file, "label": EMOTIONS[number % 8], "caption": "a beach"})
    (tmp_path / "raw/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = prepare("imagefolder", root=tmp_path / "raw", out=tmp_path / "out", base=base, split="methods:1", alike=-1)
    with pytest.raises(UsageError, match=r"soft_labels=yes learns .* has none: write the shares"):
        train("guidance", data=out, out=tmp_path / "guidance", base=base, steps=1, soft_labels=True)
