"""Sources read what is published as it is published, name what is off, and `prepare` makes a set of each."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import tiny
from emoscene.core import config as configs
from emoscene.core import registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, emotion_weights
from emoscene.data.captions import describe_attributes, settle_captions
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.data.records import Record
from emoscene.data.sources import hub
from emoscene.data.sources.base import ids_of_paths
from emoscene.data.sources.emoset import EmoSet
from emoscene.data.sources.hub import Hub
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.data.sources.raf_db import RAFDB
from emoscene_mini.world1.layouts import write_layout

INFO = Path(__file__).parent / "data/emoset/info.json"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Each layout, as `emoscene mini --layout` writes it."""
    root = tmp_path_factory.mktemp("world")
    return {
        "emoset": write_layout("emoset", 80, 5, root / "emoset", size=32, workers=0),
        "raf-db": write_layout("raf-db", 35, 5, root / "faces"),
        "imagefolder": write_layout("imagefolder", 24, 5, root / "folder", size=32, workers=0),
    }


@pytest.fixture
def emoset(world, tmp_path):
    """EmoSet's layout, to be spoilt."""
    return shutil.copytree(world["emoset"], tmp_path / "emoset")


@pytest.mark.parametrize("cls", [EmoSet, ImageFolder, RAFDB])
def test_a_file_is_no_root(cls, tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"1\.jpg is a file: give --root, "):
        opened(cls, tmp_path / "1.jpg")


def test_a_source_that_renders_its_images_refuses_a_root(base, tmp_path):
    with pytest.raises(UsageError, match="mini renders its images and reads none: leave out --root"):
        prepare("mini", root=tmp_path, out=tmp_path / "out", base=base, limit=8, workers=0)
    assert not (tmp_path / "out").exists()


def opened(cls, root, **settings):
    return cls(root, configs.replace_fields(cls.Config(), {"workers": 0, **settings}), 32)


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8)).save(path)


def edit(path, change):
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows) or rows))


def everything(source):
    entries = [source.read_entry(number) for number in range(len(source))]
    return [(entry.record, entry.split) for entry in entries]


@pytest.mark.parametrize("name", ["emoset", "raf-db", "imagefolder"])
def test_each_layout_becomes_a_set_that_trains(world, base, tmp_path, name):
    out = prepare(name, root=world[name], out=tmp_path / "prepared", base=base, split="roles", workers=0)
    data = PreparedDataset(out, "methods")
    rows = data.read(range(3), ["latent", "weights", "caption", "caption_long", "image"])
    assert rows["latent"].shape == (3, 4, 8, 8) and rows["image"].shape == (3, 3, 64, 64)
    assert all(rows["caption"]) and all(rows["caption_long"])
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["refused"] == 0 and manifest["pictures"] == len(PreparedDataset(out)) == sum(
        manifest["roles"].values()
    )
    card = (out / "README.md").read_text()
    assert "| awe |" in card and (out / "card/classes.svg").read_text().startswith("<svg")
    with Image.open(out / "card/pictures.jpg") as grid:
        assert grid.width > 128


def test_emosets_labels_go_by_name(world, base, tmp_path):
    out = prepare("emoset", root=world["emoset"], out=tmp_path / "prepared", base=base, workers=0, split="roles")
    data = PreparedDataset(out)
    for id, emotion in zip(data.column("id"), data.column("emotion").tolist(), strict=True):
        assert id.rpartition("_")[0] == EMOTIONS[emotion]
    listed = {split: json.loads((world["emoset"] / f"{split}.json").read_text()) for split in ("train", "val", "test")}
    roles = {
        role: set(PreparedDataset(out, role).column("id")) for role in ("methods", "selector", "judges", "heldout")
    }
    assert roles["selector"] == {row[1] for row in listed["val"]}
    assert roles["heldout"] == {row[1] for row in listed["test"]}
    assert roles["methods"] | roles["judges"] == {row[1] for row in listed["train"]}
    assert abs(len(roles["methods"]) - len(roles["judges"])) <= 4


def test_both_published_forms_of_emoset_are_one(emoset):
    four = everything(opened(EmoSet, emoset))
    assert len(four) == 80 and {split for _, split in four} == {"train", "val", "test"}
    for split in ("train", "val", "test"):
        edit(emoset / f"{split}.json", lambda rows: [[emotion, *paths] for emotion, _, *paths in rows])
    edit(emoset / "info.json", lambda info: info["emotion"])
    assert everything(opened(EmoSet, emoset)) == four
    (emoset / "info.json").unlink()
    assert everything(opened(EmoSet, emoset)) == four


def test_the_real_info_json(emoset):
    shutil.copy(INFO, emoset / "info.json")
    info = json.loads(INFO.read_text())
    assert list(info["emotion"]["label2idx"]) == list(EMOTIONS)
    edit(emoset / "val.json", lambda rows: [[EMOTIONS.index(rows[0][0]), *rows[0][1:]]])
    one = opened(EmoSet, emoset)
    record = next(record for record, split in everything(one) if split == "val")
    assert record.weights == emotion_weights(record.id.rpartition("_")[0])
    assert "boxing " in info["human_action"]["label2idx"]
    assert describe_attributes(
        {"scene": "country_road", "object": ["Alarm clock", "Dog"], "human_action": "boxing "}
    ) == ("country road, with alarm clock and dog, boxing")


def test_attributes_may_be_absent(emoset):
    rows = json.loads((emoset / "train.json").read_text())
    (emoset / rows[0][3]).unlink()
    (emoset / rows[1][3]).write_text(json.dumps({"scene": None, "object": [], "brightness": 0.9}))
    (emoset / rows[2][3]).write_text("[]")
    found = everything(opened(EmoSet, emoset))
    assert [record.caption_long for record, _ in found[:3]] == ["", "bright", ""]
    assert [record.scene for record, _ in found[:3]] == ["", "", ""]
    (emoset / rows[3][3]).write_text("{")
    note = next(iter(opened(EmoSet, emoset).survey([3])))
    assert note.reason == f"its annotation {emoset / rows[3][3]} is not JSON"


def test_captions_come_from_the_set_the_captioner_or_the_attributes():
    bare = Record(id="a")
    assert settle_captions(replace(bare, caption="own", caption_long="l"), "said") == Record(
        id="a", caption="own", caption_long="l"
    )
    assert settle_captions(replace(bare, caption_long="road"), "a dog") == Record(
        id="a", caption="a dog", caption_long="a dog, road"
    )
    assert settle_captions(replace(bare, caption_long="road")) == Record(id="a", caption="road", caption_long="road")
    assert settle_captions(bare) == bare


def test_what_is_off_in_emoset_is_one_sentence(emoset):
    edit(emoset / "test.json", lambda rows: [*rows, ["awe", "image/awe/awe_99999.jpg", ""]])
    edit(emoset / "test.json", lambda rows: [*rows, ["awe", "../../secret.jpg", ""]])
    source = opened(EmoSet, emoset)
    lost, secret = source.survey(range(len(source) - 2, len(source)))
    assert (lost.origin, lost.reason) == (
        str(emoset / "image/awe/awe_99999.jpg"),
        "it cannot be read: No such file or directory",
    )
    assert secret.reason == "its path '../../secret.jpg' leaves the data set's folder"
    edit(emoset / "val.json", lambda rows: [["aww", *rows[0][1:]]])
    with pytest.raises(UsageError, match=r"no emotion 'aww': did you mean 'awe'\? \(.*val\.json, row 0\)"):
        opened(EmoSet, emoset)
    edit(emoset / "val.json", lambda rows: [["awe"]])
    with pytest.raises(UsageError, match=r"val\.json, row 0 is not \[emotion, id, image, annotation\]"):
        opened(EmoSet, emoset)
    (emoset / "val.json").write_text("[")
    with pytest.raises(EmosceneError, match=r"val\.json is damaged"):
        opened(EmoSet, emoset)
    (emoset / "val.json").unlink()
    with pytest.raises(UsageError, match=r"val\.json is missing"):
        opened(EmoSet, emoset)
    with pytest.raises(UsageError, match="nowhere is not there: give --root"):
        opened(EmoSet, Path("nowhere"))
    with pytest.raises(UsageError, match="give --root, EmoSet's folder"):
        opened(EmoSet, None)


def test_raf_dbs_rule_is_a_setting_and_is_counted(world):
    source = opened(RAFDB, world["raf-db"])
    assert len(source) == 25  # of 35, without surprise and neutral
    glad = emotion_weights("amusement:0.5,contentment:0.5")
    found = everything(source)
    assert Counter(record.weights for record, _ in found)[glad] == 5
    assert {split for _, split in found} == {"train", "test"}
    assert source.facts()["rules"]["happiness -> amusement:0.5,contentment:0.5"] == 5
    assert source.facts()["rules"]["surprise -> left out"] == 5
    whole = opened(RAFDB, world["raf-db"], surprise="excitement:0.8", neutral="neutral")
    assert len(whole) == 35
    assert Counter(record.weights for record, _ in everything(whole))[NO_EMOTION] == 5
    with pytest.raises(UsageError, match="did you mean 'awe'"):
        opened(RAFDB, world["raf-db"], surprise="awee")


def test_both_layouts_of_raf_db_are_one(world, tmp_path):
    lines = (world["raf-db"] / "basic/EmoLabel/list_patition_label.txt").read_text().splitlines()
    for name, label in (line.split() for line in lines):
        there = tmp_path / "DATASET" / name.partition("_")[0] / label / name.replace(".jpg", "_aligned.jpg")
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world["raf-db"] / "basic/Image/aligned" / there.name, there)
    listed, foldered = (everything(opened(RAFDB, root)) for root in (world["raf-db"], tmp_path))
    assert sorted(listed, key=str) == sorted(foldered, key=str)
    (tmp_path / "DATASET/train/8").mkdir()
    with pytest.raises(UsageError, match="no label of RAF-DB '8'"):
        opened(RAFDB, tmp_path)
    with pytest.raises(UsageError, match="is not laid out as RAF-DB"):
        opened(RAFDB, world["emoset"])
    listing = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("train_00001.jpg 5\ntrain_00002.jpg 9\n")
    with pytest.raises(UsageError, match="line 2 is not a name and a label from 1 to 7"):
        opened(RAFDB, tmp_path)


def test_an_imagefolder_has_metadata_of_any_kind(world, tmp_path):
    root = shutil.copytree(world["imagefolder"], tmp_path / "folder")
    lines = everything(opened(ImageFolder, root))
    assert len(lines) == 24 and all(record.caption and record.scene for record, _ in lines)
    rows = [json.loads(line) for line in (root / "metadata.jsonl").read_text().splitlines()]
    (root / "metadata.jsonl").unlink()
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert everything(opened(ImageFolder, root)) == lines
    (root / "metadata.csv").unlink()
    parquet.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")
    assert everything(opened(ImageFolder, root)) == lines
    (root / "metadata.parquet").unlink()
    bare = everything(opened(ImageFolder, root))
    assert {(r.id, r.weights) for r, _ in bare} == {(r.id, r.weights) for r, _ in lines}


def test_an_imagefolder_of_folders(tmp_path):
    for name in ("train/awe/a.png", "train/awe/a.jpg", "train/Neutral/b.png", "validation/fear/deep/er/c d.png"):
        picture(tmp_path / name)
    (tmp_path / "train/awe/notes.txt").write_text("no picture")
    found = everything(opened(ImageFolder, tmp_path))
    assert [split for _, split in found] == ["train", "train", "train", "val"]
    assert Counter(record.weights for record, _ in found)[NO_EMOTION] == 1
    assert len({record.id for record, _ in found}) == 4
    assert found[-1][0].id == "validation.fear.deep.er.c_d"
    (tmp_path / "train/sadnes").mkdir()
    with pytest.raises(UsageError, match="did you mean 'sadness'"):
        opened(ImageFolder, tmp_path)
    (tmp_path / "train/sadnes").rename(tmp_path / "train/sadness")
    with pytest.raises(UsageError, match="sadness holds no image: fill it"):
        opened(ImageFolder, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has neither metadata nor folders"):
        opened(ImageFolder, tmp_path / "empty")


def test_numbers_are_nobodys_emotions(tmp_path):
    picture(tmp_path / "x.png")
    rows = [{"file_name": "x.png", "label": 1, "text": "a lake"}]
    (tmp_path / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UsageError, match="row 1: nobody knows which emotion 1 is"):
        opened(ImageFolder, tmp_path)
    record, _ = everything(opened(ImageFolder, tmp_path, labels="sadness,fear"))[0]
    assert record == Record(id="x", weights=emotion_weights("fear"), caption="a lake")
    with pytest.raises(UsageError, match="1 label is named, and none is 1"):
        opened(ImageFolder, tmp_path, labels="sadness")
    for row, said in (({"file_name": "x.png"}, "no column 'label'"), ({"label": "awe"}, "no column 'file_name'")):
        (tmp_path / "metadata.jsonl").write_text(json.dumps(row))
        with pytest.raises(UsageError, match=said):
            opened(ImageFolder, tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "x.png", "label": "awe:0.7,fear:0.3"}\n')
    assert everything(opened(ImageFolder, tmp_path))[0][0].weights == emotion_weights("awe:0.7,fear:0.3")
    (tmp_path / "metadata.jsonl").write_text("{")
    with pytest.raises(EmosceneError, match=r"metadata\.jsonl:1 is damaged"):
        opened(ImageFolder, tmp_path)


@pytest.fixture
def shelves(tmp_path):
    """A data set in parquet, as `datasets` writes it, with labels in alphabetical order."""
    order = sorted(EMOTIONS)
    for part, (split, count) in enumerate((("train", 16), ("validation", 8))):
        rows = []
        for number in range(count):
            picture(tmp_path / "raw.png", 100 * part + number)
            data = (tmp_path / "raw.png").read_bytes()
            rows.append({"image": {"bytes": data, "path": None}, "label": number % 8, "text": f"no {number}"})
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=order), "text": datasets.Value("string")}
        )
        made = datasets.Dataset.from_list(rows, features=features)
        (tmp_path / "shelves/data").mkdir(parents=True, exist_ok=True)
        made.to_parquet(str(tmp_path / f"shelves/data/{split}-00000-of-00001.parquet"), batch_size=5)
    return tmp_path / "shelves"


def test_a_hubs_parquet_maps_labels_by_name(shelves, base, tmp_path):
    source = opened(Hub, shelves)
    found = everything(source)
    assert len(found) == 24 and [split for _, split in found] == ["train"] * 16 + ["val"] * 8
    assert found[0][0].weights == emotion_weights("amusement") and found[1][0].weights == emotion_weights("anger")
    assert found[17][0].caption == "no 1"
    assert [note.reason for note in source.survey(range(24))] == [""] * 24
    assert len(opened(Hub, shelves, subset="validation")) == 8
    out = prepare("hub", root=shelves, out=tmp_path / "prepared", base=base, workers=2)
    assert len(PreparedDataset(out, "selector")) == 8
    with pytest.raises(UsageError, match="no column 'mood'"):
        opened(Hub, shelves, label="mood")
    with pytest.raises(UsageError, match="no parquet file with 'nothing' in its path"):
        opened(Hub, shelves, subset="nothing")
    with pytest.raises(UsageError, match="neither there nor a hub id"):
        opened(Hub, Path("nowhere"))
    (shelves / "data/bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(EmosceneError, match="cannot be read as parquet"):
        opened(Hub, shelves)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (pa.array(["awe", "x"]).dictionary_encode(), "no emotion 'x'.*row 1"),
        (pa.array([1, 2**60], pa.duration("us")), "no emotion|in numbers|cannot be read"),
        (pa.array([1, 2**61], pa.timestamp("us")), "no emotion|in numbers|cannot be read"),
        (pa.array([float("nan"), 1.0]), "no emotion 'nan'.*row 0"),
    ],
)
def test_labels_of_any_type_are_read_or_refused(labels, sentence, tmp_path):
    table = pa.table({"image": pa.array([b"", b""]), "label": labels})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises((UsageError, EmosceneError), match=sentence):
        opened(Hub, tmp_path)


def test_a_value_that_python_has_no_type_for_is_refused(tmp_path):
    caption = pa.array([1, 2**61], pa.timestamp("us"))
    table = pa.table({"image": pa.array([b"", b""]), "label": ["awe", "fear"], "caption": caption})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(EmosceneError, match="cannot be read as parquet"):
        opened(Hub, tmp_path).read_entry(1)


def test_a_hub_that_cannot_be_reached_is_one_sentence():
    with pytest.raises(
        EmosceneError, match=r"cannot be reached: fetch it .*hf download --repo-type dataset some/thing"
    ):
        opened(Hub, Path("some/thing"))


def test_a_hubs_commit_is_part_of_the_call(shelves, base, tmp_path, monkeypatch):
    newest = ["abc"]
    local = hub._local_files(shelves)[0]
    monkeypatch.setattr(hub, "_remote_files", lambda name, revision: (local, revision or newest[0]))
    call = {"root": "some/thing", "out": tmp_path / "prepared", "base": base, "workers": 0}
    prepare("hub", **call)
    newest[0] = "def"
    with pytest.raises(UsageError, match='revision is "abc" there and "def" here'):
        prepare("hub", **call)
    prepare("hub", **call, revision="abc")
    manifest = json.loads((tmp_path / "prepared/manifest.json").read_text())
    assert manifest["revision"] == manifest["config"]["revision"] == "abc"
    assert "- revision abc" in (tmp_path / "prepared/README.md").read_text()


def test_dashes_are_names_and_options_are_read_without_importing():
    assert registry.load_plugin("sources", "raf-db") is RAFDB
    options = {option.name for option in registry.list_options("sources", "raf-db")}
    assert {"workers", "happiness"} <= options
    assert {"kind", "alike"} <= {option.name for option in registry.list_room_options("data/preparation")}


def test_ids_are_words_and_unique():
    assert ids_of_paths(["awe/1.png", "awe/2.png"]) == ["awe.1", "awe.2"]
    found = ids_of_paths(["a b.png", "a_b.png", "a b.jpg", "x" * 300 + ".png"])
    assert len(set(found)) == 4 and all(Record(id=name) for name in found)
