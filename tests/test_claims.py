"""The miniature's bench, on a tiny base: every claim can be measured, and its table is kept."""

import json
from itertools import pairwise

import pytest

import tiny
from emoscene.mini import claims, comparison, lab, words
from emoscene.world import roles


@pytest.fixture
def bench(tmp_path, monkeypatch):
    judges = [str(folder) for folder in tiny.judges(tmp_path)]
    for name, value in (("SEEDS", range(2)), ("NATURAL", 16), ("UNSEEN", 4)):
        monkeypatch.setattr(lab, name, value)
    few = {"LEARNED": (), "TOGETHER": (), "MIXING": ("prompt",), "EDITING": ("prompt",), "EDITED": 8}
    for name, value in few.items():
        monkeypatch.setattr(comparison, name, value)
    monkeypatch.setattr(words, "giveaway", lambda: {"short": 0.1, "long": 0.9})
    base = str(tiny.make(tmp_path / "base"))
    made = lab.Lab(tmp_path / "out", base, "prompt", (), judges, print)
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
