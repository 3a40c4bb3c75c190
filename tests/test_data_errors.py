"""What can go wrong around `prepare`: one sentence with the path and the remedy, and nothing finished is lost."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import tiny
from emoscene.cli.main import main
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.data import encoding, notes, preparation
from emoscene.data.dataset import PreparedDataset
from emoscene.data.planning import format_gaps, list_gaps
from emoscene.diffusion import device_choice
from emoscene.evaluation.evaluate import evaluate
from emoscene_mini.world1.layouts import write_layout


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return {name: write_layout(name, 24, 5, root / name, size=32, workers=0) for name in ("emoset", "imagefolder")}


@pytest.fixture(scope="module")
def whole(world, base, tmp_path_factory):
    """The fingerprint of EmoSet's layout, prepared in shards of 8 without any trouble."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "SHARD", 8)
        out = tmp_path_factory.mktemp("out")
        preparation.prepare("emoset", root=world["emoset"], base=base, out=out, workers=0)
    return run_dir.fingerprint_folder(out)


@pytest.fixture
def emoset(world, tmp_path):
    return shutil.copytree(world["emoset"], tmp_path / "emoset")


@pytest.fixture
def said(base, tmp_path, capsys):
    """Prepare into `out`; the exit status and the last sentence."""

    def call(source, root, *words):
        line = ["prepare", source, f"--root={root}", f"--out={tmp_path / 'out'}", f"--base={base}", "workers=0", *words]
        status = main(line)
        return status, " ".join(capsys.readouterr().err.partition("emoscene: ")[2].split())

    return call


def test_a_list_that_is_missing(emoset, said):
    (emoset / "val.json").unlink()
    assert said("emoset", emoset) == (
        2, f"{emoset / 'val.json'} is missing: give --root, the folder that holds EmoSet's lists"
    )  # fmt: skip


def test_a_row_that_points_nowhere(emoset, said, tmp_path):
    rows = json.loads((emoset / "train.json").read_text())
    lost = [rows[0][0], "lost", f"image/{rows[0][0]}/lost.jpg", rows[0][3]]
    (emoset / "train.json").write_text(json.dumps([*rows, lost]))
    assert said("emoset", emoset) == (0, "")
    (row,) = run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert row == {"file": str(emoset / lost[2]), "reason": "it cannot be read: No such file or directory"}
    assert len(PreparedDataset(tmp_path / "out")) == 24
    shutil.rmtree(emoset / "image/awe")
    shutil.rmtree(emoset / "image/fear")
    status, sentence = said("emoset", emoset, f"--out={tmp_path / 'other'}")
    assert status == 1 and "of 25 images are refused, such as" in sentence
    remedy = re.search(r"mend them and prepare into another folder, or allow more with (spoilt=\S+)", sentence)
    assert remedy
    with pytest.raises(UsageError, match=f"not finished: .* of 25 images are refused, .*{re.escape(remedy[1])}"):
        PreparedDataset(tmp_path / "other")
    assert said("emoset", emoset, f"--out={tmp_path / 'other'}", remedy[1]) == (0, "")
    assert PreparedDataset(tmp_path / "other")


def test_a_label_that_nobody_knows(emoset, said, tmp_path):
    rows = json.loads((emoset / "train.json").read_text())
    (emoset / "train.json").write_text(json.dumps([["sadnes", *rows[0][1:]], *rows[1:]]))
    assert said("emoset", emoset) == (
        2, f"no emotion 'sadnes': did you mean 'sadness'? ({emoset / 'train.json'}, row 0)"
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_an_emotion_without_a_picture(emoset, world, said, tmp_path, base, capsys):
    for split in ("train", "val", "test"):
        rows = json.loads((emoset / f"{split}.json").read_text())
        (emoset / f"{split}.json").write_text(json.dumps([row for row in rows if row[0] not in {"awe", "fear"}]))
    call = {"root": emoset, "out": tmp_path / "out", "base": base, "workers": 0}
    heard = []
    preparation.prepare("emoset", **call, on_message=heard.append)
    assert "no image shows awe, fear: what learns from this set will not know it" in heard
    folder = shutil.copytree(world["imagefolder"], tmp_path / "folder")
    (folder / "metadata.jsonl").unlink()
    for picture in (folder / "train/awe" if (folder / "train").exists() else folder / "awe").iterdir():
        picture.unlink()
        place = picture.parent
    assert said("imagefolder", folder) == (2, f"{place} holds no image: fill it, or take the folder away")


def write_pictures(folder, seed, number):
    """PNG files of noise, named by their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for place in range(number):
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"{place}.png")


def test_a_role_without_an_emotion_is_named(base, tmp_path, capsys):
    root = tmp_path / "raw"
    for number, place in enumerate(("train/awe", "train/fear", "train/anger", "val/awe", "val/fear", "test/anger")):
        write_pictures(root / place, number, 2)
    out = preparation.prepare("imagefolder", root=root, out=tmp_path / "out", base=base, workers=0, split="official")
    sentence = (
        "selector has no image of anger; heldout has no image of awe, fear: take more images, or other shares "
        "with --split, or nothing is learnt or measured there"
    )
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert f"- {sentence}\n" in (out / "README.md").read_text()
    assert run_dir.read_manifest(out)["gaps"] == {"selector": ["anger"], "heldout": ["awe", "fear"]}


def test_a_role_without_an_image_is_named_and_a_full_one_is_not():
    weights = np.eye(8)[[1, 6, 1, 6]]
    roles = ["methods", "methods", "judges", "judges"]
    assert list_gaps(roles, weights, ["methods", "judges"]) == {}
    gaps = list_gaps(roles, weights, ["methods", "selector", "judges"])
    assert gaps == {"selector": []}
    assert format_gaps(gaps).startswith("selector has no image at all: take more images")
    mixed = weights.copy()
    mixed[1] = 0  # a neutral one, whose emotion is a part of the other
    mixed[0] = 0.5 * (weights[0] + weights[1])
    assert list_gaps(roles, mixed, ["methods", "judges"]) == {}


@pytest.mark.parametrize(
    "label", ["awe:1e39", "awe:0.5,fear:1e39", "awe:-1e39", "awe:nan", "awe:inf", [1e39, *7 * [0.0]]]
)
def test_a_weight_beyond_all_bounds_is_refused_with_its_row(label, said, tmp_path):
    root = tmp_path / "raw"
    write_pictures(root / "awe", 0, 2)
    rows = [{"file_name": "awe/0.png", "label": "awe"}, {"file_name": "awe/1.png", "label": label}]
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    status, sentence = said("imagefolder", root)
    assert status == 2
    assert sentence.startswith(f"{root / 'metadata.jsonl'}, row 2: ")
    assert "is out of range: a weight goes from -100 to 100" in sentence or "is no weight: write a number" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["awe:1e39", [1e39, *7 * [0.0]]])
def test_a_weight_beyond_all_bounds_in_a_table_is_refused_with_its_row(label, said, tmp_path):
    root = tmp_path / "raw"
    write_pictures(root / "awe", 0, 2)
    good = "awe" if isinstance(label, str) else [0.0, 1.0, *6 * [0.0]]
    cells = [{"image": (root / f"awe/{n}.png").read_bytes(), "label": each} for n, each in enumerate((good, label))]
    parquet.write_table(pa.Table.from_pylist(cells), root / "train.parquet")
    status, sentence = said("hub", root)
    assert status == 2 and sentence.startswith(f"{root / 'train.parquet'}, row 1: ")
    assert "is out of range: a weight goes from -100 to 100" in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("label", ["awe:-0.5", "awe:7,fear:3", "awe:1.5"])
def test_a_share_of_a_label_is_from_0_to_1(label, said, tmp_path):
    root = tmp_path / "raw"
    write_pictures(root / "awe", 0, 1)
    (root / "metadata.jsonl").write_text(json.dumps({"file_name": "awe/0.png", "label": label}))
    sentence = f"{root / 'metadata.jsonl'}, row 1: the label {label!r} has a share that is not from 0 to 1"
    assert said("imagefolder", root) == (2, f"{sentence}: write shares such as awe:0.7,fear:0.3")


def test_the_card_says_which_datasets_opens_the_folder(emoset, base, tmp_path):
    call = {"root": emoset, "base": base, "out": tmp_path / "out", "workers": 0, "limit": 4, "on_message": str}
    preparation.prepare("emoset", **call)
    card = " ".join((tmp_path / "out/README.md").read_text().split())
    version = datasets.__version__
    assert f"`datasets.load_from_disk(FOLDER)`, of `datasets` 4.0 or newer (it was written with {version})," in card


def test_a_device_that_is_not_here(emoset, said, tmp_path, monkeypatch):
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"cpu": 1})
    status, sentence = said("emoset", emoset, "--device=cuda")
    assert status == 2
    assert sentence.startswith("--device cuda is not here: there is cpu")
    assert sentence.endswith("; left out, the best is taken")
    assert not (tmp_path / "out").exists()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UsageError, match=re.escape(sentence)):
        evaluate(out=tmp_path / "scores", images=tmp_path / "pictures", device="cuda")


def full(path):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.parametrize("where", ["notes", "pictures", "data", "README"])
def test_a_full_disk(world, whole, said, tmp_path, monkeypatch, where):
    kept, written = Path.write_bytes, []
    monkeypatch.setattr(preparation, "SHARD", 8)

    def short(path, data):
        written.append(path)
        if where in str(path.relative_to(tmp_path / "out")) and (where != "pictures" or len(written) > 12):
            full(path)
        return kept(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", short)
        patch.setattr(notes, "save_notes", lambda some, path: full(path)) if where == "notes" else None
        patch.setattr(encoding, "_write_stream", lambda made, path: full(path)) if where == "data" else None
        status, sentence = said("emoset", world["emoset"])
    assert status == 1 and sentence.startswith(f"the disk is full at {tmp_path / 'out'}") and "free" in sentence
    assert json.loads((tmp_path / "out/manifest.json").read_text())["state"] == "open"
    assert said("emoset", world["emoset"]) == (0, "")
    assert run_dir.fingerprint_folder(tmp_path / "out") == whole


def test_a_target_that_must_not_be_written(emoset, said, tmp_path, monkeypatch):
    kept = os.mkdir

    def locked(path, *rest, **more):
        if Path(path) == tmp_path / "out":
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return kept(path, *rest, **more)

    monkeypatch.setattr(os, "mkdir", locked)
    status, sentence = said("emoset", emoset)
    assert (status, sentence) == (
        1,
        f"{tmp_path / 'out'} cannot be written (Read-only file system): give --out a folder that may be written, or "
        "see to its permissions and call again as before; what is finished stays",
    )
    (tmp_path / "file").write_text("mine")
    assert said("emoset", emoset, f"--out={tmp_path / 'file'}") == (2, f"{tmp_path / 'file'} is a file: name a folder")


def test_a_folder_prepared_with_other_settings(emoset, said, tmp_path):
    assert said("emoset", emoset) == (0, "")
    before = run_dir.fingerprint_folder(tmp_path / "out")
    for word, difference in (("--limit=9", "config.limit is null there and 9 here"), ("flips=yes", "config.flips is")):
        status, sentence = said("emoset", emoset, word)
        assert status == 2 and sentence.startswith(f"{tmp_path / 'out'} is another call's: {difference}")
        assert sentence.endswith("choose another folder, or call as before")
    assert run_dir.fingerprint_folder(tmp_path / "out") == before
    assert said("emoset", emoset, "spoilt=0.5") == (0, "")  # may change at use


def test_a_damaged_note_is_named(emoset, said, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "_write_stream", lambda made, path: full(path))
        assert said("emoset", emoset)[0] == 1
    note = tmp_path / "out/notes/notes-00000-of-00001.arrow"
    note.write_bytes(b"torn")
    status, sentence = said("emoset", emoset)
    assert (
        status == 1
        and sentence.startswith(f"{note} is damaged (")
        and sentence.endswith("delete it, and call again as before")
    )
    note.unlink()
    assert said("emoset", emoset) == (0, "")
