"""What suits a base is chosen by what the checkpoint is, not by what it is called."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

import tiny
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.architecture import Architecture
from emoscene.diffusion.base_spec import ModelSpec, find_spec
from emoscene.diffusion.families.base import find_architecture, name_architecture
from emoscene.diffusion.model import DiffusionModel
from emoscene.pipeline.generate import load
from emoscene.training import train

MINIATURE = registry.package_folder("bases", "mini") / "weights/base"
LEARNERS = ("captioner", "emotion_clip", "guidance", "inversion", "judge", "lora", "multimodal")


def write_configs(folder: Path, **unet: object) -> Path:
    """The configs of Stable Diffusion v1.5 without a weight, as far as an architecture is read from them."""
    shutil.copytree(registry.HOME / "diffusion/bases/sd15", folder)
    (folder / "model_index.json").write_text("{}")
    file = folder / "unet/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | unet))
    return folder


def write_header(file: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file with these names and shapes and nothing but a hole for the weights."""
    table, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        table[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(table).encode()
    with file.open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + offset)
    return file


def stable_diffusion_shapes() -> dict[str, tuple[int, ...]]:
    """The names of Stable Diffusion v1.5's single file that tell its channels and its text."""
    unet = "model.diffusion_model.input_blocks"
    first = {f"{unet}.0.0.weight": (320, 4, 3, 3)}
    shapes = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768), **first}
    for level, channels in enumerate((320, 640, 1280, 1280)):
        for number in (3 * level + 1, 3 * level + 2):
            shapes[f"{unet}.{number}.0.out_layers.3.weight"] = (channels, channels, 3, 3)
        if level < 3:
            shapes[f"{unet}.{3 * level + 3}.0.op.weight"] = (channels, channels, 3, 3)
    return shapes


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_stable_diffusion_in_a_folder_has_the_recipes_of_sd15(learner: str, tmp_path: Path) -> None:
    folder = str(write_configs(tmp_path / "anything"))
    assert (
        train.find_recipe(learner, folder) == train.find_recipe(learner, "sd15") != train.find_recipe(learner, "mini")
    )


def test_it_has_the_guidance_and_the_companions_of_sd15_too(tmp_path: Path) -> None:
    folder = str(write_configs(tmp_path / "anything"))
    assert find_spec(folder) == replace(find_spec("sd15"), source=folder, revision=None)


def test_one_file_is_known_by_the_shapes_of_its_tensors(tmp_path: Path) -> None:
    file = write_header(tmp_path / "dreamy.safetensors", stable_diffusion_shapes())
    assert find_architecture(file) == Architecture("sd1", (320, 640, 1280, 1280), 768)
    assert find_spec(str(file)) == replace(find_spec("sd15"), source=str(file), revision=None)
    assert train.find_recipe("lora", str(file)) == train.find_recipe("lora", "sd15")


def test_a_copy_of_the_miniature_is_the_miniature(tmp_path: Path) -> None:
    folder = str(shutil.copytree(MINIATURE, tmp_path / "copy"))
    assert find_spec(folder) == replace(find_spec("mini"), source=folder)
    for learner in LEARNERS:
        assert train.find_recipe(learner, folder) == train.find_recipe(learner, "mini")
    base = DiffusionModel.load(folder)
    assert base.auxiliary_model("captioner") == DiffusionModel.load("mini").auxiliary_model("captioner")
    assert load(base, method="lora").plan("a lake", emotion="awe")[0].guidance_scale == find_spec("mini").guidance_scale


def test_without_its_list_of_words_a_copy_says_nothing_of_words(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MINIATURE, tmp_path / "copy"))
    (folder / "words.txt").unlink()
    assert find_spec(str(folder)).vocabulary == ""
    assert load(str(folder)).remarks("a spaceship") == []


@pytest.mark.parametrize("base", ["/data/sd15", "owner/name", "runs/base", "./typo"])
def test_what_is_not_here_has_no_recipe_of_the_miniature(base: str) -> None:
    assert train.find_recipe("lora", base) == train.find_recipe("lora", "sd15")
    assert find_spec(base).guidance_scale == ModelSpec("").guidance_scale == 7.5


def test_an_unknown_shape_has_the_usual_recipe_and_no_companions(tmp_path: Path) -> None:
    folder = str(tiny.make(tmp_path / "base"))
    assert train.find_recipe("lora", folder) == train.find_recipe("lora", "sd15")
    assert find_spec(folder) == ModelSpec(folder)


@pytest.mark.parametrize("unet", [{"block_out_channels": [320, 640]}, {"block_out_channels": None}])
def test_another_width_is_another_family(unet: dict[str, object], tmp_path: Path) -> None:
    assert name_architecture(write_configs(tmp_path / "base", **unet)) == ""


def test_what_tells_no_architecture_has_no_family(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x04")
    for place in ("empty.safetensors", "old.ckpt", "nowhere", "."):
        assert name_architecture(tmp_path / place) == ""


def test_every_named_base_that_is_here_has_its_own_architecture() -> None:
    assert name_architecture(MINIATURE) == "mini"
    assert name_architecture(registry.HOME / "diffusion/bases/sd15") == "sd15"


def test_a_name_is_a_name_where_a_folder_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`emoscene demo --out mini` made one; but a base of that name is meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    assert find_spec("mini").source == str(MINIATURE)
    tiny.make(tmp_path / "sd15")
    assert find_spec("sd15").source == "sd15"


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    tiny.make(tmp_path / "base")
    base = DiffusionModel.load("~/base")
    assert (base.name, base.folder) == ("~/base", tmp_path / "base")


def test_a_name_nobody_knows_is_told_before_anything_else() -> None:
    with pytest.raises(UsageError, match="no base 'minni': did you mean 'mini'"):
        train.find_recipe("lora", "minni")
