"""The weights in the package: the right size, the right pictures, the emotion that was asked."""

from pathlib import Path

import numpy as np
import pytest
import torch

import emoscene
from emoscene.core import registry
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.judges import load_judges
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini import claims, system_checks

WEIGHTS = registry.package_folder("bases", "mini") / "weights"
PROMPTS = ["a village by a lake", "a forest with a tent", "a beach"]


@pytest.fixture(scope="module")
def lora() -> EmotionPipeline:
    return emoscene.load("mini", method="lora")


def weigh(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def test_they_are_small() -> None:
    assert weigh(WEIGHTS / "base") <= 40
    assert weigh(WEIGHTS / "lora") <= 25
    assert weigh(WEIGHTS) <= 80


def test_none_is_diffusers_own_pipeline() -> None:
    assert system_checks.difference_to_diffusers(emoscene.load("mini"), steps=8) <= 1e-3


def test_strength_zero_is_none_bit_for_bit(lora: EmotionPipeline) -> None:
    zero = lora(PROMPTS[0], emotion="fear", emotion_scale=0.0, seed=5, num_inference_steps=6).images[0]
    none = emoscene.load(lora.base)(PROMPTS[0], seed=5, num_inference_steps=6).images[0]
    assert np.array_equal(np.asarray(zero), np.asarray(none))


@pytest.mark.slow
def test_a_picture_does_not_depend_on_its_batch(lora: EmotionPipeline) -> None:
    assert system_checks.difference_across_batches(lora, steps=6) <= 0.02


def test_the_emotion_asked_is_the_emotion_seen(lora: EmotionPipeline) -> None:
    """Chance is one in eight; three scenes in eight emotions; two judges of different kinds."""
    judges = [judge for judge in load_judges("mini").values() if judge.target == "emotion"]
    assert len({type(judge) for judge in judges}) == 2
    made = lora(PROMPTS, emotion=list(EMOTIONS), seed=11, num_inference_steps=12)
    asked = np.array([np.argmax(row.emotion) for row in made.params])
    for judge in judges:
        assert (judge.read(made.images).probabilities.argmax(1) == asked).mean() >= 0.6


def test_a_mixture_lies_between_and_is_as_strong(lora: EmotionPipeline) -> None:
    plain = lora.base.encode_condition(["a beach"]).prompt_embeds
    awe, fear, both = (
        lora.chain.condition(lora.base.encode_condition(["a beach"], torch.tensor([a]))).prompt_embeds - plain
        for a in ([0.0, 1, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, 0, 1, 0], [0.0, 0.5, 0, 0, 0, 0, 0.5, 0])
    )
    torch.testing.assert_close(both, (awe + fear) / 2**0.5, atol=1e-5, rtol=1e-4)


def test_the_table_goes_between_the_marks_of_a_readme(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(
        '{"vae": [{"what": "PSNR", "figure": "28.9", "target": ">= 28", "met": true, "value": 28.9}]}'
    )
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- claims -->\nold\n<!-- /claims -->\nafter\n")
    claims.write_readme(readme, tmp_path)
    claims.write_readme(readme, tmp_path)
    text = readme.read_text()
    assert "| PSNR | 28.9 | >= 28 | met |" in text
    assert text.startswith("before\n<!-- claims -->\n")
    assert text.endswith("<!-- /claims -->\nafter\n")
    assert "old" not in text
