"""What words, lists and cards can refuse is refused before the base is loaded, and nothing is written."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

import emoscene
import tiny
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.data import preparation
from emoscene.data.sources.base import FileSource
from emoscene.diffusion.model import DiffusionModel
from emoscene_mini.world1.layouts import write_layout


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A base, judges, prepared data, a trained adapter, and folders that are something else."""
    folder = tmp_path_factory.mktemp("here")
    base = str(tiny.make(folder / "base"))
    tiny.judges(folder / "judges")
    root = write_layout("imagefolder", 16, 5, folder / "images", size=32, workers=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "SHARD", 8)
        call = {"root": root, "base": base, "workers": 0, "on_message": str}
        emoscene.prepare("imagefolder", out=folder / "data", split="methods:1", **call)
        emoscene.prepare("imagefolder", out=folder / "heldout", split="heldout:1", **call)
    emoscene.train("lora", data=folder / "data", out=folder / "lora", base=base, steps=1, device="cpu", on_message=str)
    shutil.copytree(folder / "data", folder / "open")
    manifest = (folder / "open/manifest.json").read_text()
    (folder / "open/manifest.json").write_text(manifest.replace('"state": "done"', '"state": "open"'))
    (folder / "others").mkdir()
    (folder / "others/letter.txt").write_text("Dear")
    (folder / "happy/happy").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "happy/happy/x.jpg")
    return folder


@pytest.fixture
def unloaded(monkeypatch):
    """Whoever loads a base or looks at an image fails."""

    def fail(*given, **words):
        raise AssertionError("it was begun")

    monkeypatch.setattr(DiffusionModel, "__init__", fail)
    monkeypatch.setattr(FileSource, "_survey_one", fail)
    monkeypatch.setattr(torch, "compile", fail)


def list_files(folder):
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


def fill(value, here):
    return value.format(here=here) if isinstance(value, str) else value


def check_refused(call, words, sentence, here):
    """Every word is filled in, the call is refused with the sentence, and nothing is written."""
    before = list_files(here)
    with pytest.raises(UsageError, match=sentence):
        call(**{name: fill(value, here) for name, value in ({"base": "{here}/base"} | words).items()})
    assert list_files(here) == before


PREPARE = {"source": "imagefolder", "root": "{here}/images", "out": "{here}/new", "workers": 0}
CALLS = [
    ({"split": "official"}, "--split official needs images that their own lists call train and val or test"),
    ({"split": "metods:0.5"}, "no role 'metods': did you mean 'methods'"),
    ({"root": "{here}/happy"}, "no emotion 'happy'.*the folder .*happy/happy"),
    ({"root": "{here}/others"}, "has neither metadata nor folders of images named"),
    ({"misfits": 0.1}, "misfits= needs a CLIP"),
    ({"clip": "{here}/judges/emotion"}, "clip= tells how captions fit, and misfits= how many are dropped: give both"),
    ({"balanced": True}, "balanced=true shares a --limit among the emotions: give --limit"),
    ({"source": "mini", "root": None, "balanced": True, "limit": 16}, "balanced=true has no effect on mini"),
    ({"misfits": 0.1, "clip": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"emotion_clip": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"captioner": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"emotion_clip": "{here}/lora"}, "lora is no EmotionCLIP: emoscene train emotion_clip makes one"),
    ({"captioner": "{here}/lora"}, "lora is no Captioner: emoscene train captioner makes one"),
    ({"out": "{here}/others"}, "holds files that emoscene did not make"),
    ({"out": "{here}/happy/happy/x.jpg"}, "is a file: name a folder"),
    ({"out": "{here}/lora"}, "another call's: it holds artifact and not prepared; choose another folder"),
    ({"out": "{here}/data", "split": "methods:1", "flips": True}, "another call's: .*flips.*; choose another folder"),
]


@pytest.mark.parametrize(("words", "sentence"), CALLS)
def test_prepare(words, sentence, here, unloaded):
    check_refused(emoscene.prepare, {"device": "cpu"} | PREPARE | words, sentence, here)


TABLES = [
    ({"label": ["awe", "fear", "happy"]}, "no emotion 'happy'.*b.parquet, row 2"),
    ({"label": [0, 1, 2]}, "b.parquet, row 0: nobody knows which emotion 0 is"),
    ({"emotion": ["awe", "awe", "awe"]}, "b.parquet has no column 'label': it has image, emotion"),
]


@pytest.mark.parametrize(("columns", "sentence"), TABLES)
def test_prepare_from_parquet(columns, sentence, tmp_path, here, unloaded):
    for name, more in (("a", {"label": ["awe", "fear", "awe"]}), ("b", columns)):
        parquet.write_table(pa.table({"image": [b"", b"", b""], **more}), tmp_path / f"{name}.parquet")
    with pytest.raises(UsageError, match=sentence):
        emoscene.prepare("hub", root=tmp_path, out=here / "new", base=f"{here}/base", device="cpu")


TRAIN = {"name": "lora", "data": "{here}/data", "out": "{here}/new"}
RUNS = [
    ({"data": "{here}/open"}, "open is not finished: call `emoscene prepare` again as before"),
    ({"data": "{here}/lora"}, "lora holds artifact, and prepared is wanted"),
    ({"data": "{here}/heldout"}, "has no images for methods"),
    ({"name": "multimodal"}, "lacks EmotionCLIP's vectors"),
    ({"name": "judge"}, "has no images for judges"),
    ({"name": "guidance", "checkpointing": True}, "are for methods that train through the UNet"),
    ({"name": "judge", "images_every": 5}, "images_every: judge generates no images"),
    ({"patience": 3, "validation_images": 0}, "patience= counts validations, and validation_images=0 has none"),
    ({"out": "{here}/others"}, "holds files that emoscene did not make"),
    ({"out": "{here}/data"}, "another call's: it holds prepared and not artifact"),
    ({"out": "{here}/lora", "steps": 2}, "another call's: .*steps.*; choose another folder"),
    ({"resume": True}, "nothing to resume in .*new"),
    ({"base": "sd15"}, r"data holds images of 64 x 64 pixels, 0\.0 times what --base sd15 generates: prepare it with"),
]


STUDIES = [
    ({"data": "{here}/nowhere"}, "nowhere is not there: give a folder that `emoscene prepare` wrote"),
    ({"data": "{here}/open"}, "open is not finished"),
    ({"data": "{here}/data"}, "has no images for selector"),
    ({"rank": "1..4"}, r"rank=\d+ is out of range: .*a study begins with the default"),
    ({"step": 3}, "no option 'step': did you mean 'steps'"),
    ({"out": "{here}/others"}, "holds files that emoscene did not make"),
    ({"out": "{here}/lora"}, "another call's: it holds artifact and not tuning"),
]


@pytest.mark.parametrize(("words", "sentence"), STUDIES)
def test_tune(words, sentence, here, unloaded):
    check_refused(emoscene.tune, {"trials": 1, "on_message": str} | TRAIN | words, sentence, here)


@pytest.mark.parametrize(("words", "sentence"), RUNS)
def test_train(words, sentence, here, unloaded):
    check_refused(emoscene.train, {"device": "cpu", "on_message": str} | TRAIN | words, sentence, here)


GENERATE = {"prompt": "a lake", "out": "{here}/new", "method": "prompt"}
IMAGES = [
    ({"emotion": "aw"}, "no emotion 'aw': did you mean 'awe'"),
    ({"emotion": ["awe", "awe:x"]}, "awe:x"),
    ({"prompt": ["a lake", 3]}, "prompt=3 is off"),
    ({"num_inference_steps": 0}, "num_inference_steps=0 is out of range"),
    ({"seed": 2**32 - 1, "num_images_per_prompt": 2}, "count past the last seed"),
    ({"sampler": "eulr"}, "no sampler 'eulr'"),
    ({"batch": 0}, "batch=0 is out of range"),
    ({"image": "{here}/others/letter.txt"}, "cannot be read as an image"),
    ({"image": "{here}/nowhere.png"}, "nowhere.png is not there"),
    ({"emotion_image": "{here}/nowhere.png"}, "nowhere.png is not there"),
    ({"out": "{here}/others"}, "holds files that emoscene did not make"),
    ({"out": "{here}/lora"}, "another call's: it holds artifact and not pictures"),
    ({"adapter": "{here}/judges/emotion", "method": None}, "emotion holds an encoder .judge. and no adapter"),
    ({"lora": "{here}/nowhere.safetensors"}, "nowhere.safetensors is not there"),
    ({"strength": 0.5}, "--strength says how much of an image changes: give the image"),
]


@pytest.mark.parametrize(("words", "sentence"), IMAGES)
def test_generate(words, sentence, here, unloaded):
    check_refused(emoscene.generate, {"device": "cpu"} | GENERATE | words, sentence, here)


EVALUATE = {"method": "prompt", "prompts": ["a lake"], "judge": "{here}/judges/emotion", "out": "{here}/new"}
IDLE = [
    ("seeds", {"seeds": "0:2"}),
    ("emotion-scale", {"emotion_scale": 2.0}),
    ("keep-images", {"keep_images": False}),
    ("batch", {"batch": 2}),
    ("dtype", {"dtype": "float32"}),
    ("sampler", {"sampler": "euler"}),
    ("classifier-scale", {"settings": {"classifier_scale": 3.0}}),
]
SCORES = [
    ({"data": "{here}/open"}, "open is not finished: call `emoscene prepare` again as before"),
    ({"data": "{here}/data"}, "has no images for heldout"),
    ({"prompts": ["a lake", 3]}, "prompts=3 is off: give a file, a name, or a list"),
    ({"judge": "{here}/lora"}, "lora is no judge: emoscene train judge makes one"),
    ({"judge": "{here}/others"}, "others is no judge: emoscene train judge makes one"),
    ({"judge": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"semantics": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"features": "{here}/nowhere"}, "no model in .*nowhere"),
    ({"emotion_scale": 1e9}, "emotion_scale=1000000000.0 is out of range"),
    ({"sampler": "eulr"}, "no sampler 'eulr'"),
    ({"num_inference_steps": 0}, "num_inference_steps=0 is out of range"),
    ({"batch": 0}, "batch=0 is out of range"),
    ({"out": "{here}/lora"}, "another call's: it holds artifact and not scores"),
    ({"out": "{here}/others"}, "holds files that emoscene did not make"),
    (
        {"images": "{here}/images"},
        "--method has no effect here, because --images has nothing to generate: leave it out",
    ),
    *[
        ({"images": "{here}/images", "method": None, "prompts": None, **one}, f"--{name} has no effect")
        for name, one in IDLE
    ],
    (
        {"images": "{here}/images", "method": None},
        "--prompts has no effect here, because --images has nothing to generate",
    ),
]


@pytest.mark.parametrize(("words", "sentence"), SCORES)
def test_evaluate(words, sentence, here, unloaded):
    check_refused(emoscene.evaluate, {"device": "cpu", "on_message": str} | EVALUATE | words, sentence, here)


def test_what_can_be_begun_is_begun(here, unloaded):
    """So that the calls above fail for no other reason."""
    for call in (
        lambda: emoscene.prepare(base=f"{here}/base", **{name: fill(value, here) for name, value in PREPARE.items()}),
        lambda: emoscene.train(base=f"{here}/base", on_message=str, **{n: fill(v, here) for n, v in TRAIN.items()}),
        lambda: emoscene.generate(base=f"{here}/base", **{name: fill(value, here) for name, value in GENERATE.items()}),
        lambda: emoscene.evaluate(base=f"{here}/base", **{name: fill(value, here) for name, value in EVALUATE.items()}),
    ):
        with pytest.raises(AssertionError, match="it was begun"):
            call()
    assert not Path(f"{here}/new").exists()
    assert run_dir.read_manifest(here / "data")["state"] == "done"


@pytest.fixture(scope="module")
def made(here):
    """Images of a call, and scores of one that was stopped."""
    words = {name: fill(value, here) for name, value in (GENERATE | {"out": "{here}/made"}).items()}
    emoscene.generate(base=f"{here}/base", emotion=["awe", "fear"], num_inference_steps=1, device="cpu", **words)
    return here


OTHERS = [
    ({}, ""),
    ({"width": 64}, "config.rows.*width"),
    ({"prompt": "a sea"}, "config.rows.*a lake.* there and .*a sea.* here"),
    ({"emotion": ["awe", "anger"]}, "config.rows.1.emotion.fear is 1.0 there"),
    ({"emotion": "awe"}, "config.rows"),
    ({"seed": 4}, "config.rows.*seed"),
    ({"num_images_per_prompt": 2}, "config.rows"),
    ({"num_inference_steps": 2}, "config.rows.*num_inference_steps"),
    ({"guidance_scale": 3.0}, "config.rows.*guidance_scale"),
    ({"guidance_interval": (0.0, 0.5)}, "config.rows.*guidance_interval"),
    ({"method": "none"}, "config.rows.*method"),
]


@pytest.mark.parametrize(("words", "sentence"), OTHERS)
def test_images_of_another_call_are_told_before_the_base_is_loaded(words, sentence, made, unloaded):
    again = {"emotion": ["awe", "fear"], "num_inference_steps": 1, "device": "cpu", "out": "{here}/made"}
    call = GENERATE | again | words
    if not sentence or words == {"width": 64}:  # the same call, and what the base's own size is, pass
        with pytest.raises(AssertionError, match="it was begun"):
            emoscene.generate(base=f"{made}/base", **{name: fill(value, made) for name, value in call.items()})
    else:
        check_refused(emoscene.generate, call, f"made is another call's: {sentence}", made)


def test_scores_of_another_call_are_told_before_the_base_is_loaded(here, tmp_path, monkeypatch, unloaded):
    """Whatever is recorded but the weights is known by then."""
    words = {name: fill(value, here) for name, value in (EVALUATE | {"out": str(tmp_path / "scores")}).items()}
    call = {"base": f"{here}/base", "device": "cpu", "on_message": str, **words}
    recorded = {}
    with monkeypatch.context() as patch:
        patch.setattr(run_dir, "check_known", lambda out, kind, config, *rest: recorded.update(config))
        with pytest.raises(AssertionError, match="it was begun"):
            emoscene.evaluate(**call)
    run_dir.RunDir.open(tmp_path / "scores", "scores", {**recorded, "weights": {"base": "of the base"}})
    with pytest.raises(AssertionError, match="it was begun"):
        emoscene.evaluate(**call)
    for change in ({"seeds": "0:2"}, {"emotion_scale": 2.0}, {"prompts": ["a sea"]}, {"robust": True}):
        with pytest.raises(UsageError, match=rf"another call's: config\.{next(iter(change))}"):
            emoscene.evaluate(**{**call, **change})
