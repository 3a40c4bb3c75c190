"""A checkpoint is read as what it is: the same base in a folder and in a file, a stranger refused by its name."""

import json
import shutil
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

import ldm
import tiny
from emoscene.cli.main import main
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import hub
from emoscene.diffusion.base_spec import find_spec
from emoscene.diffusion.clip_tokenizer import make_clip_tokenizer
from emoscene.diffusion.families.base import find_family, load_family
from emoscene.diffusion.families.sd1 import SD1
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from test_bases import write_header

UNET, TEXT = "model.diffusion_model", "cond_stage_model"
STRANGERS = {
    "xl": (
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "a Stable Diffusion XL that lacks",
    ),
    "refiner": ("conditioner.embedders.0.model.ln_final.weight", "a refiner of Stable Diffusion XL"),
    "sd2": (f"{TEXT}.model.ln_final.weight", "a Stable Diffusion 2 that lacks its UNet or its text encoder"),
    "sd3": (f"{UNET}.joint_blocks.0.context_block.attn.proj.weight", "a Stable Diffusion 3"),
    "flux": ("double_blocks.0.img_attn.norm.key_norm.scale", "a Flux"),
}
PIPELINES = {
    "StableDiffusionXLImg2ImgPipeline": (
        "text_encoder_2",
        "a Stable Diffusion XL without its first text encoder, as its refiner is",
    ),
    "StableDiffusion3Pipeline": ("transformer", "a Stable Diffusion 3"),
    "FluxPipeline": ("transformer", "a Flux"),
    "PixArtSigmaPipeline": ("transformer", "a PixArtSigmaPipeline"),
}


def write_strange_folder(folder: Path, pipeline: str, part: str) -> Path:
    """The configs by which a folder of another family is known."""
    own = [] if part == "text_encoder_2" else ["text_encoder"]
    for name in ("unet", *own, part):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The miniature as a folder and as one file, and a copy of each whose weights moved, as fine-tuning moves them."""
    place = tmp_path_factory.mktemp("miniature")
    state = ldm.state(DiffusionModel.load("mini"))
    save_file(state, place / "one.safetensors")
    state[f"{UNET}.input_blocks.1.0.in_layers.2.weight"] += 0.01
    save_file(state, place / "tuned.safetensors")
    folder = Path(shutil.copytree(find_spec("mini").source, place / "folder"))
    tuned = Path(shutil.copytree(folder, place / "copy"))
    base = DiffusionModel.load(str(place / "tuned.safetensors"))
    base.unet.save_pretrained(tuned / "unet")
    return {
        "folder": folder,
        "file": place / "one.safetensors",
        "tuned file": place / "tuned.safetensors",
        "tuned folder": tuned,
    }


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature's LoRA as it is saved today: the shipped one records its base's fingerprint as version 0.1 did."""
    folder = Path(shutil.copytree(find_spec("mini").adapters["lora"], tmp_path_factory.mktemp("adapter") / "lora"))
    card = json.loads((folder / learners.CARD).read_text())
    card["base"]["fingerprint"] = DiffusionModel.load("mini").fingerprint
    (folder / learners.CARD).write_text(json.dumps(card))
    return folder


@pytest.mark.parametrize("kind", ["folder", "file", "tuned file", "tuned folder"])
def test_the_same_adapter_on_folder_file_and_fine_tuned_copy(
    kind: str, miniature: dict[str, Path], adapter: Path
) -> None:
    """Used on all of them, and only the copies whose weights are others are remarked on."""
    base = str(miniature[kind])
    own = find_spec("mini")
    found = find_spec(base)
    for name in ("architecture", "guidance_scale", "lexicon", "captioner", "emotion_clip", "adapters", "judges"):
        assert getattr(found, name) == getattr(own, name)
    pipe = load(base, adapter=adapter)
    tuned = kind.startswith("tuned")
    assert len(pipe.adapter_remarks) == tuned
    if tuned:
        assert f"than those of the base '{base}', whose architecture is the same" in pipe.adapter_remarks[0]
    assert (pipe.base.fingerprint == DiffusionModel.load("mini").fingerprint) is not tuned
    assert pipe.remarks("a spaceship")[-1].startswith(f"the base '{base}' does not know 'spaceship'")


def test_what_version_01_recorded_of_a_folder_says_little_of_a_file(miniature: dict[str, Path]) -> None:
    """Its digest was of whole files, so of the same weights in one file nobody can tell."""
    for kind, sentences in (("folder", []), ("file", ["may have been trained on other weights ('mini')"])):
        pipe = load(str(miniature[kind]), adapter=find_spec("mini").adapters["lora"])
        assert len(pipe.adapter_remarks) == len(sentences)
        assert all(sentence in remark for sentence, remark in zip(sentences, pipe.adapter_remarks, strict=True))


def test_an_image_is_the_same_from_folder_and_file(miniature: dict[str, Path], adapter: Path) -> None:
    images = []
    for base in ("mini", str(miniature["file"])):
        pipe = load(base, adapter=adapter, device="cpu")
        images.append(pipe("a lake", emotion="awe", seed=3, num_inference_steps=2).images[0].tobytes())
    assert images[0] == images[1]


def test_clip_reads_as_openai_wrote_it() -> None:
    """Ids that CLIP's own code gives."""
    tokenizer = make_clip_tokenizer()
    assert len(tokenizer) == 49408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, 49407)
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("hello world!")["input_ids"] == [49406, 3306, 1002, 256, 49407]
    assert tokenizer("A  DIAGRAM")["input_ids"] == [49406, 320, 22697, 49407]


def test_a_file_alone_reads_with_clips_tokenizer_and_asks_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text encoder that knows CLIP's 49,408 words, whose shapes no base of this machine has."""
    folder = tiny.make(tmp_path / "base")
    settings = CLIPTextConfig.from_pretrained(folder / "text_encoder")
    settings.vocab_size, settings.bos_token_id, settings.eos_token_id = 49408, 49406, 49407
    torch.manual_seed(0)
    CLIPTextModel(settings).save_pretrained(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    make_clip_tokenizer().save_pretrained(folder / "tokenizer")
    theirs = DiffusionModel.load(str(folder))
    file = tmp_path / "alone" / "one.safetensors"
    file.parent.mkdir()
    save_file(ldm.state(theirs), file)
    configs = Path(shutil.copytree(folder, tmp_path / "configs", ignore=shutil.ignore_patterns("tokenizer")))
    monkeypatch.setattr(SD1, "configs", configs)
    mine = DiffusionModel.load(str(file))
    assert mine.fingerprint == theirs.fingerprint
    words = ["a photo of a cat"]
    assert torch.equal(mine.encode_prompt(words).embeds, theirs.encode_prompt(words).embeds)


@pytest.mark.parametrize("name", STRANGERS)
def test_a_file_of_another_family_is_refused_by_its_header(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, kind = STRANGERS[name]
    shapes = {first: (2,), f"{UNET}.input_blocks.0.0.weight": (320, 4, 3, 3), "first_stage_model.x": (1,)}
    if name in {"sd3", "flux"}:
        del shapes[f"{UNET}.input_blocks.0.0.weight"]
    file = write_header(tmp_path / "v1-5-pruned.safetensors", shapes)
    assert main(["generate", "a lake", "--base", str(file), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    labels = "Stable Diffusion 1 or Stable Diffusion 2 or Stable Diffusion XL"
    assert f"{file} is no {labels}: by its names it is {kind}" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_folder_of_another_family_is_refused_by_its_configs(pipeline: str, tmp_path: Path) -> None:
    part, kind = PIPELINES[pipeline]
    folder = write_strange_folder(tmp_path / "sd15", pipeline, part)
    with pytest.raises(UsageError, match=f"or Stable Diffusion XL: by its names it is {kind}; give another --base"):
        DiffusionModel.load(str(folder))
    assert find_spec(str(folder)).architecture == ""


def test_a_stranger_of_the_hub_is_refused_before_its_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_strange_folder(tmp_path / "sd3", "StableDiffusion3Pipeline", "transformer")
    asked = []

    def snapshot(source: str, allow_patterns: list[str], **options: object) -> str:
        asked.append(allow_patterns)
        if options.get("local_files_only"):
            raise hub.LocalEntryNotFoundError("nothing")
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    with pytest.raises(UsageError, match="it is a Stable Diffusion 3"):
        DiffusionModel.load("somebody/their-model")
    assert [one for one in asked if "*model.safetensors" not in one][-1] == list(hub.CONFIGS)


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **options: object) -> None:
        raise AssertionError("a base was loaded before the call was checked")

    monkeypatch.setattr(DiffusionModel, "load", refuse)


CALLS = {
    "no adapter": (["generate", "a lake", "--adapter", "nowhere"], "no artifact in nowhere"),
    "no image": (["generate", "--image", "nowhere.png"], "nowhere.png"),
    "no emotion image": (["generate", "a lake", "--emotion-image", "nowhere.png"], "nowhere.png"),
    "a text": (["generate", "--image", "{text}"], "text.png"),
    "no LoRA": (["generate", "a lake", "--lora", "nowhere.safetensors"], "nowhere.safetensors is not there"),
    "a setting": (["generate", "a lake", "--method", "guidance", "clasifier_scale=3"], "did you mean"),
    "no own adapter": (["generate", "a lake", "--base", "{tiny}", "--method", "lora"], "has no lora of its own"),
    "another architecture": (
        ["generate", "a lake", "--base", "{tiny}", "--adapter", "{lora}"],
        "its text is 128 wide there and 32 here",
    ),
    "no own adapter on the hub": (
        ["generate", "a lake", "--base", "sd15", "--method", "lora"],
        "has no lora of its own",
    ),
    "another architecture on the hub": (
        ["generate", "a lake", "--base", "sd15", "--adapter", "{lora}"],
        "its text is 128 wide there and 768 here",
    ),
    "no data to train on": (["train", "lora", "--data", "nowhere"], "nowhere is not there"),
    "no data to tune on": (["tune", "lora", "--data", "nowhere"], "nowhere is not there"),
    "no data to judge by": (["evaluate", "--data", "nowhere"], "nowhere is not there"),
    "no judge": (["evaluate", "--judge", "nowhere"], "no model in nowhere"),
    "no images": (["prepare", "imagefolder", "--root", "nowhere"], "nowhere is not there: give --root"),
}


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize("name", CALLS)
def test_what_is_missing_is_said_before_a_base_is_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line, sentence = CALLS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    tiny.make(tmp_path / "tiny")
    capsys.readouterr()
    places = {"tiny": "tiny", "text": "text.png", "lora": find_spec("mini").adapters["lora"]}
    words = [word.format(**places) for word in line]
    assert main([*words, "--out", "out"]) in {1, 2}
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


def test_an_adapter_declares_the_architecture_and_its_parent(tmp_path: Path) -> None:
    base = DiffusionModel.load(str(tiny.make(tmp_path / "base")))
    folder = tmp_path / "lora"
    folder.mkdir()
    learners.save_learner(tiny.made("lora", base), "lora", folder, base)
    declared = learners.read_card(folder)["base"]
    assert declared["architecture"] == {"family": "sd1", "channels": [16, 32], "text_dim": 32}
    assert declared["fingerprint"] == base.fingerprint

    for key, value, sentence in (
        ("family", "sdxl", "it is of the family sdxl there and of sd1 here"),
        ("channels", [16, 64], r"its UNet is \(16, 64\) wide there and \(16, 32\) here"),
        ("text_dim", 48, "its text is 48 wide there and 32 here"),
    ):
        other = {**declared, "fingerprint": "fp16:0", "architecture": {**declared["architecture"], key: value}}
        card = {**learners.read_card(folder), "base": other}
        run_dir.write_atomic(folder / learners.CARD, json.dumps(card).encode())
        with pytest.raises(UsageError, match=sentence):
            load(base, adapter=folder)
        run_dir.write_atomic(folder / learners.CARD, json.dumps({**card, "base": declared}).encode())


@pytest.mark.parametrize("architecture", [{}, [], {"family": "sd1", "channels": 3, "text_dim": 8}])
def test_a_declaration_that_is_none_is_damaged(architecture: object, tmp_path: Path) -> None:
    base = {"name": "x", "fingerprint": "y", "width": 8, "architecture": architecture}
    card = {"learner": "lora", "config": {}, "emotions": [], "base": base}
    (tmp_path / learners.CARD).write_text(json.dumps(card))
    with pytest.raises(EmosceneError, match=r"learner\.json is damaged"):
        learners.read_card(tmp_path)


FAMILY = '''
"""A made-up family."""


class Cascade:
    name, label = "cascade", "Made-up Cascade"

    def recognizes(self, place):
        return (place / "cascade.json").is_file()

    def read_shapes(self, place):
        return (1, 2), 3
'''


def test_another_package_adds_a_family_by_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up_family.py").write_text(FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("cascade", "made_up_family:Cascade", "emoscene.families")
    plain = registry._list_entry_points
    monkeypatch.setattr(
        registry, "_list_entry_points", lambda kind: {"cascade": point} if kind == "families" else plain(kind)
    )
    folder = write_strange_folder(tmp_path / "base", "MadeUpPipeline", "transformer")
    with pytest.raises(
        UsageError, match=r"no Made-up Cascade or Stable Diffusion 1 or .*: by its names it is a MadeUpPipe"
    ):
        find_family(folder)
    (folder / "cascade.json").write_text("{}")
    assert find_family(folder).label == "Made-up Cascade"
    assert find_family(Path(find_spec("mini").source)) is load_family("sd1")


WORKING_FAMILY = '''
"""A made-up family: Stable Diffusion 1 whose UNet attends to its text turned round."""

from dataclasses import replace
from typing import final

from emoscene.diffusion.clip_family import ClipFamily
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.families.sd1 import SD1


@final
class Turned(ClipFamily):
    name, label = "turned", "Made-up Turned"
    layout, export_names, configs = replace(SD1.layout, label=label), SD1.export_names, SD1.configs

    def recognizes(self, place):
        return (place / "turned.json").is_file()

    def encode_prompt(self, parts, tokens, device, suffix=None, is_null=False):
        return TextEncoding(-SD1().encode_prompt(parts, tokens, device, suffix, is_null).embeds)
'''


def test_a_family_of_another_package_generates_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One class and one entry: images, every method, and an adapter that no other family takes."""
    (tmp_path / "turned_family.py").write_text(WORKING_FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("turned", "turned_family:Turned", "emoscene.families")
    plain = registry._list_entry_points
    monkeypatch.setattr(
        registry, "_list_entry_points", lambda kind: {"turned": point} if kind == "families" else plain(kind)
    )
    folder = tiny.make(tmp_path / "base")
    theirs = DiffusionModel.load(str(folder))
    shutil.copytree(folder, tmp_path / "turned")
    (tmp_path / "turned/turned.json").write_text("{}")
    mine = DiffusionModel.load(str(tmp_path / "turned"))
    assert mine.architecture.family == "turned"
    assert torch.equal(mine.encode_prompt(["a dog"]).embeds, -theirs.encode_prompt(["a dog"]).embeds)
    for name in registry.list_names("methods"):
        method = tiny.made(name, mine)
        [row] = EmotionPipeline(mine, {name: method}).plan("a dog", emotion="awe", num_inference_steps=2)
        *_, x = EmotionPipeline(mine, {name: method}).denoise([row])
        assert x.isfinite().all()
        if method.columns:
            with method.requires_grad_(True).attach():
                method(tiny.batch()).sum().backward()
    learners.save_learner(tiny.made("lora", mine), "lora", tmp_path, mine)
    assert load(mine, adapter=tmp_path).trained == ["lora"]
    with pytest.raises(UsageError, match="it is of the family turned there and of sd1 here"):
        load(theirs, adapter=tmp_path)
