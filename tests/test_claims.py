"""The miniature's bench, on a tiny base: every claim can be measured, and its table is kept."""

import json
from itertools import pairwise

import pytest
import torch

import tiny
from emoscene import learner as learners
from emoscene.emotions import EMOTIONS
from emoscene.encoders.judge import Judge
from emoscene.mini import claims, comparison, lab, words
from emoscene.world import roles
from emoscene.world.scenes import SCENES


@pytest.fixture
def bench(tmp_path, monkeypatch):
    for target, labels in (("emotion", EMOTIONS), ("scene", tuple(sorted(SCENES)))):
        torch.manual_seed(0)
        small = {"side": 64, "patch": 16, "width": 16, "layers": 1, "heads": 2}
        (tmp_path / target).mkdir()
        judge = Judge.start(Judge.Config(target=target, labels=labels, **small), None)
        learners.save(judge, "judge", tmp_path / target, None)
    for name, value in (("SEEDS", range(2)), ("NATURAL", 16), ("UNSEEN", 4)):
        monkeypatch.setattr(lab, name, value)
    few = {"LEARNED": (), "TOGETHER": (), "MIXING": ("prompt",), "EDITING": ("prompt",), "EDITED": 8}
    for name, value in few.items():
        monkeypatch.setattr(comparison, name, value)
    monkeypatch.setattr(words, "giveaway", lambda: {"short": 0.1, "long": 0.9})
    base = str(tiny.make(tmp_path / "base"))
    made = lab.Lab(tmp_path / "out", base, "prompt", (), [str(tmp_path / t) for t in ("emotion", "scene")], print)
    made.prompts = [next(p for p in made.prompts if p.held_out == apart) for apart in (True, False)]
    return made


def test_every_claim_but_speed_can_be_measured(bench):
    found = claims.measure(bench, [name for name in claims.CLAIMS if name != "speed"])
    assert len(found) > 18
    figures = {claim.what: claim for claim in found}
    assert figures["emotion accuracy: none"].value == 1 / 8
    assert figures["strength 0 equals none, largest difference of a pixel"].met
    assert figures["none against diffusers' own pipeline, of the range"].met
    kept = json.loads((bench.out / "claims.json").read_text())
    assert set(kept) == set(claims.CLAIMS) - {"speed"}
    assert len(list((bench.out / "real").glob("*.png"))) == len(bench.real) == 2 * 8 * 2


def test_captions_alone_tell_little_when_short():
    found = words.giveaway(400, 200)
    assert found["short"] < 0.25 < found["long"]


def test_roles_never_meet():
    ranges = list(roles.ROLES.values())
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
    assert roles.role(roles.seeds("judges", 3, 5)[2]) == "judges"
    assert roles.role(7) == "free"
