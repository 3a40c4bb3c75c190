"""The verb `train`, from a prepared folder to an artifact that paints."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch, Learner
from emoscene.training import callbacks, dry_run
from emoscene.training import train as train_verb
from emoscene.training.callbacks import validation_places
from emoscene.training.loop import run_training
from emoscene.training.state import Config
from emoscene_mini.world1.layouts import write_layout

FEW = {"steps": 4, "batch_size": 4, "precision": "fp32", "checkpoint_every": 2, "rank": 2}
CLIP = str(registry.package_folder("bases", "mini") / "weights/emotion_clip")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare("mini", out=tmp_path_factory.mktemp("data") / "prepared", limit=24, base=base, workers=0)


def train(data: Path, out: Path, base: str, name: str = "lora", **settings: object) -> Path:
    asked = {"on_message": str, **FEW, **settings}
    return emoscene.train(name, data=data, out=out, base=base, **{k: v for k, v in asked.items() if v is not None})


def test_what_it_makes_paints_and_says_where_it_comes_from(data: Path, base: str, tmp_path: Path) -> None:
    out = train(data, tmp_path / "lora", base)
    manifest = run_dir.read_manifest(out, "artifact")
    assert manifest["state"] == "done"
    assert manifest["parents"][0]["fingerprint"] == run_dir.read_manifest(data)["fingerprint"]
    assert manifest["cost"]["pictures"] == 16
    assert not (out / "checkpoints").exists()
    pipe = emoscene.load(base, adapter=out)
    assert pipe.method == "lora"
    assert pipe("a dog", emotion="awe", num_inference_steps=2).params[0].adapters == ("lora",)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_data_are_the_bases_in_whatever_precision_it_is_trained_on(
    precision: torch.dtype, data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where the base is loaded in bf16."""
    rounded = DiffusionModel.load(base, dtype=precision)
    monkeypatch.setattr(train_verb, "load_training_model", lambda *given: rounded)
    out = train(data, tmp_path / "lora", base, precision="fp32" if precision == torch.float32 else "bf16", steps=1)
    assert run_dir.read_manifest(out)["state"] == "done"


def test_data_that_version_0_1_prepared_are_known(data: Path, base: str, tmp_path: Path) -> None:
    old = shutil.copytree(data, tmp_path / "old")
    manifest = run_dir.read_manifest(old)
    manifest["encoder"] = manifest.pop("vae_fingerprint")
    (old / run_dir.MANIFEST).write_text(json.dumps(manifest))
    assert run_dir.read_manifest(train(old, tmp_path / "lora", base, steps=1))["state"] == "done"


def test_a_run_that_version_0_1_began_goes_on(data: Path, base: str, tmp_path: Path) -> None:
    def interrupt(sentence: str) -> None:
        if sentence.startswith("step 2:"):
            os.kill(os.getpid(), signal.SIGINT)

    own = {"steps": 6, "validate_every": 2}
    with pytest.raises(EmosceneError, match="--resume goes on"):
        train(data, tmp_path / "out", base, **own, on_message=interrupt)
    recorded = " ".join(
        run_dir.fingerprint_folder(Path(base) / part)[:32] for part in ("unet", "text_encoder", "tokenizer")
    )
    for mark, goes_on in (("0" * 64, False), (recorded, True)):
        for target in checkpoints.list_checkpoints(tmp_path / "out/checkpoints"):
            state = json.loads((target / "state.json").read_text())
            state["about"]["base"] = mark
            (target / "state.json").write_text(json.dumps(state))
        if goes_on:
            assert run_dir.read_manifest(train(data, tmp_path / "out", base, **own, resume=True))["state"] == "done"
        else:
            with pytest.raises(UsageError, match="is of another base"):
                train(data, tmp_path / "out", base, **own, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "inversion", "guidance", "multimodal"])
def test_ctrl_c_and_resume_give_the_same_artifact(name: str, data: Path, base: str, tmp_path: Path) -> None:
    cls = registry.load_plugin("methods", name)
    own = {"steps": 8, "validate_every": 3, "images_every": 5, "patience": 9, "rank": 2 if name == "lora" else None}
    if "vector" in cls.columns:
        data = prepare("mini", out=tmp_path / "seen", limit=24, base=base, workers=0, emotion_clip=CLIP, on_message=str)

    def interrupt(sentence: str) -> None:
        if sentence.startswith("step 3:"):
            os.kill(os.getpid(), signal.SIGINT)

    whole = train(data, tmp_path / "whole", base, name, **own)
    with pytest.raises(EmosceneError, match=r"stopped at step 4, saved in .*: the same call with --resume goes on"):
        train(data, tmp_path / "parts", base, name, **own, on_message=interrupt)
    with pytest.raises(UsageError, match="--resume"):
        train(data, tmp_path / "parts", base, name, **own)
    about = checkpoints.list_checkpoints(tmp_path / "parts/checkpoints")[-1] / "state.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"seconds": 1000}))
    parts = train(data, tmp_path / "parts", base, name, **own, resume=True)
    assert 1000 < run_dir.read_manifest(parts)["cost"]["seconds"] < 1100
    assert run_dir.read_manifest(parts)["cost"]["pictures"] == 32
    assert run_dir.read_manifest(whole)["fingerprint"] == run_dir.read_manifest(parts)["fingerprint"]
    assert run_dir.read_manifest(whole)["history"] == run_dir.read_manifest(parts)["history"]
    assert [row["step"] for row in run_dir.read_manifest(whole)["history"]] == [0, 3, 6, 8]
    assert [path.name for path in sorted((parts / "progress").iterdir())] == [
        f"step-{step:06d}.png" for step in (0, 5, 8)
    ]


@pytest.mark.parametrize("moment", ["the done mark", pytest.param("the checkpoints' going", marks=pytest.mark.slow)])
def test_a_kill_at_the_very_end_loses_nothing(
    moment: str, data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = run_dir.RunDir._write_manifest

    def mark(opened: run_dir.RunDir) -> None:
        if opened.is_done:
            raise KeyboardInterrupt
        note(opened)

    def clear(folder: Path) -> None:
        shutil.rmtree(checkpoints.list_checkpoints(folder)[0])
        raise KeyboardInterrupt

    whole = train(data, tmp_path / "whole", base)
    if moment == "the done mark":
        monkeypatch.setattr(run_dir.RunDir, "_write_manifest", mark)
    else:
        monkeypatch.setattr(checkpoints, "remove_all", clear)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "parts", base)
    monkeypatch.undo()
    assert checkpoints.list_checkpoints(tmp_path / "parts/checkpoints")
    parts = train(data, tmp_path / "parts", base, resume=True)
    assert not (parts / "checkpoints").exists()
    assert (
        run_dir.read_manifest(parts)["fingerprint"]
        == run_dir.read_manifest(whole)["fingerprint"]
        == run_dir.fingerprint_folder(parts)
    )
    assert run_dir.read_manifest(parts)["history"] == run_dir.read_manifest(whole)["history"]


def test_the_loss_on_unseen_pictures_is_the_same_every_time(data: Path, base: str, tmp_path: Path) -> None:
    """Whatever the seed of the training: at step 0 only the weights count."""
    told: list[str] = []
    one = train(data, tmp_path / "one", base, steps=1, on_message=told.append)
    other = train(data, tmp_path / "other", base, steps=1, seed=5)
    first, again = (run_dir.read_manifest(out)["history"][0] for out in (one, other))
    assert first == again
    unseen = PreparedDataset(data, "selector")
    names = {EMOTIONS[number] for number in unseen.column("emotion").tolist() if number >= 0}
    assert first["loss"].keys() == {"all", *names}
    assert f"step 0: loss on {format_count(len(unseen), 'unseen image')} {first['loss']['all']:.4f} (" in "\n".join(
        told
    )


def test_pictures_of_a_validation_are_dealt_evenly() -> None:
    class Labels:
        def read(self, indices: object, columns: object) -> dict[str, torch.Tensor]:
            return {"emotion": torch.tensor([0] * 10 + [3] * 10 + [5])}

        def __len__(self) -> int:
            return 21

    assert validation_places(Labels(), 6) == [0, 10, 20, 1, 11, 2]


def test_it_stops_early_and_keeps_the_best(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([3.0, 1.0, 2.0, 2.0, 9.0])
    kept: list[torch.Tensor] = []

    def found(learner: Learner, *rest: object) -> tuple[torch.Tensor, torch.Tensor]:
        kept.append(next(iter(learner.trainable.values())).detach().clone())
        return torch.full((2,), next(figures)), torch.zeros(2)

    monkeypatch.setattr(callbacks, "image_losses", found)
    told: list[str] = []
    out = train(
        data,
        tmp_path / "out",
        base,
        "inversion",
        steps=9,
        validate_every=1,
        patience=2,
        on_message=told.append,
        rank=None,
    )
    assert [row["step"] for row in run_dir.read_manifest(out)["history"]] == [0, 1, 2, 3]
    cost = run_dir.read_manifest(out)["cost"]
    assert cost["pictures"] == 12
    assert "peak_gb" not in cost, "there is no GPU here"
    assert "no better for 2 validations: it stops, and the best weights are kept" in told
    stored = load_file(out / "tokens.safetensors")["tokens"]
    assert torch.equal(stored, kept[1].half())


def test_a_dry_run_says_what_it_takes_and_writes_nothing(data: Path, base: str, tmp_path: Path) -> None:
    told: list[str] = []
    before = sorted(tmp_path.rglob("*"))
    out = train(data, tmp_path / "out", base, dry_run=True, steps=1000, on_message=told.append)
    assert out == tmp_path / "out"
    assert sorted(tmp_path.rglob("*")) == before
    assert [line.partition(":")[0] for line in told] == ["steps", "memory", "disk", "time", "take care"]
    pictures = len(PreparedDataset(data, "methods"))
    assert told[0] == f"steps: 1000 of 4, {4000 / pictures:.1f} times {pictures} images"


def test_a_forecast_of_the_disk_is_what_lies_there(data: Path, base: str, tmp_path: Path) -> None:
    backbone = DiffusionModel.load(base)
    cls = registry.load_plugin("methods", "lora")
    config = Config(steps=4, batch_size=4, checkpoints_total_limit=1, checkpoint_every=9, precision="fp32")
    learner = cls.from_scratch(cls.Config(rank=16), backbone)
    while_running, kept = dry_run.estimate_disk(learner, config)
    run_training(learner, PreparedDataset(data, "methods"), config, tmp_path)
    there = sum(file.stat().st_size for file in tmp_path.rglob("*"))
    assert while_running / 2 == pytest.approx(there, rel=0.3)
    (tmp_path / "kept").mkdir()
    learners.save_learner(learner, "lora", tmp_path / "kept", backbone)
    there = sum(file.stat().st_size for file in (tmp_path / "kept").glob("*.safetensors"))
    assert kept == pytest.approx(there, rel=0.3)


def test_a_disk_without_room_is_told_before_it_begins(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(EmosceneError, match=r"has .* kB free, and checkpoints take .* MB: make room"):
        train(data, tmp_path / "out", base)


@pytest.mark.parametrize("name", ["lora", "inversion"])
def test_checkpointing_changes_memory_and_nothing_else(name: str, data: Path, base: str) -> None:
    cls, gradients = registry.load_plugin("methods", name), []
    columns = PreparedDataset(data, "methods").read(range(4), cls.columns)
    for spare in (False, True):
        backbone = DiffusionModel.load(base)
        learner = cls.from_scratch(cls.Config(), backbone)
        for p in learner.parameters():
            p.data += 0.01
        if spare:
            backbone.enable_gradient_checkpointing()
        with learner.attach():
            learner(Batch(columns, 0, 0, range(4))).sum().backward()
        gradients.append([p.grad for p in learner.trainable.values()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_checkpointing_is_refused_where_no_unet_trains(data: Path, base: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave them out here"):
        train(data, tmp_path / "out", base, "guidance", rank=None, checkpointing=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler has many of its own
@pytest.mark.parametrize("name", ["lora", "multimodal"])
def test_compiled_it_learns_the_same(name: str, data: Path, base: str, tmp_path: Path) -> None:
    own = {"rank": None, "lr": 1e-4} if name == "multimodal" else {"lr": 1e-4}
    if name == "multimodal":
        data = prepare("mini", out=tmp_path / "seen", limit=24, base=base, workers=0, emotion_clip=CLIP, on_message=str)
    plain, compiled = (train(data, tmp_path / str(c), base, name, compile=c, **own) for c in (False, True))
    for one, other in zip(*(run_dir.read_manifest(out)["history"] for out in (plain, compiled)), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)


def test_curves_go_to_tensorboard(data: Path, base: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    out = train(data, tmp_path / "out", base, steps=10, report_to="tensorboard")
    [events] = [file for file in (out / "logs").rglob("*tfevents*") if b"unseen/all" in file.read_bytes()]
    assert b"loss" in events.read_bytes()
    assert run_dir.read_manifest(out)["fingerprint"] == run_dir.fingerprint_folder(
        train(data, tmp_path / "without", base, steps=10)
    )


@pytest.mark.parametrize(
    ("tracker", "sentence"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("aim", "pip install aim"),
        ("tensorboard", r"pip install 'emoscene\[train\]'"),
    ],
)
def test_a_tracker_that_is_not_there(
    tracker: str, sentence: str, data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "get_available_trackers", list)
    with pytest.raises(UsageError, match=sentence):
        train(data, tmp_path / "out", base, report_to=tracker)


@pytest.mark.parametrize("words", [{}, {"yes": True, "dry_run": True}])
def test_vectors_that_lack_are_offered(
    words: dict[str, bool], data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_verb, "run_training", pytest.fail)
    beside = sorted(data.parent.iterdir())
    with pytest.raises(UsageError, match=r"lacks EmotionCLIP's vectors: --yes trains an EmotionCLIP .* then prepares"):
        train(data, tmp_path / "out", base, "multimodal", rank=None, **words)
    assert not list(tmp_path.iterdir())
    assert sorted(data.parent.iterdir()) == beside


def test_what_a_source_says_of_itself_is_no_setting(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAF-DB's manifest tells how many pictures each of its rules touched."""
    root = write_layout("raf-db", 14, 0, tmp_path / "faces")
    data = prepare("raf-db", root=root, out=tmp_path / "own", base=base, workers=0, surprise="awe", on_message=str)
    cls = registry.load_plugin("methods", "multimodal")
    monkeypatch.setattr(train_verb, "train", lambda name, **call: Path(CLIP))
    monkeypatch.setattr(cls, "columns", ("vector",))
    ready = train_verb.provide_data("multimodal", cls, data, base, torch.device("cpu"), yes=True, on_message=str)
    assert PreparedDataset(ready).emotion_clip == run_dir.fingerprint_folder(CLIP)
    own, made = (run_dir.read_manifest(folder)["config"] for folder in (data, ready))
    assert made == own | {"emotion_clip": run_dir.fingerprint_folder(CLIP)}


@pytest.mark.slow
def test_vectors_that_lack_are_made(data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, ready, clip = (
        shutil.copytree(data, tmp_path / "own"),
        tmp_path / "own-multimodal",
        tmp_path / "own-emotion_clip",
    )
    small = {"steps": 1, "batch_size": 4, "side": 32, "width": 32, "text_width": 32, "heads": 2, "precision": "fp32"}
    monkeypatch.setattr(train_verb, "find_recipe", lambda name, base: small if name == "emotion_clip" else {})
    out = train(own, tmp_path / "out", base, "multimodal", rank=None, yes=True)
    assert run_dir.read_manifest(ready)["emotion_clip"] == run_dir.read_manifest(clip)["fingerprint"]
    assert [parent["fingerprint"] for parent in run_dir.read_manifest(out)["parents"]] == [
        run_dir.read_manifest(ready)["fingerprint"]
    ]


def test_captions_that_lack_are_told(base: str, tmp_path: Path) -> None:
    root = write_layout("imagefolder", 12, 0, tmp_path / "raw", size=32)
    (root / "metadata.jsonl").unlink()
    data = prepare("imagefolder", root=root, out=tmp_path / "mute", base=base, workers=0, spoilt=1.0, on_message=str)
    for yes in (False, True):
        told = r"mute lacks captions, and --base .* has no captioner: prepare it again with captioner=FOLDER"
        with pytest.raises(UsageError, match=told):
            train(data, tmp_path / "out", base, yes=yes)


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("rank = 4\nstepz = 9\n")
    with pytest.raises(UsageError, match="no option 'stepz': did you mean 'steps'"):
        read_call("train", ["lora", "--data", "x", "--out", "y", "--recipe", str(tmp_path / "mine.toml")])


def test_latents_of_another_size_are_refused(data: Path, base: str, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "base")
    about = json.loads((other / "unet/config.json").read_text())
    (other / "unet/config.json").write_text(json.dumps(about | {"sample_size": 16}))
    with pytest.raises(
        UsageError, match=r"of 64 x 64 pixels, 0\.2 times what --base .* generates: prepare it with that"
    ):
        train(data, tmp_path / "out", str(other))


def test_an_optimizer_that_is_not_there_is_told_before_anything_is_written(
    data: Path, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match="adamw8bit needs a package that is not installed: pip install bitsandbytes"):
        train(data, tmp_path / "out", base, optimizer="adamw8bit")
    assert not (tmp_path / "out").exists()


def test_done_is_not_done_again_and_another_call_is_refused(data: Path, base: str, tmp_path: Path) -> None:
    out = train(data, tmp_path / "lora", base)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train(data, out, base) == out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(UsageError, match="rank is 2 there and 3 here"):
        train(data, out, base, rank=3)


def test_one_learner_is_found_without_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    find = registry.load_plugin
    monkeypatch.setattr(registry, "load_plugin", lambda *words: asked.append(words) or find(*words))
    assert train_verb.find_learner("judge").split == "judges"
    assert asked == [("encoders", "judge")]


def test_each_base_has_its_own_recipe() -> None:
    assert train_verb.find_recipe("guidance") == registry.load_table("recipes", "guidance_mini")
    assert train_verb.find_recipe("guidance", "sd15") == registry.load_table("recipes", "guidance_sd15")
    assert train_verb.find_recipe("guidance", "runs/base") == registry.load_table("recipes", "guidance_sd15")
    assert train_verb.find_recipe("prompt") == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"name": "lorra"}, "did you mean 'lora'"),
        ({"name": "prompt"}, "nothing to learn"),
        ({"rnk": 3}, "did you mean 'rank'"),
        ({"rank": 0}, "out of range"),
        ({"resume": True}, "nothing to resume"),
    ],
)
def test_words_that_are_off(words: dict[str, object], sentence: str, data: Path, base: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(data, tmp_path / "out", base, **words)  # type: ignore[arg-type]
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_latents_of_another_autoencoder_are_refused(data: Path, base: str, tmp_path: Path) -> None:
    other = shutil.copytree(base, tmp_path / "base")
    vae = AutoencoderKL.from_pretrained(str(other / "vae"))
    with torch.no_grad():
        vae.encoder.conv_in.weight.add_(0.1)
    vae.save_pretrained(str(other / "vae"))
    with pytest.raises(UsageError, match="another autoencoder"):
        train(data, tmp_path / "out", str(other))
    assert not (tmp_path / "out").exists()
