"""Every family against diffusers' own pipelines, and the contract of methods on every family and on a flow."""

import dataclasses
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from emoscene.core import registry, seeds
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import emotion_weights
from emoscene.diffusion.families.base import find_architecture, find_family
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from tiny import batch, made

BASES = {"sd2": ("sd2", "v_prediction"), "sdxl": ("sdxl", None), "flow": ("sd1", "flow_prediction")}
METHODS = [name for name in registry.list_names("methods") if name != "none"]
LEARNING = [name for name in METHODS if registry.load_plugin("methods", name).columns]
PAIRS = ["+".join(pair) for pair in combinations(METHODS, 2)]
CHAINS = [*METHODS, *(pytest.param(pair, marks=pytest.mark.slow) for pair in PAIRS)]
each_base = pytest.mark.parametrize("kind", BASES)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DiffusionModel]:
    found = {}
    for kind, (family, prediction) in BASES.items():
        folder = tiny.make(tmp_path_factory.mktemp(kind), prediction, family)
        found[kind] = DiffusionModel.load(str(folder))
    return found


def latents(pipe: EmotionPipeline, *asked: tuple[str, str, float, int]) -> torch.Tensor:
    """What two steps make of prompts, emotions, emotion scales and seeds, in one batch."""
    rows = []
    for prompt, emotion, scale, seed in asked:
        [row] = pipe.plan(prompt, seed=seed, num_inference_steps=2, guidance_scale=3.0, negative_prompt="a cat")
        rows.append(dataclasses.replace(row, emotion=emotion_weights(emotion), emotion_scale=scale))
    *_, x = pipe.denoise(rows)
    return x


def load_theirs(base: DiffusionModel) -> Any:
    kinds = {"sd2": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline}
    theirs = kinds[base.family.name].from_pretrained(str(base.folder))
    theirs.set_progress_bar_config(disable=True)
    return theirs


@pytest.fixture(scope="module")
def pipelines(bases: dict[str, DiffusionModel]) -> dict[str, Any]:
    """diffusers' own, and the config of the scheduler of each."""
    found = {}
    for kind in ("sd2", "sdxl"):
        theirs = load_theirs(bases[kind])
        found[kind] = theirs, theirs.scheduler.config
    return found


def call_theirs(pipeline: tuple[Any, Any], sampler: str, **call: Any) -> np.ndarray:
    theirs, config = pipeline
    table = registry.load_table("samplers", sampler)
    theirs.scheduler = getattr(diffusers, table["scheduler"]).from_config(config, **table.get("settings", {}))
    call["generator"] = seeds.torch_generator(4, "sampler")
    call["latents"] = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
    if sampler == "tcd":
        call["eta"] = 0.3  # the scheduler's own; the pipeline says 0
    images: np.ndarray = theirs("a dog", num_inference_steps=3, guidance_scale=3.0, output_type="np", **call).images
    return 255 * images[0]


@pytest.mark.filterwarnings("ignore:the sampler .* is made for")
@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
@pytest.mark.parametrize("kind", ["sd2", "sdxl"])
def test_a_family_equals_diffusers_own_pipeline(
    kind: str, sampler: str, bases: dict[str, DiffusionModel], pipelines: dict[str, Any]
) -> None:
    expected = call_theirs(pipelines[kind], sampler, negative_prompt="a cat")
    call = {"num_inference_steps": 3, "guidance_scale": 3.0, "seed": 4, "sampler": sampler}
    [image] = EmotionPipeline(bases[kind], {})("a dog", negative_prompt="a cat", **call).images
    assert np.abs(np.asarray(image, int) - expected).max() <= 0.5 + 1e-3 * 255


def test_no_negative_prompt_is_the_null_condition_of_sdxl(
    bases: dict[str, DiffusionModel], pipelines: dict[str, Any]
) -> None:
    """Zeros, as diffusers has it where none is given; an empty prompt in the positive half is encoded as it is."""
    expected = call_theirs(pipelines["sdxl"], "ddim")
    [image] = EmotionPipeline(bases["sdxl"], {})(
        "a dog", num_inference_steps=3, guidance_scale=3.0, seed=4, sampler="ddim"
    ).images
    assert np.abs(np.asarray(image, int) - expected).max() <= 0.5 + 1e-3 * 255
    plain, null = (bases["sdxl"].encode_prompt(["", "a"], is_null=is_null) for is_null in (False, True))
    assert not null.embeds[0].any()
    assert not null.pooled[0].any()
    assert plain.embeds[0].any()
    assert torch.equal(null.embeds[1], plain.embeds[1])


def test_learned_vectors_are_read_by_both_encoders_and_by_the_pooled_vector(
    bases: dict[str, DiffusionModel], tmp_path: Path
) -> None:
    """As diffusers reads them from a pivotal-tuning file, {"clip_l", "clip_g"}, as tokens of its own."""
    base = bases["sdxl"]
    vectors = torch.randn(1, 2, 80, generator=torch.Generator().manual_seed(0))
    found = base.encode_prompt(["a dog"], vectors)
    theirs = load_theirs(base)
    file = tmp_path / "both.safetensors"
    save_file({"clip_l": vectors[0, :, :32].clone(), "clip_g": vectors[0, :, 32:].clone()}, file)
    for key, encoder, tokenizer in (
        ("clip_l", theirs.text_encoder, theirs.tokenizer),
        ("clip_g", theirs.text_encoder_2, theirs.tokenizer_2),
    ):
        own = load_file(file)[key]
        theirs.load_textual_inversion(own, token="<emo-awe>", text_encoder=encoder, tokenizer=tokenizer)
    # the configs say which token ends a prompt: the added ones, whose ids are greater, do no harm to the pooled vector
    embeds, _, pooled, _ = theirs.encode_prompt("a dog <emo-awe>", device="cpu")
    assert (embeds - base.encode_prompt(["a dog"]).embeds).abs().max() > 0.1
    torch.testing.assert_close(found.embeds, embeds, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=1e-4)


@each_base
@pytest.mark.parametrize("chain", CHAINS)
def test_the_contract_of_methods(chain: str, kind: str, bases: dict[str, DiffusionModel]) -> None:
    """Scale 0 is the base bit for bit, a mixed batch is its rows alone, and nothing is left behind."""
    base = bases[kind]
    alone = latents(EmotionPipeline(base, {}), ("a dog", "awe", 1.0, 1))
    pipe = EmotionPipeline(base, {name: made(name, base) for name in chain.split("+")})
    assert torch.equal(latents(pipe, ("a dog", "awe", 0.0, 1)), alone)

    asked = [("a dog", "awe", 0.0, 1), ("a cat", "awe:0.6,fear:-0.5", 1.5, 2), ("a dog", "fear", 1.0, 1)]
    together = latents(pipe, *asked)
    for place, row in enumerate(asked):
        one = latents(pipe, row)[0]
        assert (one - together[place]).abs().max() <= 1e-3 * float(one.max() - one.min())
    assert (together[2] - together[0]).abs().max() > 1e-3, "an emotion has an effect"
    assert torch.equal(latents(EmotionPipeline(base, {}), ("a dog", "awe", 1.0, 1)), alone)


@each_base
@pytest.mark.parametrize("name", LEARNING)
def test_a_method_learns_and_comes_back_as_it_was(
    name: str, kind: str, bases: dict[str, DiffusionModel], tmp_path: Path
) -> None:
    base = bases[kind]
    method = made(name, base).requires_grad_(True)
    with method.attach():
        method(batch()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.trainable.values())

    kept = made(name, base)
    learner.save_learner(kept, name, tmp_path, base)
    back = load(base, adapter=tmp_path)
    row = ("a dog", "awe", 1.0, 1)
    assert torch.equal(latents(EmotionPipeline(base, {name: kept}), row), latents(back, row))
    other = bases["flow" if kind == "sdxl" else "sdxl"]
    with pytest.raises(UsageError, match=f"it is of the family {base.family.name} there and of {other.family.name}"):
        load(other, adapter=tmp_path)


def test_what_learnt_on_another_prediction_is_refused(
    bases: dict[str, DiffusionModel], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A LoRA of a base that predicts eps does harm on one that predicts v; a classifier reads latents alone."""
    other = DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("eps"), "epsilon", "sd2")))
    for name in ("lora", "guidance"):
        (tmp_path / name).mkdir()
        learner.save_learner(made(name, bases["sd2"]), name, tmp_path / name, bases["sd2"])
        about = learner.read_card(tmp_path / name)
        about["base"]["fingerprint"] = "fp16:0"
        (tmp_path / name / learner.CARD).write_text(json.dumps(about))
    with pytest.raises(UsageError, match="its UNet predicts 'v_prediction' there and 'epsilon' here"):
        load(other, adapter=tmp_path / "lora")
    assert load(other, adapter=tmp_path / "guidance").trained == ["guidance"]


def test_the_families_are_told_by_their_configs(bases: dict[str, DiffusionModel]) -> None:
    for kind, name in (("sd2", "sd2"), ("sdxl", "sdxl"), ("flow", "sd1")):
        assert find_family(bases[kind].folder).name == name == bases[kind].architecture.family
    for row in ("sd15", "sd21", "sdxl"):
        found = find_architecture(registry.HOME / "diffusion/bases" / row)
        table = registry.load_table("bases", row)
        assert found is not None
        assert (found.family, list(found.channels)) == (table["family"], table["architecture"]["channels"])
        assert [found.text_dim] == table["architecture"]["text"]
        assert registry.load_table("bases", row)["revision"]


def test_the_autoencoder_of_sdxl_does_not_compute_in_float16(bases: dict[str, DiffusionModel]) -> None:
    half = DiffusionModel.load(str(bases["sdxl"].folder), dtype=torch.float16)
    assert (half.vae.dtype, half.unet.dtype) == (torch.float32, torch.float16)
    brain = DiffusionModel.load(str(bases["sdxl"].folder), dtype=torch.bfloat16)
    assert brain.vae.dtype == torch.bfloat16
    assert half.decode_latents(torch.zeros(1, 4, 8, 8, dtype=torch.float16)).dtype == torch.float32
