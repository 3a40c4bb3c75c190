"""No name that comes out of a file leaves its folder."""

import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.paths import is_inside, is_network_name, resolve_inside
from emoscene.data.dataset import PreparedDataset
from emoscene.data.sources.emoset import EmoSet
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.data.sources.raf_db import RAFDB
from emoscene.diffusion import loading
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.evaluation.external import find_samples
from emoscene.exports.formats.diffusers import _copy_artifact
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners

HOSTILE = (
    "/etc/passwd",
    "//host/share/x.png",
    "..",
    "../x.png",
    "a/../../x.png",
    "a/../b.png",
    "C:/x.png",
    "c:x.png",
    "\\\\host\\share\\x.png",
    "..\\x.png",
    "a\\b.png",
    "a\0.png",
    "a\ud800.png",
    "",
    None,
    5,
    ["a.png"],
    {},
)


def picture(file, seed=0, side=64):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8))
    image.save(file)
    return image


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_out_is_refused(name, tmp_path):
    with pytest.raises(EmosceneError, match=r"list\.json names .*: put the file into that folder"):
        resolve_inside(tmp_path, name, "list.json")


@pytest.mark.parametrize(
    "name", ["a.png", "a/b.png", "./a.png", "a..b/..c.png", "ünïcode.png", "0-awe:1.png", "awe,fear.png"]
)
def test_a_name_inside_is_the_folders(name, tmp_path):
    assert resolve_inside(tmp_path, name) == tmp_path / name


def test_a_link_that_leads_out_is_refused(tmp_path):
    picture(tmp_path / "secret/x.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file.png").symlink_to(tmp_path / "secret/x.png")
    (tmp_path / "in/folder").symlink_to(tmp_path / "secret")
    (tmp_path / "in/circle").symlink_to(tmp_path / "in/circle")
    picture(tmp_path / "in/own.png")
    (tmp_path / "in/alias.png").symlink_to("own.png")
    for name in ("file.png", "folder/x.png"):
        with pytest.raises(EmosceneError, match="is a link that leads out of its folder"):
            resolve_inside(tmp_path / "in", name)
    assert resolve_inside(tmp_path / "in", "alias.png").is_file()
    (tmp_path / "door").symlink_to(tmp_path / "in")
    assert resolve_inside(tmp_path / "door", "own.png").is_file()


def test_a_snapshot_of_the_hubs_cache_links_to_its_own_blobs_alone(tmp_path):
    snapshot, blobs = tmp_path / "models/snapshots/abc", tmp_path / "models/blobs"
    snapshot.mkdir(parents=True)
    picture(blobs / "1.png")
    picture(tmp_path / "other/1.png")
    (snapshot / "a.png").symlink_to("../../blobs/1.png")
    (snapshot / "b.png").symlink_to(tmp_path / "other/1.png")
    assert is_inside(snapshot, snapshot / "a.png")
    assert not is_inside(snapshot, snapshot / "b.png")


def test_names_of_other_machines_are_known():
    assert all(map(is_network_name, ("//host/share", "\\\\host\\share", "/\\host/share")))
    assert not any(map(is_network_name, ("/home/you/x.png", "a//b", "C:\\x.png")))


@pytest.mark.parametrize("name", ["{secret}", "../secret/1.png", "link.png"])
def test_a_list_of_pictures_names_none_outside(name, tmp_path):
    picture(tmp_path / "secret/1.png")
    picture(tmp_path / "in/1.png")
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret/1.png")
    row = {"file": name.format(secret=tmp_path / "secret/1.png"), "emotion": "awe"}
    (tmp_path / "in/pictures.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(EmosceneError, match=r"pictures\.jsonl, row 1 names"):
        find_samples(tmp_path / "in")


@pytest.mark.parametrize("name", ["{secret}", "../secret/1.png", "link"])
def test_an_original_outside_is_followed_by_its_sha256_alone(name, tmp_path):
    picture(tmp_path / "secret/1.png")
    said = name.format(secret=tmp_path / "secret/1.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "secret/1.png")
    save_image(picture(tmp_path / "in/1.png", 1), tmp_path / "in/1.png", GenerationParams(image=said, digests={}))
    [sample], missing = find_samples(tmp_path / "in")
    assert sample.original is None
    assert "lie outside of the folder without their sha256" in missing["originals"]
    (tmp_path / "in/edits.csv").write_text(f"file,image\n1.png,{said}\n")
    assert find_samples(tmp_path / "in")[0][0].original is None
    known = sha256((tmp_path / "secret/1.png").read_bytes()).hexdigest()
    (tmp_path / "in/edits.csv").unlink()
    outside = str(tmp_path / "secret/1.png")
    for digest, original in ((known, tmp_path / "secret/1.png"), ("0" * 64, None)):
        save_image(
            Image.open(tmp_path / "in/1.png").convert("RGB"),
            tmp_path / "in/1.png",
            GenerationParams(image=outside, digests={outside: digest}),
        )
        assert find_samples(tmp_path / "in")[0][0].original == original


def test_originals_beside_are_not_judged_themselves(tmp_path):
    for number in range(2):
        picture(tmp_path / f"in/{number}.png", number)
    (tmp_path / "in/edits.csv").write_text("file,image\n1.png,0.png\n")
    [sample], missing = find_samples(tmp_path / "in")
    assert (sample.file.name, sample.original) == ("1.png", tmp_path / "in/0.png")
    assert missing == {}


def test_a_row_without_the_sha256_of_its_picture_is_not_painted(tmp_path):
    pipe = emoscene.load(str(tiny.make(tmp_path / "base")), device="cpu")
    picture(tmp_path / "secret.png")
    [row] = pipe.plan("a dog", image=tmp_path / "secret.png", width=64, num_inference_steps=2, strength=0.5)
    assert len(list(pipe.generate([row]))) == 1
    stranger = GenerationParams.from_dict({**row.to_dict(), "digests": {}})
    with pytest.raises(UsageError, match="without its sha256, so that is not opened"):
        list(pipe.generate([stranger]))


@pytest.mark.parametrize("name", ["/tmp/x.arrow", "../x.arrow", "a\\b.arrow"])
def test_a_prepared_folder_names_no_part_outside(name, tmp_path):
    manifest = {"kind": "prepared", "state": "done", "fingerprint": "", "encoder": "", "size": 64}
    (tmp_path / run_dir.MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(EmosceneError, match=r"state\.json names"):
        PreparedDataset(tmp_path)
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(EmosceneError, match="is damaged"):
        PreparedDataset(tmp_path)


def test_a_checkpoint_names_no_part_outside(tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    (tmp_path / "step-1").mkdir()
    digest = sha256((tmp_path / "x.safetensors").read_bytes()).hexdigest()
    (tmp_path / "step-1/state.json").write_text(json.dumps({"step": 1, "sha256": {"../x.safetensors": digest}}))
    assert "leads out of its folder" in str(checkpoints.find_fault(tmp_path / "step-1"))
    with pytest.raises(EmosceneError, match="leads out of its folder"):
        checkpoints.read_checkpoint(tmp_path / "step-1")


@pytest.mark.parametrize("name", ["{secret}", "../secret.png", "link.png", "folder/secret.png"])
def test_the_metadata_of_a_data_set_name_no_picture_outside(name, tmp_path):
    picture(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in/folder").symlink_to(tmp_path)
    row = {"file_name": name.format(secret=tmp_path / "secret.png"), "label": "awe"}
    (tmp_path / "in/metadata.jsonl").write_text(json.dumps(row) + "\n")
    [note] = ImageFolder(tmp_path / "in", ImageFolder.Config(workers=1), 64).survey([0])
    assert "leaves the data set's folder" in str(note.reason)


@pytest.mark.parametrize("name", ["", ".", "/"])
def test_the_metadata_of_a_data_set_name_a_picture(name, tmp_path):
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": name, "label": "awe"}) + "\n")
    with pytest.raises(UsageError, match="row 1 has no file_name or no label"):
        ImageFolder(tmp_path, ImageFolder.Config(workers=1), 64)


def test_folders_of_a_data_set_link_to_no_picture_outside(tmp_path):
    picture(tmp_path / "secret.png")
    picture(tmp_path / "in/awe/1.png")
    (tmp_path / "in/awe/2.png").symlink_to(tmp_path / "secret.png")
    first, second = ImageFolder(tmp_path / "in", ImageFolder.Config(workers=1), 64).survey([0, 1])
    assert not first.reason
    assert (
        second.reason == "its path 'awe/2.png' is a link that leaves the data set's folder: put the file itself there"
    )
    (tmp_path / "faces/train/2").mkdir(parents=True)
    (tmp_path / "faces/train/2/1.jpg").symlink_to(tmp_path / "secret.png")
    [face] = RAFDB(tmp_path / "faces", RAFDB.Config(workers=1), 64).survey([0])
    assert (
        face.reason == "its path 'train/2/1.jpg' is a link that leaves the data set's folder: put the file itself there"
    )


def test_the_card_of_an_encoder_leads_to_no_other_folder(tmp_path):
    base = DiffusionModel.load(str(tiny.make(tmp_path / "base")))
    made = EmotionCLIP.from_scratch(EmotionCLIP.Config(), base)
    (tmp_path / "clip").mkdir()
    learners.save_learner(made, "emotion_clip", tmp_path / "clip", None)
    learners.load_learner("encoders", tmp_path / "clip", None)
    card = json.loads((tmp_path / "clip" / learners.CARD).read_text())
    for name in ("begun", "tokenizer"):
        card["config"] |= {"shape": "", "begun": "", "tokenizer": "", name: "/home/you/clip"}
        (tmp_path / "clip" / learners.CARD).write_text(json.dumps(card))
        with pytest.raises(EmosceneError, match=f"leads to {name}=/home/you/clip"):
            learners.load_learner("encoders", tmp_path / "clip", None)


def test_the_index_of_a_base_names_no_part_outside(tmp_path):
    folder = tiny.make(tmp_path / "base")
    index = {"metadata": {}, "weight_map": {"conv_in.weight": "../../x.safetensors"}}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EmosceneError, match=r"index\.json names '\.\./\.\./x\.safetensors', which leads out"):
        loading.load_parts(folder, torch.float32)


@pytest.mark.parametrize("key", ["out", "prompts", "images"])
def test_a_recipe_reads_and_writes_in_its_folder_or_ours(key, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    recipe = tmp_path / "in/one.toml"
    for place in ("/etc/x", str(tmp_path / "x"), "../x", "//host/share", "\\\\host\\share"):
        recipe.write_text(f"{key} = {json.dumps(place)}\n")
        with pytest.raises(UsageError, match=f"outside of its folder and this one: say --{key} yourself"):
            read_call("evaluate", ["--out", "o", "--recipe", str(recipe)])
    for place in (str(tmp_path / "in/x"), "x", "a/x"):
        recipe.write_text(f"{key} = {json.dumps(place)}\n")
        assert read_call("evaluate", ["--recipe", str(recipe), *(["--out", "o"] if key != "out" else [])]).given[key]


def test_an_export_takes_no_file_that_was_not_loaded(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "artifact").mkdir()
    for name in (learners.CARD, "model.safetensors"):
        (tmp_path / "artifact" / name).write_text(name)
    (tmp_path / "artifact/more.safetensors").symlink_to(tmp_path / "secret")
    _copy_artifact(tmp_path / "artifact", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [learners.CARD, "model.safetensors"]


def test_a_gallery_reads_no_link_that_leads_out(tmp_path):
    picture(tmp_path / "secret/passport.png")
    (tmp_path / "secret/list.csv").write_text("file,emotion\n1.png,awe\n")
    picture(tmp_path / "in/1.png")
    (tmp_path / "in/2.png").symlink_to(tmp_path / "secret/passport.png")
    (tmp_path / "in/3.png").symlink_to("3.png")
    [sample], missing = find_samples(tmp_path / "in")
    assert sample.file.name == "1.png"
    assert missing["images"].startswith("2 of 3 images cannot be read")
    (tmp_path / "in/list.csv").symlink_to(tmp_path / "secret/list.csv")
    with pytest.raises(EmosceneError, match="a link that leads out of its folder"):
        find_samples(tmp_path / "in")
    (tmp_path / "in/list.csv").unlink()
    (tmp_path / "in/list.csv").mkdir()
    with pytest.raises(EmosceneError, match="is no file"):
        find_samples(tmp_path / "in")


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "loop.png", "x" * 5000])
def test_a_list_may_name_an_original_that_cannot_be(name, tmp_path):
    picture(tmp_path / "1.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "pictures.jsonl").write_text(json.dumps({"file": "1.png", "image": name}) + "\n")
    [sample], missing = find_samples(tmp_path)
    assert sample.original is None
    assert "originals" in missing


def test_a_list_of_emoset_is_its_own(tmp_path):
    picture(tmp_path / "in/a.png")
    for split in ("train", "val", "test"):
        (tmp_path / f"in/{split}.json").write_text("5")
    with pytest.raises(UsageError, match=r"train.json is not a list of rows"):
        EmoSet(tmp_path / "in", EmoSet.Config(), 64)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "in/train.json").unlink()
    (tmp_path / "in/train.json").symlink_to(tmp_path / "list.json")
    with pytest.raises(EmosceneError, match="a link that leads out of its folder"):
        EmoSet(tmp_path / "in", EmoSet.Config(), 64)


@pytest.mark.parametrize(
    "told",
    [
        {"learner": 5},
        {"learner": ["lora"]},
        {"config": [1]},
        {"config": None},
        {"emotions": None},
        {"base": {"name": "mini", "fingerprint": ["x"], "width": 128}},
    ],
)
def test_a_card_of_another_shape_is_damaged(told, tmp_path):
    whole = {"learner": "lora", "config": {}, "emotions": [], "base": None}
    (tmp_path / "learner.json").write_text(json.dumps(whole | told))
    with pytest.raises(EmosceneError, match=r"learner.json is damaged"):
        learners.read_card(tmp_path)


@pytest.mark.parametrize("told", [{"parents": 5}, {"parents": [{}]}, {"parents": [5]}, {"config": 5}])
def test_a_manifest_of_another_shape_is_damaged(told, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "scores", "state": "done"} | told))
    with pytest.raises(EmosceneError, match=r"manifest.json is damaged"):
        run_dir.read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["none", "prompt"])
def test_an_adapter_of_a_method_without_weights_is_refused(name, tmp_path):
    base = DiffusionModel.load(str(tiny.make(tmp_path / "base")))
    (tmp_path / "adapter").mkdir()
    card = {"learner": name, "config": {}, "emotions": [], "base": None}
    (tmp_path / "adapter/learner.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match=f"says that it holds {name}, which has no weights"):
        emoscene.load(base, adapter=tmp_path / "adapter")


@pytest.mark.parametrize("key", ["recipe", "storage"])
def test_a_recipe_names_no_recipe_and_no_database(key, tmp_path):
    (tmp_path / "a.toml").write_text(f'{key} = "sqlite:////x.db"')
    line = ["guidance", "--data", "x", "--out", "y", "--recipe", str(tmp_path / "a.toml")]
    with pytest.raises(UsageError, match=f"say --{key} yourself"):
        read_call("tune", line)
