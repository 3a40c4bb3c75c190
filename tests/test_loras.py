"""LoRAs trained elsewhere: what diffusers makes of a file is what is made of it here, and the base stays as it is."""

import contextlib
import json
import pickle
import random
import shutil

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

import emoscene
import tiny
from emoscene.cli import main
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import read_params
from emoscene.core.params import GenerationParams
from emoscene.diffusion.loras import apply_loras, parse_lora, read_factors
from emoscene.diffusion.model import DiffusionModel
from emoscene.methods.lora import LoRA
from emoscene.pipeline.pipeline import EmotionPipeline

UNET = "lora_unet_down_blocks_1_attentions_0_"
TEXT = "lora_te_text_model_encoder_layers_1_"
SHAPES = {  # kohya's name of a layer: (out, in, kernel)
    f"{UNET}transformer_blocks_0_attn2_to_k": (32, 32),
    f"{UNET}transformer_blocks_0_attn1_to_out_0": (32, 32),
    f"{UNET}transformer_blocks_0_ff_net_0_proj": (256, 32),
    f"{UNET}proj_in": (32, 32, 1),
    "lora_unet_up_blocks_0_resnets_0_conv1": (32, 64, 3),
    **{f"{TEXT}self_attn_{one}_proj": (32, 32) for one in ("q", "k", "v", "out")},
    f"{TEXT}mlp_fc1": (64, 32),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(folder):
    return DiffusionModel.load(str(folder))


def tensors(rank=3, alpha=1.5):
    draw = torch.Generator().manual_seed(1)
    found = {}
    for name, (out, into, *size) in SHAPES.items():
        kernel = size * 2
        found[f"{name}.lora_down.weight"] = torch.randn(rank, into, *kernel, generator=draw)
        found[f"{name}.lora_up.weight"] = torch.randn(out, rank, *(1 for _ in kernel), generator=draw) * 0.3
        found[f"{name}.alpha"] = torch.tensor(alpha)
    return found


@pytest.fixture
def kohya(tmp_path):
    save_file(tensors(), tmp_path / "style.safetensors", {"ss_base_model_version": "sd_v1"})
    return tmp_path / "style.safetensors"


def answers(text_encoder, unet):
    """What the two models say to one question."""
    with torch.no_grad():
        text = text_encoder(torch.arange(20)[None]).last_hidden_state
        x_t = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
        return text, unet(x_t, torch.tensor(500), text).sample


def by_diffusers(folder, file, scale=1.0):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="it")
    pipe.set_adapters(["it"], [scale])
    return answers(pipe.text_encoder, pipe.unet)


def test_a_kohya_file_is_what_diffusers_makes_of_it(folder, base, kohya):
    worn = apply_loras(base, f"{kohya}:0.7")
    plain = answers(base.text_encoder, base.unet)
    for mine, theirs, without in zip(
        answers(worn.text_encoder, worn.unet), by_diffusers(folder, kohya, 0.7), plain, strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
        assert (mine - without).abs().max() > 1e-2


@pytest.mark.parametrize("described", [True, False])
def test_a_diffusers_file_keeps_the_alphas_that_it_describes(folder, base, tmp_path, described):
    draw = torch.Generator().manual_seed(1)
    names = ["mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.resnets.0.conv2"]
    state = {}
    for name in names:
        w = base.unet.get_submodule(name).weight
        state[f"unet.{name}.lora_A.weight"] = torch.randn(2, *w.shape[1:], generator=draw)
        state[f"unet.{name}.lora_B.weight"] = torch.randn(len(w), 2, *[1] * (w.ndim - 2), generator=draw)
    about = {"r": 2, "lora_alpha": 6, "target_modules": names, "alpha_pattern": {"conv2": 1}}
    packed = {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in about.items()})}
    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file(state, file, packed if described else None)
    mine = answers(base.text_encoder, apply_loras(base, file).unet)[1]
    torch.testing.assert_close(mine, by_diffusers(folder, file)[1], atol=1e-5, rtol=1e-4)


def test_the_base_is_not_touched_and_shares_what_stays(base, kohya):
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    at = {name: value.data_ptr() for name, value in base.unet.state_dict().items()}
    worn = apply_loras(base, [kohya])
    assert all(torch.equal(before[name], value) for name, value in base.unet.state_dict().items())
    changed = {name for name, value in worn.unet.state_dict().items() if value.data_ptr() != at[name]}
    assert changed == {name for name, value in worn.unet.state_dict().items() if not torch.equal(value, before[name])}
    assert len(changed) == sum(name.startswith("lora_unet_") for name in SHAPES)
    assert not base.loras
    assert worn.fingerprint == base.fingerprint


def test_two_add_up_and_their_opposite_scales_cancel(base, kohya):
    once, twice = apply_loras(base, f"{kohya}:0.5"), apply_loras(base, [f"{kohya}:0.25", f"{kohya}:0.25"])
    none = apply_loras(apply_loras(base, f"{kohya}:0.5"), f"{kohya}:-0.5")
    for one, two, back, plain in zip(*(b.unet.state_dict().values() for b in (once, twice, none, base)), strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(back, plain, atol=1e-6, rtol=1e-5)
    assert len(twice.loras) == 2


def test_it_is_part_of_the_base_beside_a_method(base, kohya):
    words = {"emotion": "awe", "seed": 3, "num_inference_steps": 2}
    plain = {**words, "emotion": None}
    alone = emoscene.load(base)("a dog", **plain).images[0]
    worn = apply_loras(base, f"{kohya}:0.5")
    ours = LoRA.from_scratch(LoRA.Config(), worn)
    for _, pair in ours.layers:
        torch.nn.init.normal_(pair.lora_B.weight)
    pipe = EmotionPipeline(worn, {"lora": ours.requires_grad_(False)})
    both, zero = (pipe("a dog", emotion_scale=s, **words).images[0] for s in (1.0, 0.0))
    style = emoscene.load(base, lora=f"{kohya}:0.5")("a dog", **plain).images[0]
    assert np.array_equal(zero, style)
    assert not np.array_equal(both, style)
    assert not np.array_equal(alone, style)
    assert np.array_equal(emoscene.load(base)("a dog", **plain).images[0], alone)


def test_a_row_names_it(folder, kohya, tmp_path, capsys):
    line = ["generate", "a dog", "--base", str(folder), "--lora", f"{kohya}:0.5", "--steps", "1"]
    assert main.main([*line, "--out", str(tmp_path / "out")]) == 0
    row = read_params(tmp_path / "out/base-0000.png")
    digest = parse_lora(kohya).digest
    assert row.loras == (f"style:0.5:{digest}",)
    assert row.to_a1111_text().startswith("a dog <lora:style:0.5>\n")
    assert f'Lora hashes: "style: {digest}"' in row.to_a1111_text()
    assert GenerationParams.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    other = tensors(alpha=1.0)
    save_file(other, kohya)
    assert main.main([*line, "--out", str(tmp_path / "out")]) == 2  # the same name, another file
    assert "is another call's" in capsys.readouterr().err


def test_scores_name_it(folder, kohya, tmp_path):
    (tmp_path / "prompts.txt").write_text("a dog\na cat\n")
    call = {
        "base": str(folder),
        "judge": tiny.judges(tmp_path),
        "seeds": "0:2",
        "num_inference_steps": 1,
        "on_message": lambda line: None,
    }
    out = emoscene.evaluate(
        out=tmp_path / "scores", prompts=tmp_path / "prompts.txt", method="none", lora=f"{kohya}:2", **call
    )
    assert json.loads((out / "scores.json").read_text())["loras"] == [str(parse_lora(f"{kohya}:2"))]
    assert run_dir.read_manifest(out)["config"]["lora"] == [str(parse_lora(f"{kohya}:2"))]


def test_bad_files_are_one_sentence(base, kohya, tmp_path):
    def refused(state, sentence, kind=UsageError, **about):
        save_file(state, tmp_path / "bad.safetensors", about)
        with pytest.raises(kind, match=sentence):
            apply_loras(base, tmp_path / "bad.safetensors")

    whole = load_file(kohya)
    name = f"{UNET}transformer_blocks_0_attn2_to_k"
    wide = {**whole, f"{name}.lora_down.weight": torch.zeros(3, 2048)}
    refused(wide, r"to_k is 32 x 2048 in it and 32 x 32 in the base; give its own with --base")
    te2 = {key.replace("lora_te_", "lora_te2_"): value for key, value in whole.items()}
    refused(te2, r"no LoRA of Stable Diffusion 1 \(it says sdxl", ss_base_model_version="sdxl_base_v1-0")
    refused({key.replace("blocks_0_attn2", "blocks_7_attn2"): v for key, v in whole.items()}, "has no .*blocks.7.attn2")
    refused({"unet.weight": torch.zeros(3)}, "is no LoRA")
    refused({key: v for key, v in whole.items() if key != f"{name}.lora_up.weight"}, "is no LoRA")
    refused({**whole, f"{name}.lora_up.weight": torch.zeros(32, 5)}, "do not fit together")
    refused({**whole, f"{name}.alpha": torch.zeros(2)}, "is no LoRA")
    refused({**whole, f"{name}.lora_down.weight": torch.zeros(0, 32)}, "is no LoRA")
    refused(whole, "is no LoRA", lora_adapter_metadata="[]")
    refused({**whole, f"{name}.lora_up.weight": torch.full((32, 3), torch.nan)}, "not finite", EmosceneError)
    refused({**whole, f"{name}.dora_scale": torch.zeros(3)}, "is a DoRA")
    refused({f"{name}.hada_w1_a": torch.zeros(3)}, "is a LoHa")
    (tmp_path / "bad.safetensors").write_bytes(kohya.read_bytes()[:-40])
    with pytest.raises(EmosceneError, match="is damaged"):
        apply_loras(base, tmp_path / "bad.safetensors")
    (tmp_path / "style.ckpt").write_bytes(pickle.dumps({}))
    for name in ("old.ckpt", "old.safetensors", "old"):
        (tmp_path / name).write_bytes(pickle.dumps({}))
        with pytest.raises(UsageError, match="is a pickle, which can run what it likes: save it as safetensors first"):
            apply_loras(base, tmp_path / name)
    (tmp_path / "notes.txt").write_text("0.8")
    with pytest.raises(UsageError, match=r"notes.txt is no safetensors file"):
        apply_loras(base, tmp_path / "notes.txt")
    shutil.copy(kohya, tmp_path / "renamed.ckpt")
    assert str(apply_loras(base, tmp_path / "renamed.ckpt").loras[0]).startswith("renamed:1:")
    for place in range(200):  # a header with any byte changed is read as it was, or refused
        torn = bytearray(kohya.read_bytes())
        torn[random.Random(place).randrange(2000)] ^= 1 + place % 255
        (tmp_path / "torn.safetensors").write_bytes(torn)
        with contextlib.suppress(UsageError, EmosceneError):
            read_factors(tmp_path / "torn.safetensors")
    for words in ("nowhere.safetensors", f"{kohya}:much", f"{kohya}:nan", str(tmp_path)):
        with pytest.raises(UsageError, match=r"is not there|is no scale"):
            apply_loras(base, words)


def test_a_lora_of_sdxl_reaches_both_text_encoders(tmp_path):
    """kohya's names, which count blocks as the original code does; as diffusers' own pipeline applies it."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    folder, draw = tiny.make(tmp_path / "base", family="sdxl"), torch.Generator().manual_seed(1)
    shapes = {
        "lora_unet_input_blocks_3_1_transformer_blocks_1_attn2_to_k": (32, 80),
        "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q": (32, 32),
        "lora_unet_output_blocks_1_1_transformer_blocks_0_ff_net_2": (32, 128),
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (32, 32),
        "lora_te1_text_model_encoder_layers_0_self_attn_out_proj": (32, 32),
        "lora_te2_text_model_encoder_layers_0_self_attn_out_proj": (48, 48),
        "lora_te2_text_model_encoder_layers_1_mlp_fc1": (64, 48),
    }
    found = {}
    for name, (out, into) in shapes.items():
        found[f"{name}.lora_down.weight"] = torch.randn(2, into, generator=draw)
        found[f"{name}.lora_up.weight"] = torch.randn(out, 2, generator=draw)
        found[f"{name}.alpha"] = torch.tensor(2.0)
    save_file(found, tmp_path / "xl.safetensors")
    base = DiffusionModel.load(str(folder))
    assert {part for part, _ in read_factors(tmp_path / "xl.safetensors", base)} == {
        "unet",
        "text_encoder",
        "text_encoder_2",
    }

    theirs = StableDiffusionXLPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config)
    call = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "np"}

    def by_them():
        latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(4))
        return 255 * theirs("a dog", latents=latents, **call).images[0]

    plain = by_them()
    theirs.load_lora_weights(tmp_path / "xl.safetensors")
    expected = by_them()
    pipe = EmotionPipeline(apply_loras(base, tmp_path / "xl.safetensors"), {})
    [image] = pipe("a dog", num_inference_steps=2, guidance_scale=3.0, seed=4, sampler="ddim").images
    assert np.abs(np.asarray(image, int) - expected).max() <= 0.5 + 1e-3 * 255
    assert np.abs(plain - expected).max() > 5
