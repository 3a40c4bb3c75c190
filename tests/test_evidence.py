"""The table of evidence, on predictions by hand: what is asked, what exaggerates, which pairs are ordered."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from emoscene.evaluation.metrics.base import Predictions
from emoscene_mini import claims, evidence
from emoscene_mini.claim import Claim, make_claim, meets_bound

COUNT = 24 * 8 * 4


def read(share, seed, by="judge", shown=0.9):
    """24 prompts x 8 emotions x 4 seeds, of which so many show what was asked, and scene and object."""
    rng = np.random.default_rng(seed)
    prompt, asked = np.repeat(np.arange(24), 32), np.tile(np.repeat(np.arange(8), 4), 24)
    right, kept = rng.permutation(COUNT) < share * COUNT, rng.permutation(COUNT) < shown * COUNT
    likely = 0.9 * np.eye(8)[np.where(right, asked, (asked + 1) % 8)] + 0.1 / 8
    blank = np.zeros((COUNT, 1))
    thing = np.where(prompt < 12, -1, 0)
    content = np.eye(2)[np.where(kept, 0, 1)]
    return Predictions(
        prompt,
        np.tile(np.arange(4), COUNT // 4),
        asked,
        likely,
        rng.normal(size=(COUNT, 4)),
        blank[:, 0],
        blank,
        scene=content,
        place=np.zeros(COUNT, int),
        objects=content,
        thing=thing,
        by=by,
    )


@pytest.fixture
def lab(monkeypatch):
    """lora and guidance are read alike, multimodal worse, inversion above the ceiling of .8."""
    shares = {"none": 0.125, "prompt": 0.6, "lora": 0.75, "guidance": 0.75, "multimodal": 0.5, "inversion": 0.9}
    made = {}
    for number, (name, share) in enumerate(shares.items()):
        made[name] = read(share, number, shown=0.9 if name != "multimodal" else 0.7)
    made["guidance"] = made["lora"]
    held = replace(read(0.8, 9), prompt=np.arange(COUNT), seed=np.zeros(COUNT), votes=read(0.8, 9).likely)
    monkeypatch.setattr(evidence, "predict_filtered", lambda lab: {"judge": read(0.3, 8)})
    return SimpleNamespace(
        held_out_all={"judge": held},
        real_predictions=read(1, 10),
        predict_all=lambda name, scale=1.0: {"judge": made[name]},
        predict=lambda name, scale=1.0: made[name],
    )


def tell(found):
    return {claim.what: claim for claim in found}


def test_accuracies_stand_beside_the_word_list_and_the_ceiling(lab):
    found = tell(evidence.measure_accuracies(lab))
    by = ", by judge 'judge'"
    assert found[f"none: emotion accuracy{by}"].met
    assert found[f"prompt: emotion accuracy{by}"].met
    assert found[f"colour filter: emotion accuracy{by}"].mark == "**missed**"
    assert found[f"lora: emotion accuracy{by}"].mark == "met"
    assert found[f"inversion: emotion accuracy{by}"].mark == "**exaggeration**"
    assert not found[f"inversion: emotion accuracy{by}"].met
    best = found[f"inversion: emotion accuracy - prompt's, paired{by}"]
    assert (best.value, best.target) == (pytest.approx(0.3, abs=0.01), ">= .08, interval above 0")
    assert best.low > 0.2
    assert found[f"multimodal: emotion accuracy - prompt's, paired{by}"].target == ""
    assert 0.05 < found[f"inversion, labels shuffled: emotion accuracy{by}"].value < 0.2


def test_pairs_are_ordered_or_tied(lab):
    told = {claim.what.partition(":")[0]: claim.figure.rpartition(": ")[2] for claim in evidence.measure_order(lab)}
    assert told == {
        "lora - guidance": "tied",
        "lora - multimodal": "lora is higher",
        "guidance - multimodal": "guidance is higher",
    }


def test_content_is_scene_and_object_paired_with_the_base(lab):
    found = tell(evidence.measure_content(lab))
    assert found["multimodal: scene kept, none - this, paired"].value == pytest.approx(0.2, abs=0.01)
    assert found["multimodal: object kept, none - this, paired"].mark == "**missed**"
    assert found["lora: scene kept, none - this, paired"].met
    assert len(found) == 2 * 5


def test_ceilings_are_held_against_the_exact_reader(lab):
    (claim,) = evidence.measure_ceilings(lab, 0.825)
    assert (claim.target, claim.met) == (">= 0.745", True)
    (claim,) = evidence.measure_ceilings(lab, 0.9)
    assert (claim.target, claim.met) == (">= 0.820", False)


def test_votes_are_told_of_methods_and_of_rendered_images(lab):
    found = tell(evidence.measure_spread(lab))
    assert found["rendered: KL(votes, reading), by judge 'judge'"].value == pytest.approx(0, abs=1e-9)
    assert found["multimodal: KL(votes, reading), by judge 'judge'"].value > 0.05
    assert found["lora: diversity / rendered"].met
    assert found["prompt: diversity / rendered"].met is None


@pytest.mark.parametrize(
    ("value", "bound", "met"),
    [
        (0.3, "<= .30", True),
        (0.31, "<= .30", False),
        (0.72, ">= .72", True),
        (0.9, ".78 to .88", False),
        (0.8, ".78 to .88", True),
        (0.1249, ".125", True),
        (0.13, ".125", False),
        (float("nan"), "<= .30", False),
        (0.5, "about .10", None),
        (0.5, "", None),
    ],
)
def test_bounds_are_read(value, bound, met):
    assert meets_bound(value, bound) is met


def test_an_exaggeration_is_neither_met_nor_missed_in_words(tmp_path):
    claim = replace(make_claim("lora: accuracy", 0.99, "<= 1", True), exaggerates=True)
    assert claim.mark == "**exaggeration**"
    assert [Claim("a", "", "", met, 0.0).mark for met in (True, False, None)] == ["met", "**missed**", ""]
    row = {**vars(claim), "met": False}
    assert "0.990 **exaggeration**" in claims.cross_table([row])
