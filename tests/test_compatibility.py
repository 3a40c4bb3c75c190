"""A checkpoint that cannot serve as a base is refused in one sentence, and a marked one is read as it is marked."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

import ldm
import tiny
from emoscene.cli.main import main
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion.families import sd1
from emoscene.diffusion.model import DiffusionModel
from emoscene.diffusion.noise_schedule import check_schedule

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
SCHEDULE = "scheduler/scheduler_config.json"
Change = Callable[[Path], object]


def config(file: str, **values: object) -> Change:
    """Write these values into a part's settings; None removes one."""

    def change(folder: Path) -> None:
        table = json.loads((folder / file).read_text()) | values
        (folder / file).write_text(json.dumps({key: value for key, value in table.items() if value is not None}))

    return change


def text(file: str, content: str) -> Change:
    return lambda folder: (folder / file).write_text(content)


def without(*files: str) -> Change:
    def change(folder: Path) -> None:
        for file in files:
            shutil.rmtree(folder / file) if (folder / file).is_dir() else (folder / file).unlink()

    return change


def renamed(file: str, other: str) -> Change:
    return lambda folder: (folder / file).rename(folder / other)


def pickled(file: str) -> Change:
    def change(folder: Path) -> None:
        torch.save(load_file(folder / file), (folder / file).with_suffix(".bin"))
        (folder / file).unlink()

    return change


def weights(file: str, edit: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Change:
    return lambda folder: save_file(edit(load_file(folder / file)), folder / file, metadata={"format": "pt"})


def lacking(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def edit(state: dict[str, Tensor]) -> dict[str, Tensor]:
        found = next(key for key in state if key.endswith(name))
        return {key: value for key, value in state.items() if key != found}

    return edit


def more(**tensors: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {**state, **{key.replace("__", "."): value for key, value in tensors.items()}}


def cast(dtype: torch.dtype) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {key: value.to(dtype) for key, value in state.items()}


def channels(incoming: int) -> Change:
    """A UNet of another number of channels, whole and at one with its config."""

    def change(folder: Path) -> None:
        config("unet/config.json", in_channels=incoming)(folder)
        weights(UNET, lambda state: {**state, "conv_in.weight": torch.zeros(16, incoming, 3, 3)})(folder)

    return change


def other_tokenizer(count: int) -> Change:
    """A tokenizer with so many words more than the text encoder has vectors; below zero, fewer."""

    def change(folder: Path) -> None:
        own = CLIPTokenizer.from_pretrained(folder / "tokenizer").get_vocab()
        names = sorted(own, key=lambda name: own[name])
        kept = names[: count - 2] + names[-2:] if count < 0 else [f"x{i}</w>" for i in range(count)] + names
        shutil.rmtree(folder / "tokenizer")
        tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(kept)}, merges=[], model_max_length=77)
        tokenizer.save_pretrained(folder / "tokenizer")

    return change


NOT_FINITE = {"conv_in__weight": torch.full((16, 4, 3, 3), torch.nan)}
FLOW = '{"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "use_dynamic_shifting": true}'
CASES: dict[str, tuple[Change, type[Exception], str]] = {
    "no vocabulary": (
        without("tokenizer/tokenizer.json"),
        EmosceneError,
        "tokenizer of .* has no vocabulary.*vocab.json",
    ),
    "no tokenizer": (without("tokenizer"), EmosceneError, "no folder tokenizer: fetch"),
    "a longer tokenizer": (other_tokenizer(9), UsageError, "gives ids up to 70, and its text encoder knows 62 of them"),
    "a shorter tokenizer": (other_tokenizer(-9), UsageError, "ends a prompt with 52, and its text encoder learnt 61"),
    "a broken tokenizer": (text("tokenizer/tokenizer.json", "{"), EmosceneError, "tokenizer is damaged or incomplete"),
    "no text encoder": (without("text_encoder"), EmosceneError, "no folder text_encoder: fetch"),
    "no settings": (
        without("text_encoder/config.json"),
        EmosceneError,
        "text_encoder/config.json (is damaged|cannot be read)",
    ),
    "a list of settings": (
        text("unet/config.json", "[]"),
        EmosceneError,
        "unet/config.json is damaged .*it is no table",
    ),
    "half of the settings": (
        text("vae/config.json", '{"'),
        EmosceneError,
        "vae/config.json (is damaged|cannot be read)",
    ),
    "a broken index": (text("model_index.json", "{"), EmosceneError, "model_index.json is damaged"),
    "text without its last norm": (
        weights(TEXT, lacking("final_layer_norm.weight")),
        EmosceneError,
        "text_encoder lack final_layer_norm.weight, .*fetch",
    ),
    "UNet without a weight": (weights(UNET, lacking("conv_in.weight")), EmosceneError, "unet lack conv_in.weight"),
    "autoencoder without one": (
        weights(VAE, lacking("decoder.conv_in.weight")),
        EmosceneError,
        "vae lack decoder.conv_in",
    ),
    "a UNet of SDXL's extras": (
        weights(UNET, more(add_embedding__linear_1__weight=torch.zeros(3))),
        EmosceneError,
        "unet have add_embedding.linear_1.weight, and the model of its config.json does not",
    ),
    "a whole inpainting UNet": (channels(9), UsageError, "takes 9 channels and gives 4, an inpainting model's"),
    "a whole editing UNet": (channels(8), UsageError, "takes 8 channels and gives 4, an instruct-pix2pix model's"),
    "SDXL's conditions": (
        config("unet/config.json", addition_embed_type="text_time"),
        UsageError,
        "UNet in .* reads more than words .addition_embed_type: text_time.*give a Stable Diffusion 1 or 2",
    ),
    "a consistency model": (config("unet/config.json", time_cond_proj_dim=8), UsageError, "more than words .time_cond"),
    "a UNet of another class": (
        config("unet/config.json", _class_name="UNet2DModel"),
        UsageError,
        "holds a UNet2DModel",
    ),
    "an autoencoder of another": (
        config("vae/config.json", _class_name="AutoencoderTiny"),
        UsageError,
        "a AutoencoderTiny",
    ),
    "text by another model": (config("text_encoder/config.json", model_type="bert"), UsageError, "holds a bert"),
    "text of another width": (config("text_encoder/config.json", hidden_size=64), UsageError, "text of 32 .* gives 64"),
    "attention of another width": (
        config("unet/config.json", cross_attention_dim=48),
        UsageError,
        "text of 48 .* gives 32",
    ),
    "fewer words than vectors": (
        config("text_encoder/config.json", vocab_size=30),
        EmosceneError,
        "token_embedding.weight of shape .62, 32., and by its config.json it is .30, 32.",
    ),
    "fewer positions": (config("text_encoder/config.json", max_position_embeddings=40), UsageError, "reads 40 tokens"),
    "layers of another width": (
        config("unet/config.json", block_out_channels=[16, 64]),
        EmosceneError,
        "unet is damaged or incomplete .*expected shape",
    ),
    "blocks nobody knows": (config("unet/config.json", down_block_types=["A", "B"]), EmosceneError, "A does not exist"),
    "latents without a side": (config("unet/config.json", sample_size=None), EmosceneError, "says no sample_size"),
    "latents of 16 channels": (config("vae/config.json", latent_channels=16), UsageError, "latents of 16 channels"),
    "latents that are shifted": (config("vae/config.json", shift_factor=0.1), UsageError, "shifts its latents"),
    "latents without a scale": (
        config("vae/config.json", scaling_factor="big"),
        EmosceneError,
        "says scaling_factor big",
    ),
    "weights that are no numbers": (
        weights(UNET, more(**NOT_FINITE)),
        EmosceneError,
        "conv_in.weight that are not finite",
    ),
    "integers": (weights(UNET, cast(torch.int8)), UsageError, "as I8, which is not read: save it in float16"),
    "eight bits": (weights(VAE, cast(torch.float8_e4m3fn)), UsageError, "as F8_E4M3, which is not read"),
    "an empty file": (text(UNET, ""), EmosceneError, "unet is damaged"),
    "no tensors": (weights(UNET, lambda state: {}), EmosceneError, "holds no weights"),
    "a pickle": (pickled(UNET), UsageError, "model.bin is a pickle.*save it as safe"),
    "another ending": (renamed(UNET, "unet/diffusion_pytorch_model.bin"), UsageError, "has .*model.bin .*: rename"),
    "another name": (renamed(TEXT, "text_encoder/pytorch.safetensors"), UsageError, "no model.safetensors: rename it"),
    "no weights": (without(UNET), EmosceneError, "has no diffusion_pytorch_model.safetensors: fetch"),
    "a lost shard": (
        lambda folder: (
            renamed(UNET, "unet/first.safetensors")(folder),
            text(f"{UNET}.index.json", json.dumps({"weight_map": {"conv_in.weight": "second.safetensors"}}))(folder),
        ),
        EmosceneError,
        "unet is damaged .second.safetensors: ",
    ),
    "a config nested without end": (
        text("unet/config.json", "[" * 100_000),
        EmosceneError,
        "config.json (is damaged|cannot be read)",
    ),
    "a tokenizer that is a number": (text("tokenizer/tokenizer.json", "5"), EmosceneError, "tokenizer is damaged"),
    "a tokenizer without its parts": (text("tokenizer/tokenizer.json", "{}"), EmosceneError, "tokenizer is damaged"),
    "latents that vanish": (config("vae/config.json", scaling_factor=1e39), EmosceneError, "from 0.001 to 1000"),
    "an end of numbers": (
        config("vae/config.json", scaling_factor=10**400),
        EmosceneError,
        "a number has more than 64 bits",
    ),
    "no groups": (config("unet/config.json", norm_num_groups=0), EmosceneError, "unet is damaged"),
    "an epsilon in words": (
        config("unet/config.json", norm_eps="x"),
        EmosceneError,
        "norm_eps 'x', and it is a number",
    ),
    "a shift in words": (
        config("unet/config.json", freq_shift="x"),
        EmosceneError,
        "freq_shift 'x', and it is a number",
    ),
    "a layer that is left out": (config("vae/config.json", use_quant_conv=False), EmosceneError, "have quant_conv"),
    "an epsilon above all": (config("text_encoder/config.json", layer_norm_eps=1e39), EmosceneError, "it is below 1"),
    "layers in words": (
        config("text_encoder/config.json", num_hidden_layers="x"),
        EmosceneError,
        "text_encoder is damaged",
    ),
    "a tokenizer of another library": (
        text("tokenizer/tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "Evil"}}'),
        EmosceneError,
        "tokenizer is damaged",
    ),
    "a room in words": (
        config("tokenizer/tokenizer_config.json", model_max_length="x"),
        EmosceneError,
        "model_max_length",
    ),
    "timesteps of another kind": (
        config(SCHEDULE, timestep_spacing="foo"),
        UsageError,
        "has timesteps 'foo', and there is",
    ),
    "a scale that is no number": (
        text("vae/config.json", '{"scaling_factor": NaN}'),
        EmosceneError,
        "is damaged",
    ),
    "noise that flows by size": (text(SCHEDULE, FLOW), UsageError, "use_dynamic_shifting.*, which is not read"),
    "no first beta": (config(SCHEDULE, beta_start=None), UsageError, "scheduler of .* says no beta_start"),
    "no length": (config(SCHEDULE, num_train_timesteps=None), UsageError, "says no num_train_timesteps"),
    "a length without end": (
        config(SCHEDULE, num_train_timesteps=10**9),
        UsageError,
        "says no num_train_timesteps from 1",
    ),
    "a beta in words": (config(SCHEDULE, beta_end="much"), UsageError, "from beta 0.00085 to much"),
    "a beta above one": (config(SCHEDULE, beta_end=2.0), UsageError, "rise within .0, 1."),
    "a shape of noise nobody knows": (
        config(SCHEDULE, beta_schedule="wavy"),
        UsageError,
        "has betas 'wavy', and there is",
    ),
    "no noise at the end": (
        config(SCHEDULE, rescale_betas_zero_snr=True),
        UsageError,
        "begins at noise without any image",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("whole") / "base")


@pytest.mark.parametrize("name", CASES)
def test_each_fault_of_a_folder_is_one_sentence(name: str, whole: Path, tmp_path: Path) -> None:
    change, kind, sentence = CASES[name]
    folder = Path(shutil.copytree(whole, tmp_path / "base"))
    change(folder)
    with pytest.raises(kind) as caught:
        DiffusionModel.load(str(folder))
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


HARMLESS: dict[str, Change] = {
    "another scheduler": config(SCHEDULE, _class_name="EulerDiscreteScheduler"),
    "an average beside the weights": weights(UNET, more(model_ema__decay=torch.zeros(1))),
    "positions": weights(TEXT, more(text_model__embeddings__position_ids=torch.arange(77)[None])),
    "a UNet of no stated class": config("unet/config.json", _class_name=None),
    "a pickle beside the weights": text("unet/diffusion_pytorch_model.bin", "pickle"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_does_no_harm_is_read_as_before(name: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "base"))
    HARMLESS[name](folder)
    mine, theirs = DiffusionModel.load(str(folder)), DiffusionModel.load(str(whole))
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(500)
    noise, expected = (base.predict_noise(x, t, base.encode_condition(["a dog"])) for base in (mine, theirs))
    torch.testing.assert_close(noise, expected, rtol=1e-4, atol=1e-5)  # a longer header, and the sums begin elsewhere


def test_a_text_encoder_with_a_projection_gives_the_same_text(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "base"))
    settings = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    model = CLIPTextModelWithProjection(settings)
    theirs = DiffusionModel.load(str(whole))
    model.text_model.load_state_dict(theirs.text_encoder.state_dict())
    shutil.rmtree(folder / "text_encoder")
    model.save_pretrained(folder / "text_encoder")
    found = DiffusionModel.load(str(folder)).encode_prompt(["a dog"]).embeds
    assert torch.equal(found, theirs.encode_prompt(["a dog"]).embeds)


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("./typo", "in ./typo, for there is no such folder or file"),
        ("../typo", "no such folder or file"),
        ("~/typo", "no such folder or file"),
        ("/nowhere/typo", "no such folder or file"),
        ("one/two/three", "no such folder or file"),
        ("one/two--three", "no such folder or file"),
        ("-one/two", "no such folder or file"),
        ("one/" + "x" * 97, "no such folder or file"),
        ("x" * 300, "File name too long"),
        ("", "model_index.json is missing"),
    ],
)
def test_a_place_where_nothing_is(base: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        DiffusionModel.load(base)


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "a lake", "--base", "./typo", "--out", "out"]) == 2
    assert re.fullmatch("emoscene: no Stable Diffusion in ./typo.*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["dreamy.safetensors"], "give --base .*dreamy.safetensors"),
        (["dreamy.ckpt"], "dreamy.ckpt is a pickle"),
        (["deeper/model_index.json"], "there is one in .*deeper"),
        ([], "model_index.json is missing; the offline base is 'mini'"),
    ],
)
def test_a_folder_that_is_no_base_says_what_is_there(files: list[str], sentence: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(UsageError, match=sentence):
        DiffusionModel.load(str(tmp_path))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion v1.5, block for block, and very narrow."""
    folder = tiny.make(tmp_path_factory.mktemp("narrow") / "base")
    torch.manual_seed(1)
    size = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8}
    attention = {"cross_attention_dim": 32, "attention_head_dim": 2, "sample_size": 8}
    for kind, part, own in ((UNet2DConditionModel, "unet", attention), (AutoencoderKL, "vae", {})):
        settings = {**kind.load_config(str(sd1.CONFIGS), subfolder=part), **size, **own}
        kind.from_config(settings).save_pretrained(folder / part)
    return folder


@pytest.fixture(scope="module")
def state(narrow: Path) -> dict[str, Tensor]:
    return ldm.state(DiffusionModel.load(str(narrow)))


@pytest.fixture
def save(narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a single file, with a tokenizer beside it and configs of that width in the place of the package's."""
    monkeypatch.setattr(sd1.SD1, "configs", narrow)
    shutil.copytree(narrow / "tokenizer", tmp_path / "tokenizer")

    def write(state: dict[str, Tensor], name: str = "one.safetensors", **metadata: str) -> str:
        told = {key.replace("__", "."): value for key, value in metadata.items()}
        save_file(state, tmp_path / name, metadata=told or None)
        return str(tmp_path / name)

    return write


MARK = torch.tensor([])
V = {"v_pred": MARK}


@pytest.mark.parametrize(
    ("tensors", "metadata", "prediction"),
    [
        ({}, {}, "epsilon"),
        ({}, {"modelspec__predict_key": "epsilon"}, "epsilon"),
        (V, {}, "v_prediction"),
        ({}, {"modelspec__predict_key": "v"}, "v_prediction"),
        ({}, {"modelspec__prediction_type": "v"}, "v_prediction"),
        ({}, {"ss_v_parameterization": "True"}, "v_prediction"),
        (V | {"ztsnr": MARK}, {}, "v_prediction"),
    ],
)
def test_a_file_predicts_what_it_is_marked_with(
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    prediction: str,
    state: dict[str, Tensor],
    save: Callable[..., str],
) -> None:
    base = DiffusionModel.load(save({**state, **tensors}, **metadata))
    assert base.noise_process.prediction == prediction
    assert bool(base.noise_process.alphas_cumprod[-1] == 0) is ("ztsnr" in tensors)
    x, t, condition = torch.randn(1, 4, 8, 8), torch.tensor(500), base.encode_condition(["a dog"])
    raw = base.unet(x, t, condition.prompt_embeds).sample
    alphabar = base.noise_process.alphabar(t)
    expected = raw if prediction == "epsilon" else alphabar.sqrt() * raw + (1 - alphabar).sqrt() * x
    torch.testing.assert_close(base.predict_noise(x, t, condition), expected)


UNET_NAME = "model.diffusion_model.out.2.bias"
TEXT_NAME = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
VAE_NAME = "first_stage_model.decoder.conv_in.weight"


def faults(state: dict[str, Tensor]) -> dict[str, tuple[dict[str, Tensor], dict[str, str], type[Exception], str]]:
    """Single files that are no base: the tensors, the metadata, and what is said."""

    def lacks(name: str) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if key != name}

    first = "model.diffusion_model.input_blocks.0.0.weight"
    text = {key for key in state if key.startswith("cond_stage_model")}
    textless = {key: value for key, value in state.items() if key not in text}
    small = {key: value.to(torch.float8_e4m3fn) for key, value in state.items()}
    return {
        "ztsnr by kohya": (state, {"ss_zero_terminal_snr": "True"}, UsageError, "begins at noise without any image"),
        "another prediction": (state, {"modelspec__predict_key": "x0"}, UsageError, "marked as predicting 'x0'"),
        "EDM": ({**state, "edm_vpred.sigma_max": torch.ones(1)}, {}, UsageError, "EDM's noise levels"),
        "UNet": (lacks(UNET_NAME), {}, EmosceneError, "its UNet lacks conv_out.bias: fetch it again"),
        "text": (lacks(TEXT_NAME), {}, EmosceneError, "the text encoder in .* lacks final_layer_norm.weight"),
        "autoencoder": (lacks(VAE_NAME), {}, EmosceneError, "its autoencoder lacks decoder.conv_in.weight"),
        "inpainting": ({**state, first: torch.zeros(8, 9, 3, 3)}, {}, UsageError, "9 channels .*an inpainting model's"),
        "SDXL": (
            {"conditioner.embedders.0.x": MARK},
            {},
            UsageError,
            "Stable Diffusion 2 or Stable Diffusion XL: by its names it is a Stable Diffusion XL that lacks its UNet",
        ),
        "SD2": (
            {**textless, "cond_stage_model.model.x": MARK},
            {},
            UsageError,
            "it is a Stable Diffusion 2 that lacks its UNet or its text encoder",
        ),
        "LoRA": ({"lora_unet_x.alpha": torch.ones(1)}, {}, UsageError, "it is a LoRA, which goes to --lora"),
        "SDXL's label": (
            {**state, "model.diffusion_model.label_emb.0.0.weight": MARK},
            {},
            UsageError,
            "more than words",
        ),
        "eight bits": (small, {}, UsageError, "as F8_E4M3, which is not read"),
        "not finite": (
            {**state, UNET_NAME: torch.full((4,), torch.inf)},
            {},
            EmosceneError,
            "conv_out.bias that are not",
        ),
        "nothing": ({}, {}, UsageError, "it has no UNet and no autoencoder and no text encoder: give another"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("ztsnr by kohya", "another prediction", "EDM", "UNet", "text", "autoencoder", "inpainting"),
        *("SDXL", "SD2", "LoRA", "SDXL's label", "eight bits", "not finite", "nothing"),
    ],
)
def test_each_fault_of_a_file_is_one_sentence(name: str, state: dict[str, Tensor], save: Callable[..., str]) -> None:
    tensors, metadata, kind, sentence = faults(state)[name]
    with pytest.raises(kind) as caught:
        DiffusionModel.load(save(tensors, **metadata))
    assert re.search(sentence, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_an_ending_is_known_by_its_beginning(
    state: dict[str, Tensor], save: Callable[..., str], tmp_path: Path
) -> None:
    """The hub's cache has its files so."""
    assert DiffusionModel.load(save(state, name="0123abcd")).noise_process.prediction == "epsilon"
    (tmp_path / "pickle").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UsageError, match="is a pickle, which can run what it likes"):
        DiffusionModel.load(str(tmp_path / "pickle"))


def test_a_folder_that_is_named_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").mkdir()
    with pytest.raises(UsageError, match=r"model_index\.json is missing"):
        DiffusionModel.load(str(tmp_path / "one.safetensors"))


def test_a_header_that_is_none_is_damaged(tmp_path: Path) -> None:
    for content in (b"", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]", (9).to_bytes(8, "little") + b'{"a": 1}\n'):
        (tmp_path / "one.safetensors").write_bytes(content)
        with pytest.raises(EmosceneError, match=r"one\.safetensors is damaged .*fetch it again"):
            DiffusionModel.load(str(tmp_path / "one.safetensors"))


@pytest.mark.parametrize("key", ["_class_name", "timestep_spacing", "beta_start", "beta_end", "beta_schedule"])
def test_a_long_value_of_a_scheduler_is_cut_in_the_sentence(key):
    sound = {"num_train_timesteps": 1000, "beta_start": 0.1, "beta_end": 0.2, "beta_schedule": "linear"}
    with pytest.raises(UsageError, match="the scheduler of base") as refused:
        check_schedule({**sound, "num_train_timesteps": 0, key: {"x" * 20_000: 1}}, Path("base"))
    assert len(str(refused.value)) < 400
    with pytest.raises(UsageError, match="the scheduler of base") as refused:
        check_schedule({**sound, key: {"x" * 20_000: 1}, "beta_end": {"x" * 20_000: 1}}, Path("base"))
    assert len(str(refused.value)) < 400
