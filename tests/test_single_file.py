"""Stable Diffusion v1.5 in one file: true names, the package's own configs, no network."""

import shutil
from hashlib import sha256

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

import ldm
import tiny
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.base_spec import check_base
from emoscene.diffusion.families import sd1
from emoscene.diffusion.model import DiffusionModel
from emoscene.pipeline.generate import load

NARROW = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stable Diffusion v1.5, block for block, and very narrow."""
    folder = tiny.make(tmp_path_factory.mktemp("narrow") / "base")
    torch.manual_seed(1)
    for kind, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae")):
        more = {"cross_attention_dim": 32, "attention_head_dim": 2, "sample_size": 8} if part == "unet" else {}
        config = {**kind.load_config(str(sd1.CONFIGS), subfolder=part), **NARROW, **more}
        kind.from_config(config).save_pretrained(folder / part)
    return folder


@pytest.fixture
def file(folder, tmp_path, monkeypatch):
    """The same weights in one file, and configs of that width in the place of the package's."""
    path = tmp_path / "narrow.safetensors"
    save_file(ldm.state(DiffusionModel.load(str(folder))), path)
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    monkeypatch.setattr(sd1.SD1, "configs", folder)
    return path


def test_the_package_has_the_shapes_of_stable_diffusion():
    """The sizes that everybody's v1.5 file has, and no weight is made for it."""
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(str(sd1.CONFIGS / "unet")))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(str(sd1.CONFIGS / "vae")))
        text = CLIPTextModel(CLIPTextConfig.from_pretrained(str(sd1.CONFIGS / "text_encoder")))
    sizes = [sum(p.numel() for p in model.parameters()) for model in (unet, vae, text)]
    assert sizes == [859_520_964, 83_653_863, 123_060_480]
    assert [len(model.state_dict()) for model in (unet, vae)] == [686, 248]
    names = {ldm.unet(key, 2) for key in unet.state_dict()}
    assert {"input_blocks.11.0.out_layers.3.bias", "output_blocks.11.1.proj_out.weight", "out.2.bias"} <= names
    assert "output_blocks.5.2.conv.weight" in names
    assert "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight" in names
    assert "decoder.up.3.block.0.conv1.weight" in {ldm.vae(key, 4) for key in vae.state_dict()}


def test_a_file_is_the_folder_it_was_made_of(file, folder):
    mine, theirs = DiffusionModel.load(str(file)), DiffusionModel.load(str(folder))
    for part in ("unet", "vae", "text_encoder"):
        a, b = (getattr(base, part).state_dict() for base in (mine, theirs))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert mine.scheduler_config == theirs.scheduler_config
    for mark in ("fingerprint", "vae_fingerprint", "shapes"):
        assert getattr(mine, mark) == getattr(theirs, mark)


def flatten_text(state):
    """The text encoder's names as transformers has them today."""
    return {key.replace("transformer.text_model.", "transformer."): value for key, value in state.items()}


def add_extras(state):
    """Averages of the UNet's weights, CLIP's positions, the schedule: what pruned files lack."""
    unet = "model.diffusion_model."
    averages = {
        f"model_ema.{key.removeprefix('model.').replace('.', '')}": value + 1
        for key, value in state.items()
        if key.startswith(unet)
    }
    positions = {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
    return state | averages | positions | {"alphas_cumprod": torch.ones(1000), "model_ema.decay": torch.ones(1)}


VARIANTS = {
    "half": lambda state: {key: value.half() for key, value in state.items()},
    "text without text_model": flatten_text,
    "averages and other extras": add_extras,
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_any_file_of_the_same_weights_is_the_same_base(kind, file, folder):
    save_file(VARIANTS[kind](load_file(file)), file)
    mine, theirs = DiffusionModel.load(str(file)), DiffusionModel.load(str(folder))
    assert [mine.fingerprint, mine.vae_fingerprint] == [theirs.fingerprint, theirs.vae_fingerprint]
    for part in ("unet", "vae", "text_encoder"):
        a, b = (getattr(base, part).state_dict() for base in (mine, theirs))
        assert all(torch.equal(a[key].half(), b[key].half()) for key in b)


def test_what_version_0_1_recorded_of_a_file_still_holds(file):
    base, recorded = DiffusionModel.load(str(file)), sha256(file.read_bytes()).hexdigest()
    assert base.matches(recorded)
    assert not base.matches("0" * 64)


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("model.diffusion_model.middle_block.1.proj_in.bias", [True, False]),
        ("cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.bias", [True, False]),
        ("first_stage_model.encoder.mid.attn_1.q.weight", [False, True]),
        ("first_stage_model.decoder.mid.attn_1.q.weight", [False, False]),
    ],
)
def test_a_thousandth_in_a_file_is_another_base(key, changed, file, folder):
    state = load_file(file)
    state[key].view(-1)[0] += 0.001
    save_file(state, file)
    mine, theirs = DiffusionModel.load(str(file)), DiffusionModel.load(str(folder))
    assert [mine.fingerprint != theirs.fingerprint, mine.vae_fingerprint != theirs.vae_fingerprint] == changed


def test_it_paints(file):
    result = load(str(file), dtype="bfloat16")("a lake", num_inference_steps=1)
    assert result.images[0].size == (64, 64)


def test_files_of_another_kind_are_told(file, tmp_path):
    state = load_file(file)
    lone = tmp_path / "lone.safetensors"
    save_file({key: value for key, value in state.items() if key.startswith("model.")}, lone)
    with pytest.raises(UsageError, match="it has no autoencoder and no text encoder"):
        DiffusionModel.load(str(lone))
    name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({**state, name: torch.zeros(8, 48)}, lone)
    with pytest.raises(UsageError, match=r"not of Stable Diffusion 1's shape"):
        DiffusionModel.load(str(lone))
    lone.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EmosceneError, match=r"is damaged .*fetch it again"):
        DiffusionModel.load(str(lone))
    (tmp_path / "notes.txt").write_text("a lake")
    with pytest.raises(UsageError, match=r"notes.txt is no safetensors file"):
        DiffusionModel.load(str(tmp_path / "notes.txt"))
    lone.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n")
    with pytest.raises(EmosceneError, match=r"is damaged \(it is a pointer of Git LFS: run `git lfs pull`"):
        DiffusionModel.load(str(lone))


@pytest.mark.parametrize("is_archive", [True, False])
@pytest.mark.parametrize("name", ["old.ckpt", "old.safetensors", "old"])
def test_a_pickle_is_refused_whatever_its_name(name, is_archive, tmp_path):
    torch.save({"a": torch.zeros(3)}, tmp_path / name, _use_new_zipfile_serialization=is_archive)
    with pytest.raises(UsageError, match=f"{name} is a pickle, which can run what it likes: save it as safetensors"):
        check_base(str(tmp_path / name))


def test_safetensors_are_read_whatever_their_name(file, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(file.parent / "tokenizer", other / "tokenizer")
    shutil.copy(file, other / "model.ckpt")
    renamed, known = DiffusionModel.load(str(other / "model.ckpt")), DiffusionModel.load(str(file))
    assert renamed.fingerprint == known.fingerprint
    with pytest.raises(UsageError, match=r"give --base .*model.ckpt"):
        check_base(str(other))


def test_without_a_tokenizer_beside_it_that_of_its_architecture_serves(file, folder):
    shutil.rmtree(file.parent / "tokenizer")
    base = DiffusionModel.load(str(file))
    assert base.tokenize("a lake") == DiffusionModel.load(str(folder)).tokenize("a lake")


@pytest.mark.slow
def test_at_true_size(tmp_path):
    """Two gigabytes of random weights in half precision, out of one file."""
    from emoscene.evaluation import true_size

    base = DiffusionModel.load(str(true_size.make_true_size_base(tmp_path / "base")), dtype=torch.float16)
    path = tmp_path / "one.safetensors"
    state = ldm.state(base)
    assert len(state) == 686 + 248 + 196
    save_file(state, path)
    shutil.copytree(tmp_path / "base/tokenizer", tmp_path / "tokenizer")
    mine = DiffusionModel.load(str(path), dtype=torch.float16)
    for part in ("unet", "vae", "text_encoder"):
        a, b = (getattr(each, part).state_dict() for each in (mine, base))
        assert all(torch.equal(a[key], b[key]) for key in b)
