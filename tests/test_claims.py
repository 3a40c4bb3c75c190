"""The miniature's bench, on a tiny base: every claim can be measured, and its table is kept."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import tiny
from emoscene.core.images import read_params
from emoscene.evaluation.generate import plan_samples
from emoscene.evaluation.metrics.base import Predictions
from emoscene.pipeline import pipeline
from emoscene_mini import caption_leak, claims, comparison, evidence, experiment
from emoscene_mini.world import roles


@pytest.fixture
def bench(tmp_path, monkeypatch):
    judges = [str(folder) for folder in tiny.judges(tmp_path)]
    judges.append(shutil.copytree(judges[0], str(tmp_path / "clip")))
    monkeypatch.setattr("emoscene.pipeline.image_inputs.ImageInputs.caption", lambda given, name: "a dog")
    for name, value in (("SEEDS", 2), ("NATURAL", 16), ("UNSEEN", 4)):
        monkeypatch.setattr(experiment, name, value)
    few = {
        "LEARNED": (),
        "TOGETHER": (),
        "MIXING": ("prompt",),
        "EDITING": ("prompt",),
        "CAPTIONED": ("prompt",),
        "EDITED": 8,
    }
    for name, value in few.items():
        monkeypatch.setattr(comparison, name, value)
    monkeypatch.setattr(caption_leak, "caption_leak", lambda: {"short": 0.1, "long": 0.9})
    base = str(tiny.make(tmp_path / "base"))
    made = experiment.Experiment(tmp_path / "out", base, "prompt", (), judges, print)
    made.prompts = [next(p for p in made.prompts if p.held_out == apart) for apart in (True, False)]
    return made


@pytest.mark.slow
def test_every_claim_but_speed_can_be_measured(bench):
    found = claims.measure_claims(bench, [name for name in claims.DEFAULT if name != "speed"])
    assert len(found) > 18
    figures = {claim.what: claim for claim in found}
    assert figures["emotion accuracy: none"].value == 1 / 8
    assert figures["strength 0 equals none, largest difference of a pixel"].met
    assert figures["none against diffusers' own pipeline, of the range"].met
    kept = "VAE: judge reads the reconstruction as the original, all pictures"
    assert figures[f"{kept} (its fine-tuning saw such)"].target == ">= .97"
    assert figures[f"{kept}, by judge 'clip'"].met is None
    assert "prompt, captioned: asked emotion" in figures
    captioned = (bench.out / "pictures/prompt-captioned-edited").glob("*.png")
    assert {read_params(file).prompt for file in captioned} == {"a dog"}
    assert figures["scene kept: none"].low is None  # two prompts
    assert 0 <= figures["scene kept: none"].value <= 1
    kept = json.loads((bench.out / "claims.json").read_text())
    assert set(kept) == set(claims.DEFAULT) - {"speed"}
    assert len(list((bench.out / "real").glob("*.png"))) == len(bench.real_predictions) == 2 * 8 * 2


@pytest.mark.slow
def test_the_table_of_evidence_can_be_measured(bench, monkeypatch):
    small = {"TRAINED": ("prompt",), "ORDERED": ("prompt", "none"), "SCALES": (0.5, 1.0), "PLANS": 120, "PIXELS": 64}
    for name, value in small.items():
        monkeypatch.setattr(evidence, name, value)
    for name, value in (("FULL", 16), ("COLOURED", 40)):
        monkeypatch.setattr(experiment, name, value)
    found = {claim.what: claim for claim in claims.measure_claims(bench, ["evidence"])}
    for what in (
        "all cues, intended emotion",
        "six numbers, label",
        "ceiling: judge 'clip' on held-out rendered images",
        "none: emotion accuracy, by judge 'emotion'",
        "colour filter: emotion accuracy, by judge 'clip'",
        "prompt: emotion accuracy - prompt's, paired, by judge 'emotion'",
        "prompt: six numbers, generated - rendered at full intensity",
        "prompt - none: emotion accuracy, paired, by judge 'emotion'",
        "prompt: scene kept, none - this, paired",
        "prompt: diversity / rendered",
        "prompt: emotion scale at prompt's accuracy",
        "weights in the wheel, MB",
    ):
        assert what in found, what
    assert found["none: emotion accuracy, by judge 'emotion'"].value == 1 / 8
    assert found["none: emotion accuracy, by judge 'emotion'"].met
    assert found["prompt: emotion accuracy - prompt's, paired, by judge 'emotion'"].value == 0
    assert len(list((bench.out / "colour-filter").glob("*.png"))) == 2 * 2 * 8
    kept = json.loads((bench.out / "claims.json").read_text())["evidence"]
    assert len(kept) == len(found)


def test_what_other_weights_painted_is_not_measured(bench, tmp_path, monkeypatch):
    """Pictures stay while they are what would be painted now; other weights and other rows are painted again."""
    painted = []
    draw = pipeline.EmotionPipeline.generate
    monkeypatch.setattr(
        pipeline.EmotionPipeline,
        "generate",
        lambda pipe, rows, batch=8: painted.extend(rows) or draw(pipe, rows, batch),
    )

    def again(**changed):
        painted.clear()
        made = experiment.Experiment(bench.out, bench.base, "prompt", (), bench.more, print, **changed)
        made.prompts = bench.prompts
        planned = plan_samples(made.pipe("prompt"), made.prompts[:1], made.seeds[:1], num_inference_steps=again.steps)
        samples = made.generate("prompt-1", made.pipe("prompt"), planned)
        assert [read_params(sample.file).num_inference_steps for sample in samples] == [again.steps] * 8
        return len(painted)

    again.steps = 1
    assert (again(), again()) == (8, 0)
    again.steps = 2
    assert (again(), again()) == (8, 0)
    assert (again(first=5), again()) == (8, 0)  # other seeds have files of their own
    weights = Path(bench.base) / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, weights, metadata={"format": "pt"})
    assert (again(), again(), again(first=5)) == (8, 0, 8)


def test_a_share_of_all_is_no_certainty():
    whole = Predictions(np.repeat(np.arange(8), 2), np.zeros(16), *(np.zeros(16, np.int64),) * 5)
    kept = comparison.share_of(np.ones(16), whole)
    assert (kept.value, kept.high) == (1, 1)
    assert 0.6 < kept.low < 0.9
    assert comparison.share_of(np.ones(16), whole, 0.8).low == pytest.approx(kept.low / 0.8)


def test_captions_alone_tell_little_when_short():
    found = caption_leak.caption_leak(400, 200)
    assert found["short"] < 0.25 < found["long"]


def test_roles_never_meet():
    ranges = list(roles.ROLES.values())
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
    assert roles.role_of_seed(roles.role_seeds("judges", 3, 5)[2]) == "judges"
    assert roles.role_of_seed(7) == "free"
