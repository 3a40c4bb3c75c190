"""The plan: roles in their shares for every emotion, samples as asked, captions counted, a dry run."""

import json
from collections import Counter

import numpy as np
import pytest

import tiny
from emoscene.cli.main import main
from emoscene.core import config as configs
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import splits
from emoscene.data.card import plot_classes
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.data.records import ROLES
from emoscene.data.splits import GOLDEN, SHARES, assign_roles, sample_images, split_shares
from emoscene.encoders.captioner import Captioner
from emoscene.learning import learner
from emoscene_mini.world1.layouts import write_layout


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_layout("emoset", 80, 9, tmp_path_factory.mktemp("world") / "emoset", size=32, workers=0)


@pytest.fixture(scope="module")
def many():
    """Labels of a thousand pictures, two of them in every fifth group."""
    rng = np.random.default_rng(0)
    emotion = rng.choice(8, 1000, p=np.arange(1, 9) / 36)
    group = np.arange(1000)
    group[5::5] = group[4:-1:5]
    return emotion, group, rng.integers(0, 2**63, 1000, dtype=np.uint64)


def test_every_emotion_is_dealt_in_the_same_shares(many):
    emotion, group, key = many
    split = np.full(1000, "")
    roles = assign_roles(split, emotion, group, key, split_shares("roles", {""}))
    for number in range(8):
        inside = roles[emotion == number]
        for place, role in enumerate(ROLES):
            assert abs(float((inside == place).mean()) - SHARES["roles"][role]) < 0.05 + 2 / len(inside)
    assert all(len(set(roles[group == one].tolist())) == 1 for one in np.unique(group))
    shuffled = np.random.default_rng(1).permutation(1000)
    again = assign_roles(split, emotion[shuffled], group[shuffled], key[shuffled], split_shares("roles", {""}))
    alone = group == np.arange(1000)
    assert (again == roles[shuffled])[alone[shuffled]].mean() > 0.9


def test_by_default_methods_have_what_no_judge_learns_from():
    """At least seven tenths, with an official split and without one, and nothing is left for judges."""
    emotion = np.arange(1000) % 8
    key = np.random.default_rng(2).integers(0, 2**63, 1000, dtype=np.uint64)
    for counts in ({"": 1000}, {"train": 850, "test": 150}, {"train": 800, "val": 50, "test": 150}):
        split = np.repeat(list(counts), list(counts.values()))
        roles = assign_roles(split, emotion, np.arange(1000), key, split_shares(splits.DEFAULT, set(counts)))
        shares = np.bincount(roles, minlength=len(ROLES)) / 1000
        assert shares[ROLES.index("methods")] > 0.78
        assert shares[ROLES.index("judges")] == 0
        assert 0.03 < shares[ROLES.index("selector")] < 0.06
        assert 0.13 < shares[ROLES.index("heldout")] < 0.17


def test_an_official_split_is_kept():
    wanted = split_shares("roles", {"train", "val", "test"})
    assert wanted["val"] == {"selector": 1.0} and wanted["test"] == {"heldout": 1.0}
    assert wanted["train"] == {"methods": 0.4, "judges": 0.4}
    assert set(split_shares("roles", {"train", "test"})["train"]) == {"methods", "selector", "judges"}
    assert split_shares("official", {"train", "test"}) == {"train": {"methods": 1.0}, "test": {"heldout": 1.0}}
    assert split_shares("methods:0.8,heldout:0.2", {""}) == {"": {"methods": 0.8, "heldout": 0.2}}
    split = np.array(["train"] * 200 + ["test"] * 50)
    nothing = np.zeros(250, int)
    roles = assign_roles(
        split, nothing, np.arange(250), np.arange(250, dtype=np.uint64), split_shares("official", {"train", "test"})
    )
    assert (roles[:200] == ROLES.index("methods")).all() and (roles[200:] == ROLES.index("heldout")).all()
    for text, said in (("judge:1", "did you mean 'judges'"), ("methods", "number above 0"), ("methods:2", "up to 1")):
        with pytest.raises(UsageError, match=said):
            splits.parse_shares(text)
    with pytest.raises(UsageError, match="needs images that their own lists call train"):
        split_shares("official", {""})
    assert splits.official_split("Validation") == "val" and 0.618 < GOLDEN < 0.6181


def test_a_sample_is_as_asked(many):
    emotion, _, key = many
    strata = np.stack([key % 4, key % 7], 1)
    counts = np.bincount(emotion)
    taken = sample_images(emotion, strata, key, 100, None, balanced=False)
    assert len(set(taken.tolist())) == 100 and (np.diff(taken) > 0).all()
    assert (abs(np.bincount(emotion[taken], minlength=8) - counts / 10) <= 1).all()
    for role in range(4):
        assert abs((strata[taken, 0] == role).mean() - (strata[:, 0] == role).mean()) < 0.08
    even = sample_images(emotion, strata, key, 320, None, balanced=True)
    few = counts.min()
    assert np.bincount(emotion[even], minlength=8).min() == min(40, few) and len(even) == 320
    capped = sample_images(emotion, strata, key, None, 50, balanced=False)
    assert np.bincount(emotion[capped], minlength=8).tolist() == np.minimum(counts, 50).tolist()
    assert len(sample_images(emotion, strata, key, 7, 50, balanced=False)) == 7
    assert len(sample_images(emotion, strata, key, None, None, balanced=False)) == 1000


def test_limit_and_per_emotion_reach_the_set(world, base, tmp_path):
    few = prepare("emoset", root=world, out=tmp_path / "few", base=base, workers=0, limit=24, balanced=True)
    data = PreparedDataset(few)
    assert Counter(data.column("emotion").tolist()) == dict.fromkeys(range(8), 3)
    each = prepare("emoset", root=world, out=tmp_path / "each", base=base, workers=0, per_emotion=2, kind="jpeg")
    assert Counter(PreparedDataset(each).column("emotion").tolist()) == dict.fromkeys(range(8), 2)
    assert len(list((each / "pictures/00000").glob("*.jpeg"))) == 16
    with pytest.raises(UsageError, match="--per-emotion 0 leaves no image"):
        prepare("emoset", root=world, out=tmp_path / "none", base=base, per_emotion=0)
    with pytest.raises(UsageError, match="mini deals its images itself"):
        prepare("mini", out=tmp_path / "none", base=base, split="official")
    with pytest.raises(UsageError, match="per_emotion is 2 there and 3 here"):
        prepare("emoset", root=world, out=each, base=base, workers=0, per_emotion=3, kind="jpeg")
    assert not (tmp_path / "none").exists()


def test_a_dry_run_writes_nothing(world, base, tmp_path, capsys):
    line = f"prepare emoset --root {world} --base {base} --out {tmp_path / 'out'} --dry-run --limit 40 workers=0"
    assert main(line.split()) == 0
    told = capsys.readouterr().err
    assert "80 images, of which at most 40 are taken" in told
    assert "awe 12%" in told and "splits: test 20%, train 70%, val 10%" in told
    assert "disk: about" in told and "ms to encode a" in told
    assert list(tmp_path.iterdir()) == []


def test_a_captioner_speaks_where_the_set_is_silent(world, base, tmp_path, monkeypatch):
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "lake")
    small = {"side": 32, "width": 16, "text_width": 16, "layers": 1, "text_layers": 1, "heads": 2, "text_heads": 2}
    model = Captioner.from_scratch(configs.replace_fields(Captioner.Config(), {**small, "words": words}), None)
    (tmp_path / "blip").mkdir()
    learner.save_learner(model, "captioner", tmp_path / "blip", None)
    asked = []
    monkeypatch.setattr(
        Captioner, "caption", lambda self, images: asked.append(len(images)) or ["a lake"] * len(images)
    )
    call = {"root": world, "base": base, "workers": 0, "limit": 40}
    out = prepare("emoset", out=tmp_path / "said", captioner=str(tmp_path / "blip"), **call)
    data = PreparedDataset(out)
    assert set(data.column("caption")) == {"a lake"} and asked == [32, 32]
    assert any(long.startswith("a lake, ") for long in data.column("caption_long"))
    assert json.loads((out / "manifest.json").read_text())["captions"] == {"own": 0, "captioner": 40}
    silent = prepare("emoset", out=tmp_path / "silent", captioner="none", **call)
    counts = json.loads((silent / "manifest.json").read_text())["captions"]
    assert sum(counts.values()) == 40 and counts["attributes"] > 30 and asked == [32, 32]
    assert "- captions: attributes" in (silent / "README.md").read_text()
    with pytest.raises(UsageError, match=r"no model in .*nothing, for there is no such folder"):
        prepare("emoset", out=tmp_path / "none", captioner=str(tmp_path / "nothing"), **call)


def test_the_plot_has_a_bar_for_every_emotion():
    drawn = plot_classes({role: [place + 1] * 9 for place, role in enumerate(ROLES)})
    assert all(f">{name}</text>" in drawn for name in EMOTIONS) and drawn.count("<rect") == 1 + 9 * 4 + 4
