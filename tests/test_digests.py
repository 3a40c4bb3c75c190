"""A base is known by its weights, whatever file they come from; adapters go with every checkpoint they fit."""

import json
import shutil
import warnings
import weakref
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

import emoscene
import tiny
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.diffusion import digests
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation.evaluate import evaluate
from emoscene.learning import learner
from emoscene.pipeline import image_folder
from tiny import made

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"
KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
LEARNING = [name for name in registry.list_names("methods") if registry.load_plugin("methods", name).columns]
MARKS = ("fingerprint", "vae_fingerprint", "shapes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def base(folder):
    return DiffusionModel.load(str(folder))


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def change(file, edit):
    """Write a file's tensors again, as `edit` has them."""
    save_file(edit(load_file(file)), file, metadata={"format": "pt"})


def nudge(file, key):
    """Change one number of a weight by a thousandth."""

    def edit(state):
        state[key].view(-1)[0] += 0.001
        return state

    change(file, edit)


def save_again(folder, precision=torch.float32, **options):
    """Every part written again by diffusers and transformers."""
    for part, kind in KINDS.items():
        model = kind.from_pretrained(folder, subfolder=part).to(precision)
        for file in (folder / part).glob("*.safetensors"):
            file.unlink()
        model.save_pretrained(folder / part, **options)


def rename_attention(folder):
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def edit(state):
        renamed = {}
        for key, value in state.items():
            for new, old in names.items():
                key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
            renamed[key] = value
        return renamed

    change(folder / VAE, edit)
    assert any(".proj_attn." in key for key in load_file(folder / VAE))


def add_extras(folder):
    positions = {"embeddings.position_ids": torch.arange(77)[None]}
    change(folder / TEXT, lambda state: {f"text_model.{key}": value for key, value in (state | positions).items()})
    change(folder / TEXT, lambda state: state | {"text_projection.weight": torch.ones(2, 2)})
    change(folder / UNET, lambda state: state | {"ema.decay": torch.ones(1)})


VARIANTS = {
    "half": lambda folder: save_again(folder, torch.float16),
    "half by name": lambda folder: save_again(folder, torch.float16, variant="fp16"),
    "shards": lambda folder: save_again(folder, max_shard_size="20KB"),
    "half shards by name": lambda folder: save_again(folder, torch.float16, variant="fp16", max_shard_size="20KB"),
    "attention's old words": rename_attention,
    "extra tensors, and CLIP a module deeper": add_extras,
    "another tokenizer": lambda folder: (folder / "tokenizer/special_tokens_map.json").write_text("{}"),
    "a half twin beside it": lambda folder: (folder / "unet/diffusion_pytorch_model.fp16.safetensors").write_bytes(b""),
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_same_weights_are_the_same_base(kind, base, copy):
    VARIANTS[kind](copy)
    mine = DiffusionModel.load(str(copy))
    assert [getattr(mine, mark) for mark in MARKS] == [getattr(base, mark) for mark in MARKS]
    for part in KINDS:
        a, b = (getattr(one, part).state_dict() for one in (mine, base))
        assert all(torch.equal(a[key].half(), b[key].half()) for key in b)


def test_the_shards_are_shards(copy):
    VARIANTS["half shards by name"](copy)
    assert min(len(list((copy / part).glob("*fp16*.safetensors"))) for part in KINDS) > 1


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["mini", "tiny"])
def test_the_precision_that_it_is_loaded_in_changes_nothing(name, precision, folder):
    place = name if name == "mini" else str(folder)
    mine, whole = DiffusionModel.load(place, dtype=precision), DiffusionModel.load(place)
    assert mine.unet.dtype == precision
    assert [getattr(mine, mark) for mark in MARKS] == [getattr(whole, mark) for mark in MARKS]


@pytest.mark.parametrize(
    ("file", "key", "changed"),
    [
        (UNET, "mid_block.resnets.0.conv1.bias", {"fingerprint"}),
        (TEXT, "final_layer_norm.bias", {"fingerprint"}),
        (VAE, "encoder.conv_in.bias", {"vae_fingerprint"}),
        (VAE, "quant_conv.bias", {"vae_fingerprint"}),
        (VAE, "decoder.conv_in.bias", set()),
    ],
)
def test_a_thousandth_is_another_base(file, key, changed, base, copy):
    nudge(copy / file, key)
    mine = DiffusionModel.load(str(copy))
    assert {mark for mark in MARKS if getattr(mine, mark) != getattr(base, mark)} == changed


@pytest.mark.parametrize(
    ("part", "setting", "same"),
    [
        ("text_encoder", {"hidden_act": "gelu"}, False),
        ("text_encoder", {"transformers_version": "4.0.0", "dtype": "float16"}, True),
        ("unet", {"attention_head_dim": 4}, False),
        ("unet", {"attention_head_dim": [2, 2]}, True),
        ("unet", {"_diffusers_version": "0.6.0", "sample_size": 16}, True),
    ],
)
def test_settings_count_where_they_change_what_is_computed(part, setting, same, base, copy):
    config = json.loads((copy / part / "config.json").read_text())
    (copy / part / "config.json").write_text(json.dumps(config | setting))
    assert (DiffusionModel.load(str(copy)).fingerprint == base.fingerprint) == same


def test_the_scaling_factor_counts(base, copy):
    config = json.loads((copy / "vae/config.json").read_text())
    (copy / "vae/config.json").write_text(json.dumps(config | {"scaling_factor": 0.5}))
    assert DiffusionModel.load(str(copy)).vae_fingerprint != base.vae_fingerprint


def test_a_digest_is_kept_until_a_file_changes(copy, monkeypatch):
    first = DiffusionModel.load(str(copy))
    before = first.fingerprint, first.vae_fingerprint

    def refuse(*given):
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(digests, "safe_open", refuse)
        again = DiffusionModel.load(str(copy))
        assert (again.fingerprint, again.vae_fingerprint) == before
    nudge(copy / UNET, "conv_in.bias")
    assert DiffusionModel.load(str(copy)).fingerprint != before[0]


def test_a_tensor_is_read_at_a_time(copy, monkeypatch):
    """The file is never read as a whole, and what was read is gone when the next comes."""
    opened, alive, most = digests.safe_open, [], []

    class Watched:
        def __init__(self, *given):
            self.file = opened(*given)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_tensor(self, key):
            tensor = self.file.get_tensor(key)
            most.append(sum(there() is not None for there in alive))
            alive.append(weakref.ref(tensor))
            return tensor

    base = DiffusionModel.load(str(copy))
    monkeypatch.setattr(digests, "safe_open", Watched)
    assert base.fingerprint
    assert len(most) == len(base.unet.state_dict()) + len(base.text_encoder.state_dict())
    assert max(most) <= 1


def test_a_weight_that_is_missing_is_named(copy):
    base = DiffusionModel.load(str(copy))
    change(copy / UNET, lambda state: {key: value for key, value in state.items() if key != "conv_in.bias"})
    with pytest.raises(EmosceneError, match=r"lacks the weight 'conv_in\.bias' of its unet: fetch or install it again"):
        assert base.fingerprint
    (copy / VAE).write_bytes(b"torn")
    with pytest.raises(EmosceneError, match=r"is missing or damaged .*: fetch or install it again"):
        assert base.vae_fingerprint
    (copy / "vae/diffusion_pytorch_model.safetensors.index.json").write_text("[]")
    with pytest.raises(EmosceneError, match=r"index\.json is damaged"):
        assert base.vae_fingerprint


def old_vae_digest(base):
    """As version 0.1 computed it, of loaded weights."""
    digest = sha256(str(base.vae.config.scaling_factor).encode())
    for name, value in sorted(base.vae.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + value.half().numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", ["mini", "tiny"])
def test_what_version_0_1_recorded_of_an_autoencoder_still_holds(name, folder):
    base = DiffusionModel.load(name if name == "mini" else str(folder))
    assert base.vae_fingerprint == old_vae_digest(base)


def test_what_version_0_1_recorded_of_a_base_still_holds(base, copy):
    parts = (run_dir.fingerprint_folder(copy / part)[:32] for part in ("unet", "text_encoder", "tokenizer"))
    recorded = " ".join(parts)
    assert digests.is_old_form(recorded)
    assert not digests.is_old_form(base.fingerprint)
    assert base.matches(recorded)
    assert not base.matches(recorded.replace(recorded[:32], "0" * 32))
    nudge(copy / UNET, "conv_in.bias")
    assert not DiffusionModel.load(str(copy)).matches(recorded)


def test_the_shipped_adapters_are_at_home():
    base = DiffusionModel.load("mini")
    for method in base.spec.adapters:
        place = Path(base.spec.adapters[method])
        assert base.matches(learner.read_card(place)["base"]["fingerprint"])
        assert learner.load_learner("methods", place, base).remark == ""


def saved(name, base, folder):
    folder.mkdir()
    learner.save_learner(made(name, base), name, folder, base)
    return folder


def age(folder):
    """Make a card as version 0.1 wrote it."""
    card = learner.read_card(folder)
    card["base"].pop("shapes")
    card["base"]["fingerprint"] = "0" * 64
    (folder / learner.CARD).write_text(json.dumps(card))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("name", LEARNING)
def test_an_adapter_goes_with_another_checkpoint(name, old, base, copy, tmp_path):
    adapter = saved(name, base, tmp_path / "adapter")
    if old:
        age(adapter)
    nudge(copy / UNET, "mid_block.resnets.0.conv1.bias")
    loaded = learner.load_learner("methods", adapter, DiffusionModel.load(str(copy)))
    known = "may have been trained" if old else "was trained"
    assert loaded.remark == (
        f"{adapter} {known} on other weights ('{base.name}') than those of the base '{copy}', whose architecture "
        "is the same: its effect may differ"
    )
    assert old or learner.load_learner("methods", adapter, base).remark == ""


def widen(folder, part, **config):
    torch.manual_seed(0)
    kind = KINDS[part]
    if part == "text_encoder":
        settings = CLIPTextModel.config_class.from_pretrained(folder / part)
        settings.update(config)
        kind(settings).save_pretrained(folder / part)
    else:
        kind.from_config(kind.load_config(folder / part) | config).save_pretrained(folder / part)


def widen_text(folder):
    widen(folder, "text_encoder", hidden_size=48, num_attention_heads=2)
    widen(folder, "unet", cross_attention_dim=48)


OTHERS = {
    "other UNet": (
        lambda folder: widen(folder, "unet", block_out_channels=(16, 48)),
        "its UNet is (16, 32) wide there and (16, 48) here",
    ),
    "other text": (widen_text, "its text is 32 wide there and 48 here"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", LEARNING)
def test_an_adapter_of_another_architecture_is_refused(name, other, base, copy, tmp_path):
    adapter = saved(name, base, tmp_path / "adapter")
    OTHERS[other][0](copy)
    with pytest.raises(UsageError) as caught:
        learner.load_learner("methods", adapter, DiffusionModel.load(str(copy)))
    assert f"'{copy}' is of another architecture ({OTHERS[other][1]}" in str(caught.value)
    assert str(caught.value).endswith(f"give --base {base.name}")


@pytest.mark.parametrize("name", ["lora", "multimodal"])
def test_an_old_adapter_of_another_architecture_is_refused_by_its_shapes(name, base, copy, tmp_path):
    adapter = saved(name, base, tmp_path / "adapter")
    age(adapter)
    widen(copy, "unet", block_out_channels=(16, 48))
    with pytest.raises(UsageError, match=r"is of another architecture .* give --base"):
        learner.load_learner("methods", adapter, DiffusionModel.load(str(copy)))


def test_a_damaged_adapter_is_not_taken_for_one_of_another_architecture(base, copy, tmp_path):
    adapter = saved("inversion", base, tmp_path / "adapter")
    nudge(copy / UNET, "conv_in.bias")
    save_file({"tokens": torch.zeros(2)}, adapter / "tokens.safetensors")
    with pytest.raises(EmosceneError, match=r"holds other weights than its learner\.json says"):
        learner.load_learner("methods", adapter, DiffusionModel.load(str(copy)))


@pytest.mark.parametrize("lacks", ["name", "fingerprint", "width"])
def test_a_card_that_says_too_little_of_its_base_is_damaged(lacks, base, tmp_path):
    adapter = saved("inversion", base, tmp_path / "adapter")
    card = learner.read_card(adapter)
    card["base"].pop(lacks)
    (adapter / learner.CARD).write_text(json.dumps(card))
    with pytest.raises(EmosceneError, match=rf"learner\.json is damaged \(base\.{lacks} is missing"):
        learner.load_learner("methods", adapter, base)


def test_the_remark_is_told_once_and_recorded(base, copy, tmp_path):
    adapter = saved("lora", base, tmp_path / "adapter")
    nudge(copy / UNET, "conv_in.bias")
    told = []
    call = {
        "adapter": adapter,
        "base": str(copy),
        "emotion": "awe",
        "num_inference_steps": 1,
        "on_message": told.append,
    }
    out = emoscene.generate("a dog", out=tmp_path / "out", **call)
    [remark] = [sentence for sentence in told if "was trained on other weights" in sentence]
    assert run_dir.read_manifest(out)["remarks"] == [remark]
    pipe = emoscene.load(str(copy), adapter=adapter)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipe(["a dog", "a cat"], num_inference_steps=1)
    assert [str(one.message) for one in caught if one.category is UserWarning] == [remark]
    home = emoscene.generate("a dog", out=tmp_path / "home", **call | {"base": base.name})
    assert "remarks" not in run_dir.read_manifest(home)


def test_a_folder_of_pictures_that_version_0_1_began_goes_on(base, folder, tmp_path):
    call = {"out": tmp_path / "out", "base": str(folder), "method": "none", "num_inference_steps": 1}
    out = emoscene.generate("a dog", **call)
    manifest = run_dir.read_manifest(out)
    assert manifest["config"]["weights"] == {"base": base.fingerprint}
    recorded = " ".join(
        run_dir.fingerprint_folder(folder / part)[:32] for part in ("unet", "text_encoder", "tokenizer")
    )
    manifest["config"]["weights"]["base"] = recorded
    (out / run_dir.MANIFEST).write_text(json.dumps(manifest))
    assert emoscene.generate("a dog", **call) == out
    manifest["config"]["weights"]["base"] = "0" * 64
    (out / run_dir.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"weights\.base is"):
        emoscene.generate("a dog", **call)
    assert image_folder.INDEX in {path.name for path in Path(out).iterdir()}


def test_scores_say_that_the_checkpoint_is_another(base, copy, tmp_path):
    adapter = saved("lora", base, tmp_path / "adapter")
    (adapter / run_dir.MANIFEST).write_text(
        json.dumps({"kind": "artifact", "state": "done", "config": {}, "seed": 0, "parents": []})
    )
    nudge(copy / UNET, "conv_in.bias")
    prompts = tmp_path / "one.toml"
    prompts.write_text('prompt = [{ text = "a beach", scene = "beach" }]')
    judges, told = tiny.judges(tmp_path / "judges"), []
    call = {"judge": judges, "prompts": prompts, "seeds": "0:2", "num_inference_steps": 1, "out": tmp_path / "scores"}
    call |= {"base": str(copy), "adapter": [adapter], "on_message": told.append}
    scores = json.loads((evaluate(**call) / "scores.json").read_text())
    [remark] = scores["remarks"]
    assert told.count(remark) == 1
    assert "was trained on other weights" in remark
    manifest = run_dir.read_manifest(tmp_path / "scores")
    recorded = " ".join(run_dir.fingerprint_folder(copy / part)[:32] for part in ("unet", "text_encoder", "tokenizer"))
    manifest["config"]["weights"]["base"] = recorded
    (tmp_path / "scores" / run_dir.MANIFEST).write_text(json.dumps(manifest))
    assert evaluate(**call) == tmp_path / "scores"
