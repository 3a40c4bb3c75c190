"""Single files of Stable Diffusion 2 and XL: the same base as the folder, and one sentence for what is off."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

import ldm
import tiny
from emoscene.core.errors import UsageError
from emoscene.diffusion.clip_tokenizer import make_clip_tokenizer
from emoscene.diffusion.families.base import find_family, load_family
from emoscene.diffusion.families.sd2 import TELLING
from emoscene.diffusion.model import DiffusionModel

MARK = torch.tensor([])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for family, prediction in (("sd2", "v_prediction"), ("sdxl", None)):
        found[family] = tiny.make(tmp_path_factory.mktemp(family), prediction, family)
    return found


def write_file(
    folder: Path, place: Path, family: str, monkeypatch: pytest.MonkeyPatch, lacks: tuple[str, ...] = ()
) -> tuple[Path, DiffusionModel]:
    """The single file of a folder, without the tensors that begin so, and the base of the folder."""
    base = DiffusionModel.load(str(folder))
    state = ldm.state(base)
    if family == "sd2":
        state["v_pred"] = MARK
    kept = {name: value for name, value in state.items() if not name.startswith(lacks or "nothing")}
    monkeypatch.setattr(type(load_family(family)), "configs", folder)
    place.mkdir(exist_ok=True)
    save_file(kept, place / "one.safetensors")
    return place / "one.safetensors", base


def predicted(base: DiffusionModel) -> tuple[Tensor, Tensor]:
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return base.predict(x, torch.tensor(500), base.encode_condition(["a dog"])), base.decode_latents(x)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_file_is_the_same_base_as_the_folder(
    family: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, theirs = write_file(folders[family], tmp_path / "file", family, monkeypatch)
    assert find_family(file).name == family
    mine = DiffusionModel.load(str(file))
    for found, expected in zip(predicted(mine), predicted(theirs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert mine.fingerprint == theirs.fingerprint
    assert mine.vae_fingerprint == theirs.vae_fingerprint
    assert mine.architecture == theirs.architecture
    assert mine.noise_process.prediction == theirs.noise_process.prediction


def test_flat_names_of_clip_are_read_as_well(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, theirs = write_file(folders["sdxl"], tmp_path / "file", "sdxl", monkeypatch)
    flat = {name.replace("transformer.text_model.", "transformer."): v for name, v in ldm.state(theirs).items()}
    save_file(flat, file)
    mine = DiffusionModel.load(str(file))
    torch.testing.assert_close(predicted(mine)[0], predicted(theirs)[0], rtol=1e-5, atol=1e-6)
    assert mine.fingerprint == theirs.fingerprint


def test_an_autoencoder_beside_the_file_stands_in_for_one_that_it_lacks(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, theirs = write_file(folders["sdxl"], tmp_path / "file", "sdxl", monkeypatch, ("first_stage_model.",))
    with pytest.raises(UsageError, match="has no autoencoder: put the folder vae of such a base beside it"):
        DiffusionModel.load(str(file))
    shutil.copytree(folders["sdxl"] / "vae", file.parent / "vae")
    mine = DiffusionModel.load(str(file))
    torch.testing.assert_close(predicted(mine)[1], predicted(theirs)[1], rtol=1e-5, atol=1e-6)
    assert mine.vae_fingerprint == theirs.vae_fingerprint


@pytest.mark.parametrize(
    ("lacks", "sentence"),
    [
        ("conditioner.embedders.1.", "it is a Stable Diffusion XL that lacks its UNet or one of its text encoders"),
        ("conditioner.embedders.0.", "it is a Stable Diffusion XL that lacks its UNet or one of its text encoders"),
    ],
)
def test_a_file_without_a_text_encoder_is_refused(
    lacks: str, sentence: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = write_file(folders["sdxl"], tmp_path / "file", "sdxl", monkeypatch, (lacks,))
    with pytest.raises(UsageError, match=sentence):
        DiffusionModel.load(str(file))


@pytest.mark.parametrize(("deviation", "prediction"), [(0.2, "v_prediction"), (0.02, "epsilon")])
def test_without_a_mark_a_bias_tells_what_sd2_predicts(
    deviation: float, prediction: str, tmp_path: Path, folders: dict[str, Path]
) -> None:
    bias = torch.randn(320, generator=torch.Generator().manual_seed(0))
    family = load_family("sd2")
    for metadata, expected in (({}, prediction), ({"modelspec.predict_key": "v"}, "v_prediction")):
        save_file({TELLING: deviation * bias / bias.std()}, tmp_path / "one.safetensors", metadata)
        schedule = family.read_schedule(tmp_path / "one.safetensors", folders["sd2"])
        assert schedule["prediction_type"] == expected


def test_without_a_tokenizer_sd2_pads_as_open_clip_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With "!", whose id is 0; and a "!" that somebody writes is still the word that OpenCLIP knows, 256."""
    folder = tiny.make(tmp_path / "base", "v_prediction", "sd2")
    settings = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    settings.vocab_size, settings.bos_token_id, settings.eos_token_id = 49408, 49406, 49407
    torch.manual_seed(0)
    CLIPTextModel(settings).save_pretrained(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    make_clip_tokenizer().save_pretrained(folder / "tokenizer")
    file, _ = write_file(folder, tmp_path / "file", "sd2", monkeypatch)
    shutil.rmtree(folder / "tokenizer")
    base = DiffusionModel.load(str(file))
    ids = torch.tensor([[49406, 320, 1929, 256, 49407, *[0] * 72]])
    with torch.no_grad():
        expected = base.text_encoder(ids).last_hidden_state
    assert base.tokenize("a dog!") == [320, 1929, 256]
    torch.testing.assert_close(base.encode_prompt(["a dog!"]).embeds, expected)


def test_tokenizers_that_differ_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import CLIPTokenizer

    folder = Path(shutil.copytree(folders["sdxl"], tmp_path / "base"))
    words = {"a</w>": 0, "b</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    CLIPTokenizer(vocab=words, merges=[], model_max_length=77).save_pretrained(folder / "tokenizer_2")
    with pytest.raises(UsageError, match=r"two tokenizers of .* know other words"):
        DiffusionModel.load(str(folder))


def test_the_half_precision_variant_is_the_same_base(folders: dict[str, Path], tmp_path: Path) -> None:
    """Only `*.fp16.safetensors` in each part, as many repositories of SDXL have them."""
    folder = Path(shutil.copytree(folders["sdxl"], tmp_path / "base"))
    whole = DiffusionModel.load(str(folders["sdxl"]))
    for part in ("text_encoder", "text_encoder_2", "unet", "vae"):
        [file] = (folder / part).glob("*.safetensors")
        half = {name: value.half() for name, value in load_file(file).items()}
        save_file(half, file.with_name(f"{file.stem}.fp16.safetensors"), {"format": "pt"})
        file.unlink()
    found = DiffusionModel.load(str(folder))
    assert found.fingerprint == whole.fingerprint
    torch.testing.assert_close(predicted(found)[0], predicted(whole)[0], rtol=1e-2, atol=1e-2)
