"""What version 0.1 wrote is read by today's code; `data/v0.1/training` was made by that version (see its make.py)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file

import emoscene
import tiny
from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core import setting_names as migration
from emoscene.core.errors import UsageError
from emoscene.core.images import read_params
from emoscene.core.migration import SCORES_VERSION, migrate_scores
from emoscene.data.preparation import prepare
from emoscene.diffusion.model import DiffusionModel
from emoscene.exports.artifact import Artifact
from emoscene.learning import learner as learners
from emoscene.methods.guidance import Guidance
from emoscene.methods.inversion import Inversion
from emoscene.methods.lora import LoRA
from emoscene.pipeline.adapters import update_weights
from emoscene.reporting.scores import load_entries
from emoscene.training.state import Config, TrainingState
from emoscene.training.train import migrate_call

DATA = Path(__file__).parent / "data"
OLD = DATA / "v0.1/training"
WEIGHTS = registry.package_folder("bases", "mini") / "weights"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def every_field() -> set[str]:
    """The settings of training and of all methods."""
    found = {option.name for option in configs.list_options(Config)}
    for name in registry.list_names("methods"):
        found |= {option.name for option in registry.list_options("methods", name)}
    return found


def test_each_new_name_is_a_setting_and_no_old_one_is() -> None:
    fields = every_field()
    assert set(migration.RENAMED.values()) <= fields
    assert not set(migration.RENAMED) & fields
    assert len(set(migration.RENAMED.values())) == len(migration.RENAMED)


def test_a_name_that_is_still_a_setting_keeps_its_meaning() -> None:
    assert migration.migrate_settings({"clip": "folder"}, ["clip", "max_grad_norm"]) == {"clip": "folder"}
    assert migration.migrate_settings({"scale": 2.0}, ["scale"]) == {"scale": 2.0}
    assert migration.migrate_settings({"clip": 1.0}, ["max_grad_norm"]) == {"max_grad_norm": 1.0}


@pytest.mark.parametrize(("old", "new"), migration.TRAINING.items())
def test_an_old_word_of_training_is_told_the_new_one(old: str, new: str, base: str, tmp_path: Path) -> None:
    run_dir.RunDir.open(tmp_path / "data", "prepared", {}).finish()
    with pytest.raises(UsageError, match=f"the option '{old}' is now called '{new}'"):
        emoscene.train("lora", data=tmp_path / "data", out=tmp_path / "out", base=base, **{old: 1})


@pytest.mark.parametrize("method", ["guidance", "lora+guidance"])
def test_an_old_word_of_guidance_is_told_the_new_one(method: str) -> None:
    with pytest.raises(UsageError, match="the setting 'away' is now called 'suppression_scale'"):
        emoscene.load("mini", method=method, away=2.0, device="cpu")
    with pytest.raises(UsageError, match=r"the setting 'guidance\.scale' is now called 'guidance\.classifier_scale'"):
        emoscene.load("mini", method=method, device="cpu", **{"guidance.scale": 2.0})


def test_a_misspelt_word_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'batch_size'"):
        configs.replace_fields(Config(), {"batch_sise": 4})


def test_the_shipped_adapters_load_with_the_settings_that_they_were_trained_with() -> None:
    base = DiffusionModel.load("mini")
    assert "away" in json.loads((WEIGHTS / "guidance/learner.json").read_text())["config"], "it is as 0.1 wrote it"
    guidance = learners.load_learner("methods", WEIGHTS / "guidance", base)
    assert isinstance(guidance, Guidance)
    own = guidance.config
    assert (own.classifier_scale, own.suppression_scale, own.interval_start, own.interval_end) == (12.0, 6.0, 0.2, 1.0)
    for name in ("lora", "inversion", "multimodal"):
        recorded = json.loads((WEIGHTS / name / "learner.json").read_text())["config"]
        loaded = configs.to_dict(learners.load_learner("methods", WEIGHTS / name, base).config)
        today = {migration.METHODS.get(key, key): value for key, value in recorded.items()}
        assert {key: loaded[key] for key in today} == today


def test_settings_of_a_shipped_adapter_that_did_not_change_are_not_told_as_changed() -> None:
    assert emoscene.load("mini", method="guidance", device="cpu").settings == {}
    assert emoscene.load("mini", method="guidance", classifier_scale=12.0, device="cpu").settings == {}
    changed = emoscene.load("mini", method="guidance", classifier_scale=9.0, device="cpu").settings
    assert changed == {"guidance.classifier_scale": 9.0}


def test_an_adapter_of_0_1_loads(base: str) -> None:
    lora = emoscene.load(base, adapter=OLD / "lora", device="cpu").methods["lora"]
    assert isinstance(lora, LoRA)
    assert (lora.config.token_lr_multiplier, lora.config.cond_drop_prob) == (3.0, 0.2)
    stored = load_file(OLD / "lora/tokens.safetensors")["tokens"]
    assert torch.equal(lora.tokens, stored.float())


def test_the_settings_of_a_run_of_0_1_are_told_in_exports(base: str) -> None:
    manifest = run_dir.read_manifest(OLD / "lora")
    settings = Artifact(OLD / "lora", {}, manifest, None, 0).training_facts["settings"]  # type: ignore[arg-type]
    assert settings["batch_size"] == 4 and settings["cond_drop_prob"] == 0.2
    assert not migration.RENAMED.keys() & settings.keys()


def test_a_call_that_0_1_recorded_is_the_same_call_today() -> None:
    recorded = run_dir.read_manifest(OLD / "begun")["config"]
    today = migrate_call(recorded, Inversion)
    assert today["training"]["weight_decay"] == 0.02 and today["own"]["short_caption_prob"] == 0.6
    assert today["training"].keys() == configs.to_dict(Config()).keys()
    assert today["own"].keys() == configs.to_dict(Inversion.Config()).keys()


def begun(folder: Path, base: str) -> tuple[Path, dict[str, Any]]:
    """The run that 0.1 began, as if on this base and on data that are made here, and the call that goes on with it."""
    data = prepare("mini", out=folder / "prepared", limit=24, base=base, workers=0, on_message=str)
    out = Path(shutil.copytree(OLD / "begun", folder / "begun"))
    manifest = run_dir.read_manifest(out)
    manifest["config"]["base"] = base
    manifest["parents"] = [run_dir.read_manifest(data)]
    (out / run_dir.MANIFEST).write_text(json.dumps(manifest))
    state = json.loads((out / "checkpoints/step-3/state.json").read_text())
    state["about"]["base"] = DiffusionModel.load(base).fingerprint
    (out / "checkpoints/step-3/state.json").write_text(json.dumps(state))
    call = {"data": data, "out": out, "base": base, "resume": True, "steps": 4, "batch_size": 4, "precision": "fp32"}
    call |= {"checkpoint_every": 2, "validation_images": 8, "checkpoints_total_limit": 1, "ema_decay": 0.9}
    return out, call | {"vectors": 2, "short_caption_prob": 0.6, "weight_decay": 0.02, "validate_every": 2}


def test_a_run_that_0_1_began_goes_on(base: str, tmp_path: Path) -> None:
    out, call = begun(tmp_path, base)
    with pytest.raises(UsageError, match=r"training\.weight_decay is 0\.02 there and 0\.03 here"):
        emoscene.train("inversion", **{**call, "weight_decay": 0.03})
    told: list[str] = []
    emoscene.train("inversion", **call, on_message=told.append)
    assert any("resumed at step 3" in sentence for sentence in told)
    assert run_dir.read_manifest(out)["state"] == "done"


def test_a_checkpoint_of_0_1_is_restored_exactly(base: str, tmp_path: Path) -> None:
    out, call = begun(tmp_path, base)
    backbone = DiffusionModel.load(base)
    learner = Inversion.from_scratch(Inversion.Config(vectors=2), backbone)
    training = {key: value for key, value in call.items() if key in configs.to_dict(Config())}
    state = TrainingState(learner, configs.replace_fields(Config(lr=5e-3), training))
    state.restore(out / "checkpoints/step-3")
    moments = load_file(out / "checkpoints/step-3/moments.safetensors")
    kept = state.optimizers[0].state[learner.vectors]
    assert {f"{kind}.vectors" for kind in kept} == moments.keys()
    assert all(torch.equal(kept[key.partition(".")[0]], value) for key, value in moments.items())
    assert torch.equal(learner.vectors, load_file(out / "checkpoints/step-3/weights.safetensors")["vectors"])
    rate = 0.01 + 0.99 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 2 / 3, dtype=torch.float64)).item())
    assert state.optimizers[0].param_groups[0]["lr"] == pytest.approx(5e-3 * rate, rel=1e-12)
    assert state.optimizers[0].param_groups[0]["weight_decay"] == 0.02


def test_an_image_of_0_1_tells_its_settings_by_todays_names(tmp_path: Path) -> None:
    chunks = PngInfo()
    row = {"prompt": "a dog", "method": "guidance", "settings": {"guidance.scale": 9.0, "guidance.low": 0.1}}
    chunks.add_text("emoscene", json.dumps(row))
    Image.new("RGB", (8, 8)).save(tmp_path / "old.png", pnginfo=chunks)
    today = {"guidance.classifier_scale": 9.0, "guidance.interval_start": 0.1}
    assert read_params(tmp_path / "old.png").settings == today


def test_a_call_of_generate_or_evaluate_that_0_1_recorded_has_todays_names() -> None:
    recorded = {"settings": {"scale": 9.0, "guidance.away": 2.0}}
    today = {"classifier_scale": 9.0, "guidance.suppression_scale": 2.0}
    assert update_weights(recorded, DiffusionModel.load("mini"))["settings"] == today


@pytest.mark.parametrize("form", ["v0.1/scores", "scores_form_2"])
def test_scores_of_older_forms_are_reported_under_todays_names(form: str, tmp_path: Path) -> None:
    folder = DATA / form
    there = json.loads((folder / "scores.json").read_text())
    assert (there["pictures"], "images" in there) == (16, False), "it is as that version wrote it"
    [entry] = load_entries([folder])
    scores = entry.scores
    assert scores["version"] == SCORES_VERSION
    assert (scores["images"], scores["emotion_scale"], scores["num_inference_steps"]) == (16, 0.5, 2)
    assert scores["images_per_second"] == there["pictures_per_second"]
    assert entry.cost("training_images") == 48_000
    assert entry.cost("seconds_per_image") == there["cost"]["seconds_a_picture"]
    assert scores["judges"] == there["judges"]
    assert not {"pictures", "pictures_per_second"} & scores.keys()
    emoscene.report(folder, out=tmp_path / "report", on_message=str)
    figures = (tmp_path / "report/scores.csv").read_text()
    assert "lora,cost,training_images,48000.0" in figures


def test_what_scores_lack_has_todays_names_too() -> None:
    sentences = {"pictures": "1 of 2 cannot be read", "diversity": "too few"}
    migrated = migrate_scores({"from": "folder", "pictures": 1, "missing": sentences})
    assert migrated["missing"] == {"images": "1 of 2 cannot be read", "diversity": "too few"}
    with pytest.raises(UsageError, match="version='three' is off"):
        migrate_scores({"version": "three"})
