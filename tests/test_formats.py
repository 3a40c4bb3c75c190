"""Exports: the card's own script, run with plain diffusers, paints our picture; other programs know every key."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

import emoscene
import tiny
from emoscene.cli import main
from emoscene.cli.options import CHOICES
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import loras
from emoscene.diffusion.families.sd1 import SD1
from emoscene.diffusion.families.sdxl import SDXL
from emoscene.diffusion.model import DiffusionModel
from emoscene.exports import card, lora_files
from emoscene.exports.artifact import PROMPT, SEED, open_artifact
from emoscene.exports.export import export
from emoscene.learning import learner as learners
from emoscene.methods.lora import layer_pattern

SLOW = pytest.mark.slow
DATA = Path(__file__).parent / "data/formats"
METHODS = ("lora", "inversion", "multimodal", "guidance")
LAYERS = "attention,feedforward,projections,convolutions"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A trained-looking artifact of each method, on the tiny base."""
    return write_artifacts(tmp_path_factory.mktemp("made"), "sd1")


@pytest.fixture(scope="module")
def made_xl(tmp_path_factory):
    """The same on a tiny Stable Diffusion XL."""
    return write_artifacts(tmp_path_factory.mktemp("made_xl"), "sdxl")


def write_artifacts(folder, family):
    base = DiffusionModel.load(str(tiny.make(folder / "base", family=family)))
    for name in METHODS:
        method = registry.load_plugin("methods", name).from_scratch(
            registry.load_plugin("methods", name).Config(), base
        )
        torch.manual_seed(1)
        for key, value in method.state_dict().items():
            if value.is_floating_point() and not key.endswith("bias"):
                value += 0.2 * torch.randn_like(value)
        (folder / name).mkdir()
        learners.save_learner(method, name, folder / name, base)
    return folder


@pytest.fixture(params=["tiny", pytest.param("mini", marks=SLOW)])
def artifacts(request):
    if request.param == "mini":
        return registry.package_folder("bases", "mini") / "weights"
    return request.getfixturevalue("made")


def plan(to, given):
    """What a format writes of an artifact."""
    return registry.load_plugin("formats", to)(given)


def scripts(folder):
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def play(monkeypatch):
    """Run the scripts of a card in its folder; returns what the pipelines painted, before it is rounded to bytes."""
    seen = []
    whole = VaeImageProcessor.numpy_to_pil

    def spy(images):
        seen.extend(images)
        return whole(images)

    def run(folder):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(VaeImageProcessor, "numpy_to_pil", staticmethod(spy))
        space = {}
        for script in scripts(folder):
            exec(script, space)
        return seen, space

    return run


def ours(folder, **asked):
    pipe = emoscene.load(learners.read_card(folder)["base"]["name"], adapter=folder)
    rows = pipe.plan(PROMPT, **{"emotion": "awe", "seed": SEED, **asked})
    *_, latents = pipe.denoise(rows)
    pixels = (pipe.base.decode_latents(latents) / 2 + 0.5).clamp(0, 1)
    return pixels[0].permute(1, 2, 0).numpy()


def levels(*files):
    """The largest difference of two pictures, of 255; rounded to bytes, the same one may differ by 1."""
    one, other = (np.asarray(Image.open(file), int) for file in files)
    return np.abs(one - other).max()


@pytest.mark.parametrize(
    ("name", "to"),
    [("lora", "diffusers"), ("lora", "kohya"), ("inversion", "diffusers"), pytest.param("lora", "a1111", marks=SLOW)],
)
def test_the_card_s_script_paints_our_picture(artifacts, name, to, tmp_path, play):
    out = export(artifacts / name, to=to, out=tmp_path / "out", steps=2)
    painted, _ = play(out)
    asked = [{}, {"emotion_scale": 0.5}][: 2 if to == "diffusers" else 1]
    for theirs, more in zip(painted, asked, strict=True):
        assert np.abs(theirs - ours(artifacts / name, num_inference_steps=2, **more)).max() < 1e-3
    assert np.abs(painted[0] - ours(artifacts / name, num_inference_steps=2, emotion_scale=0.0)).max() > 0.01
    assert levels(out / "awe.png", out / "gallery/awe-0007.png") <= 1


@pytest.mark.parametrize(
    ("name", "to"),
    [("lora", "diffusers"), ("lora", "kohya"), ("inversion", "kohya"), ("multimodal", "diffusers")],
)
def test_an_export_for_sdxl_is_plain_diffusers(made_xl, name, to, tmp_path, play):
    """Vectors of both encoders, kohya's names of layers, the card's own script."""
    out = export(made_xl / name, to=to, out=tmp_path / "out", steps=2)
    painted, _ = play(out)
    asked = [{}, {"emotion_scale": 0.5}][: 2 if (name, to) == ("lora", "diffusers") else 1]
    for theirs, more in zip(painted, asked, strict=True):
        assert np.abs(theirs - ours(made_xl / name, num_inference_steps=2, **more)).max() < 1e-3
    assert np.abs(painted[0] - ours(made_xl / name, num_inference_steps=2, emotion_scale=0.0)).max() > 0.01
    if name != "multimodal":
        files = sorted(file.name for file in out.glob("emo-*.safetensors"))
        assert len(files) == 8
        assert set(load_file(out / files[0])) == {"clip_l", "clip_g"}
    if to == "kohya" and name == "lora":
        keys = load_file(next(file for file in out.glob("*.safetensors") if "emo-" not in file.name))
        assert any(key.startswith("lora_unet_input_blocks_") for key in keys)
        assert any(key.startswith("lora_unet_middle_block_1_") for key in keys)


THEIR_WORDS = {
    "down_": "input_",
    "mid_": "middle_",
    "up_": "output_",
    ".conv1": ".in_layers.2",
    ".conv2": ".out_layers.3",
}


def test_every_layer_of_sdxl_has_the_name_that_kohya_s_scripts_know():
    """At the true shape: diffusers' own reader of such names finds its layers again."""
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    config = UNet2DConditionModel.load_config(str(SDXL.configs), subfolder="unet")
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    pattern = layer_pattern(LAYERS, SDXL.adapter_layers)
    layers = [name for name, module in unet.named_modules() if pattern.search(name) and hasattr(module, "weight")]
    named = {f"{lora_files.layer_key(SDXL(), 'unet', name)}.alpha": name for name in layers}
    assert len(named) == len(layers) > 700
    found = _maybe_map_sgm_blocks_to_diffusers(dict(named), unet.config)
    for key, name in found.items():
        theirs = key.removeprefix("lora_unet_").removesuffix(".alpha")
        for ours, other in THEIR_WORDS.items():
            name = name.replace(ours, other)
        assert theirs == name.replace(".", "_")


def test_an_adapter_is_plain_diffusers_at_every_strength(artifacts, tmp_path, play):
    out = export(artifacts / "multimodal", to="diffusers", out=tmp_path / "out", steps=2)
    painted, space = play(out)
    assert np.abs(painted[0] - ours(artifacts / "multimodal", num_inference_steps=2)).max() < 1e-3

    def again(*asked):
        """What the script paints with other scales: (scale, emotion, whether it stands in the negative half)."""
        pipe, files = space["pipe"], load_file(out / "emotions.safetensors")
        pipe.load_ip_adapter(
            ["."] * len(asked),
            subfolder="",
            weight_name=["ip_adapter.safetensors"] * len(asked),
            image_encoder_folder=None,
        )
        pipe.set_ip_adapter_scale([scale for scale, *_ in asked])
        pairs = [([v, 0 * v] if away else [0 * v, v]) for v, away in ((files[name], away) for _, name, away in asked)]
        vectors = [torch.stack(pair)[:, None].float() for pair in pairs]
        seed, cfg = (
            torch.Generator().manual_seed(SEED),
            open_artifact(artifacts / "multimodal").pipe.base.spec.guidance_scale,
        )
        pipe(PROMPT, ip_adapter_image_embeds=vectors, num_inference_steps=2, guidance_scale=cfg, generator=seed)
        return painted[-1]

    for wanted, made in (
        ({"emotion_scale": 1.5}, [(1.5, "awe", False)]),
        ({"emotion_scale": -0.5}, [(-0.5, "awe", False), (0.5, "awe", True)]),
        ({"emotion": "awe:0.7,fear:0.3"}, [(0.7, "awe", False), (0.3, "fear", False)]),
    ):
        assert np.abs(again(*made) - ours(artifacts / "multimodal", num_inference_steps=2, **wanted)).max() < 1e-3


def test_the_card_s_blend_is_the_whole_dial(artifacts, tmp_path, play):
    """Suppression and mixtures, as the card says that plain diffusers can have them."""
    out = export(artifacts / "lora", to="diffusers", out=tmp_path / "out", steps=2)
    painted, space = play(out)
    pipe, cfg = space["pipe"], open_artifact(artifacts / "lora").pipe.base.spec.guidance_scale
    pipe.load_textual_inversion(".", weight_name="emo-fear.safetensors")

    def encoded(words):
        return pipe.encode_prompt(words, "cpu", 1, False)[0]

    def again(text, negative, scale):
        seed = torch.Generator().manual_seed(SEED)
        embeds = {"prompt_embeds": text, "negative_prompt_embeds": negative}
        more = {"cross_attention_kwargs": {"scale": scale}, "num_inference_steps": 2, "guidance_scale": cfg}
        pipe(**embeds, **more, generator=seed)
        return painted[-1]

    plain, awe, fear = (encoded(PROMPT + words) for words in ("", " <emo-awe>", " <emo-fear>"))
    empty, away = encoded(""), encoded("<emo-awe>")
    suppressed = again(torch.lerp(plain, awe, -0.5), torch.lerp(empty, away, 0.5), 0.5)
    assert np.abs(suppressed - ours(artifacts / "lora", num_inference_steps=2, emotion_scale=-0.5)).max() < 1e-3
    longer = 1 / (0.7**2 + 0.3**2) ** 0.5
    mixed = again(plain + longer * (0.7 * (awe - plain) + 0.3 * (fear - plain)), empty, 1.0)
    assert np.abs(mixed - ours(artifacts / "lora", num_inference_steps=2, emotion="awe:0.7,fear:0.3")).max() < 1e-3


def test_a_classifier_goes_with_a_script_of_ours(artifacts, tmp_path, monkeypatch):
    out = export(artifacts / "guidance", to="diffusers", out=tmp_path / "out", steps=2)
    monkeypatch.chdir(out)
    [script] = scripts(out)
    exec(script, {})
    assert levels(out / "awe.png", out / "gallery/awe-0007.png") <= 1
    assert "library_name: emoscene" in (out / "README.md").read_text()


@pytest.mark.parametrize("name", ["multimodal", "guidance"])
def test_what_other_programs_have_no_file_for_is_refused(made, name, tmp_path):
    with pytest.raises(UsageError, match="export it --to diffusers"):
        export(made / name, to="a1111", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def golden(prefix):
    names = [line.split()[0] for line in (DATA / "sd15_keys.txt").read_text().splitlines()]
    return {name for name in names if name.startswith(prefix)}


def test_the_golden_keys_are_what_their_maker_makes():
    space = {}
    exec((DATA / "make.py").read_text(), space)
    assert space["lines"]() == (DATA / "sd15_keys.txt").read_text().splitlines()
    assert len({line.split()[1] for line in space["lines"]()}) == len(space["lines"]())


def test_every_key_of_stable_diffusion_is_one_that_the_loaders_know():
    """The exact architecture, without its numbers; kohya counts 192 modules of attention and 72 of text."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12))
    named = {"unet": unet, "text_encoder": text}
    layers = {
        part: {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)}
        for part, model in named.items()
    }
    keys = {part: {lora_files.layer_key(SD1(), part, name) for name in found} for part, found in layers.items()}
    assert keys["unet"] == golden("lora_unet_")
    assert keys["text_encoder"] == golden("lora_te_")
    pattern = layer_pattern(LAYERS, SD1.adapter_layers)
    adapted = {lora_files.layer_key(SD1(), "unet", name) for name in layers["unet"] if pattern.search(name)}
    assert sum("attentions" in key for key in adapted) == 192
    assert len(keys["text_encoder"]) == 72
    assert len(adapted) == 192 + 2 * 22  # and two convolutions a residual block


def test_a_kohya_file_has_true_alphas_and_both_parts(made, tmp_path):
    """An update of the text encoder, too, and an alpha that is not the rank, come back through diffusers' reader."""
    given = open_artifact(made / "lora")
    given.peft_config["lora_alpha"] = 4
    draw = torch.Generator().manual_seed(2)
    place = "text_encoder", "encoder.layers.1.self_attn.q_proj"
    given.low_rank_factors[place] = torch.randn(16, 32, generator=draw), torch.randn(32, 16, generator=draw)
    plan("kohya", given).write_files(tmp_path)
    file = tmp_path / f"{given.name}.safetensors"
    assert f"lora_te_text_model_{place[1].replace('.', '_')}.alpha" in load_file(file)
    assert {float(value) for key, value in load_file(file).items() if key.endswith("alpha")} == {4.0}
    plan("diffusers", given).write_files(tmp_path)
    for written in (file, tmp_path / "pytorch_lora_weights.safetensors"):
        back = loras.read_factors(written)
        assert back.keys() == given.low_rank_factors.keys()
        for at, (a, b) in given.low_rank_factors.items():
            assert torch.equal(back[at][0], a.float())
            torch.testing.assert_close(back[at][1], b.float() * 4 / 16)


def metadata(file):
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_files_say_what_they_are(tmp_path):
    given = open_artifact("mini:lora")
    plan("a1111", given).write_files(tmp_path)
    file = tmp_path / "models/Lora/emoscene-lora.safetensors"
    about = metadata(file)
    assert about["ss_network_dim"] == "16"
    assert about["ss_network_alpha"] == "16"
    assert json.loads(about["ss_network_args"]) == {"conv_dim": 16, "conv_alpha": 16}
    assert about["ss_v2"] == "False"
    assert about["ss_base_model_version"] == "mini"  # and never a Stable Diffusion that it is not
    assert about["ss_max_train_steps"] == "1500"
    assert sum(json.loads(about["ss_tag_frequency"])["emoscene"].values()) > 5000
    assert about["sshs_model_hash"] == loras.hash_tensors(file.read_bytes())
    assert about["modelspec.hash_sha256"] == f"0x{about['sshs_model_hash']}"
    assert re.fullmatch("[0-9a-f]{8}", about["sshs_legacy_hash"])
    needed = ("sai_model_spec", "architecture", "implementation", "title", "resolution", "date", "trigger_phrase")
    assert all(about[f"modelspec.{name}"] for name in needed)
    assert about["modelspec.architecture"] == "mini/lora"
    one = metadata(tmp_path / "embeddings/emo-awe.safetensors")
    assert one["modelspec.architecture"] == "mini/textual-inversion"
    assert one["modelspec.trigger_phrase"] == "emo-awe"
    for emotion in EMOTIONS:
        [(name, vectors)] = load_file(tmp_path / f"embeddings/emo-{emotion}.safetensors").items()
        assert (name, vectors.shape) == ("emb_params", (4, 128))
    assert json.loads(file.with_suffix(".json").read_text())["sd version"] == "Unknown"


def test_comfyui_has_the_same_files_in_its_folders(made, tmp_path):
    given = open_artifact(made / "lora")
    for to in ("kohya", "comfyui"):
        plan(to, given).write_files(tmp_path / to)
    one = load_file(tmp_path / f"comfyui/models/loras/{given.name}.safetensors")
    other = load_file(tmp_path / f"kohya/{given.name}.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    names = {path.stem for path in (tmp_path / "comfyui/models/embeddings").iterdir()}
    assert names == {f"emo-{emotion}" for emotion in EMOTIONS}


def test_the_hub_is_told_the_words_that_each_format_needs(made, tmp_path):
    given = open_artifact(made / "lora")
    for to, word in (("diffusers", "<emo-awe>"), ("kohya", "emo-awe"), ("a1111", "emo-awe")):
        about = header(given, to)
        assert about["instance_prompt"] == word
        assert about["widget"][1]["text"] == f"{PROMPT} {word}"
        assert "datasets" not in about
    about = header(open_artifact(made / "multimodal"), "diffusers")
    assert "instance_prompt" not in about and about["widget"][1]["text"] == PROMPT


@pytest.mark.parametrize(("revision", "datasets"), [("c0ffee", ["owner/feelings"]), ("", None)])
def test_a_card_names_the_hub_s_data(made, revision, datasets):
    call = {"source": "hub", "root": "owner/feelings", "revision": revision}  # a folder's has none
    parent = {"kind": "prepared", "config": call, "roles": {"methods": 8}}
    cost = {"trainable": 1, "pictures": 2, "seconds": 3}
    given = replace(open_artifact(made / "lora"), manifest={"parents": [parent], "cost": cost})
    assert header(given, "kohya").get("datasets") == datasets
    assert f"8 images of `{datasets[0] if datasets else 'hub'}`" in card._about_text(given)


def header(given, to):
    return yaml.safe_load(card._yaml_header(given, plan(to, given)))


def test_the_optimizer_is_the_one_that_was_used(made):
    for own, told in (
        ({"muon": 0.0}, "torch.optim.AdamW"),  # before there was a choice
        ({"muon": 0.0, "optimizer": "prodigy"}, "prodigyopt.Prodigy"),
        ({"muon": 0.0, "optimizer": "adamw8bit"}, "bitsandbytes.optim.AdamW8bit"),
        ({"muon": 20.0, "optimizer": "adamw"}, None),
        ({}, None),
    ):
        given = replace(open_artifact(made / "lora"), manifest={"config": {"training": own}})
        assert lora_files.network_metadata(given)["ss_optimizer"] == told


def test_only_stable_diffusion_s_shape_is_called_so(made, monkeypatch):
    given = open_artifact(made / "lora")
    assert not given.has_usual_shape
    monkeypatch.setattr(SD1, "configs", given.pipe.base.folder)
    assert given.has_usual_shape
    assert lora_files.network_metadata(given)["ss_base_model_version"] == "sd_v1"
    assert lora_files.modelspec_metadata(given, "lora")["modelspec.architecture"] == "stable-diffusion-v1/lora"


def test_the_card_shows_the_figures_of_its_own_scores(made, tmp_path):
    given = open_artifact(made / "lora")
    assert "Nothing was measured" in card.result_table(given, None)
    figure = {"value": 0.9, "low": 0.85, "high": 0.93, "n": 64, "by": "judge"}
    scores = {"adapters": ["print"], "judges": {"judge": {"emotion_accuracy": figure, "ceiling": figure}}}
    scores |= {"metrics": {"diversity": figure}, "images": 64, "prompts": ["a"], "seeds": [1], "emotion_scale": 1.0}
    scores |= {"guidance_scale": 5.0, "num_inference_steps": 20, "sampler": "dpm++"}
    opened_stage = run_dir.RunDir.open(tmp_path / "scores", "scores", {})
    (tmp_path / "scores/scores.json").write_text(json.dumps(scores))
    opened_stage.finish()
    with pytest.raises(UsageError, match="are not the scores of"):
        card.result_table(given, tmp_path / "scores")
    run_dir.RunDir.open(tmp_path / "images", "scores", {}).finish()
    judged = {name: scores[name] for name in ("judges", "metrics", "images")}
    (tmp_path / "images/scores.json").write_text(json.dumps(judged))
    with pytest.raises(UsageError, match="are not the scores of"):
        card.result_table(given, tmp_path / "images")
    given.manifest["fingerprint"] = "print"
    text = card.result_table(given, tmp_path / "scores")
    assert "| emotion as asked, by the judge `judge` | 0.900 [0.850, 0.930] |" in text
    assert "64 images of 1 prompt and 1 seed" in text
    written = "".join(file.read_text() for file in (registry.HOME / "evaluation/metrics").glob("*.py"))
    assert all(f'"{name}": ' in written for name in card.METRICS)
    proof = {"t": [50], "accuracy": [0.75], "pictures": 365}
    given.card["proof"] = proof
    assert "| 50 | 0.750 |" in card.result_table(given, None)


class Hub:
    """Stands in for `HfApi`."""

    seen: tuple[dict, ...] = ()

    def create_repo(self, repo_id, **more):
        if repo_id == "me/refused":
            raise OSError("403 Forbidden")
        return repo_id

    def upload_folder(self, **more):
        Hub.seen += (more,)
        return f"https://hub/{more['repo_id']}"


def test_push_uploads_all_but_the_manifest(made, tmp_path, monkeypatch):
    call = {"to": "diffusers", "out": tmp_path / "out", "steps": 1}
    said = []
    monkeypatch.setattr("emoscene.exports.export.get_token", lambda: None)
    with pytest.raises(UsageError, match="hf auth login"):
        export(made / "guidance", push="me/emotions", **call)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("emoscene.exports.export.get_token", lambda: "token")
    monkeypatch.setattr("emoscene.exports.export.HfApi", Hub)
    with pytest.raises(EmosceneError, match=r"me/refused was not uploaded \(OSError: 403 Forbidden\).* is complete"):
        export(made / "guidance", push="me/refused", **call)
    export(made / "guidance", push="me/emotions", on_message=said.append, **call)
    assert said == [
        f"the card and the images name the base by its folder, {made / 'base'}",
        "uploaded to https://hub/me/emotions",
    ]
    assert Hub.seen[-1]["folder_path"] == tmp_path / "out"
    assert "manifest.json" in Hub.seen[-1]["ignore_patterns"]


def test_the_verb_goes_on_and_says_what_is_off(made, tmp_path, capsys):
    line = [
        "export",
        str(made / "inversion"),
        "--to",
        "kohya",
        "--steps",
        "1",
        "--num",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main.main(line) == 0
    first = (tmp_path / "out/manifest.json").read_bytes()
    assert main.main(line) == 0
    assert (tmp_path / "out/manifest.json").read_bytes() == first
    assert run_dir.read_manifest(tmp_path / "out", "export")["state"] == "done"
    assert tuple(registry.list_names("formats")) == CHOICES["to"]
    assert len(list((tmp_path / "out/gallery").glob("*.png"))) == 9 * 2
    with Image.open(tmp_path / "out/gallery.png") as sheet:
        assert sheet.height > 2 * 64
    capsys.readouterr()
    for words, sentence in (
        ([*line[:3], "a111", *line[4:]], "did you mean 'a1111'?"),
        ([*line[:-1], str(made / "lora")], "holds files that emoscene did not make"),
        (["export", str(tmp_path), *line[2:]], "no artifact in"),
        (["export", "mini:lorra", *line[2:]], "did you mean 'lora'?"),
        (line[:2], "export needs --to"),
    ):
        assert main.main(words) == 2
        assert sentence in capsys.readouterr().err
