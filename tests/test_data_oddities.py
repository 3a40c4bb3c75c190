"""Odd folders, lists and calls of `prepare`: each is understood, or refused in a sentence that says what to do."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import tiny
from emoscene.cli.main import main
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import emotion_weights
from emoscene.data import preparation
from emoscene.data.dataset import PreparedDataset
from emoscene.data.sources.base import weights_of_any
from emoscene.data.sources.hub import Hub
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.data.splits import parse_shares


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def write_picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for number in range(6):
        write_picture(tmp_path / "raw" / ("awe", "fear")[number % 2] / f"{number}.png", number)
    return tmp_path / "raw"


@pytest.fixture
def said(base, root, tmp_path, capsys):
    """Prepare the folder; the exit status, the last sentence, and all that was said before."""

    def call(*words, out=None):
        line = ["prepare", "imagefolder", f"--root={root}", f"--out={out or tmp_path / 'out'}", f"--base={base}"]
        status = main([*line, "workers=0", *words])
        told = capsys.readouterr()
        return status, " ".join(told.err.partition("emoscene: ")[2].split()), " ".join((told.out + told.err).split())

    return call


def listed(root):
    """The paths that an imagefolder reads."""
    return [row["file_name"] for row in ImageFolder(root, ImageFolder.Config(), 32).rows]


def test_what_macos_adds_to_an_archive_is_no_image(root):
    before = listed(root)
    (root / "awe/._0.png").write_bytes(b"AppleDouble")
    write_picture(root / "__MACOSX/awe/._0.png")
    assert listed(root) == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("awe/fear/x.png", "lies in two emotions, awe and fear: move it to one of them"),
        ("awe/old/Neutral/x.png", "lies in two emotions, awe and Neutral: move it to one of them"),
        ("awe/test/x.png", "lies in test below an emotion, where no split is read: put it above, as test/awe"),
        ("awe/validation/x.png", "put it above, as validation/awe"),
    ],
)
def test_a_folder_below_an_emotion_that_says_something_else(root, name, sentence):
    write_picture(root / name)
    with pytest.raises(UsageError, match=sentence):
        listed(root)


def test_other_folders_below_an_emotion_are_read(root):
    write_picture(root / "awe/2024/awe/x.png")
    assert "awe/2024/awe/x.png" in listed(root)


def test_lists_that_cannot_be_meant(root):
    (root / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(UsageError, match=r"metadata\.csv lists no image: give each a row, or take the file away"):
        listed(root)
    (root / "metadata.csv").write_text("file_name,label,label\nawe/0.png,awe,fear\n")
    with pytest.raises(EmosceneError, match=r"metadata\.csv is damaged \(it has two columns 'label'\): write it again"):
        listed(root)
    with pytest.raises(UsageError, match=r"metadata\.csv is a file: give --root, a folder with a folder per emotion"):
        listed(root / "metadata.csv")


def test_two_names_are_half_each_as_everywhere():
    assert weights_of_any("awe,fear", (), "row 1") == emotion_weights("awe:0.5,fear:0.5")
    with pytest.raises(UsageError, match="row 1: no emotion 'joy'"):
        weights_of_any("awe,joy", (), "row 1")


def test_a_role_stands_once_in_the_shares():
    with pytest.raises(UsageError, match="methods stands twice, so write it once, with its whole share"):
        parse_shares("methods:0.5,methods:0.5")


def save_table(path, number, names):
    """A parquet file of one image, whose label is a number of these names."""
    write_picture(path.parent.parent / "x.png", number)
    path.parent.mkdir(exist_ok=True)
    note = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table({"image": [(path.parent.parent / "x.png").read_bytes()], "label": [0]})
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), path)


def test_files_that_number_their_labels_differently_are_not_mixed(tmp_path):
    shelf = tmp_path / "shelf"
    save_table(shelf / "test.parquet", 0, ["awe", "fear"])
    save_table(shelf / "train.parquet", 1, ["awe", "fear"])
    source = Hub(shelf, Hub.Config(), 32)
    assert [source.read_entry(number).record.weights for number in range(2)] == [emotion_weights("awe")] * 2
    save_table(shelf / "train.parquet", 1, ["fear", "awe"])
    with pytest.raises(UsageError, match=r"train\.parquet numbers its labels in another order than .*test\.parquet"):
        Hub(shelf, Hub.Config(), 32)


def test_a_split_that_nobody_knows_is_told(root, said, tmp_path):
    rows = []
    for number, split in enumerate(["train", "holdout", "train", "Validation", "train", "train"]):
        rows.append({"file_name": f"{('awe', 'fear')[number % 2]}/{number}.png", "label": "awe", "split": split})
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    status, _, told = said()
    assert status == 0
    assert "splits named holdout are none of train, val and test, so that their images are dealt to all roles" in told
    assert "none of train, val and test" not in said("--split=methods:1", out=tmp_path / "anew")[2]


def test_a_folder_among_the_images_is_not_prepared_into(root, said, tmp_path):
    for place in ("out", "awe/out"):
        status, sentence, _ = said(out=root / place)
        assert (status, sentence) == (
            2, f"{root / place} lies in {root}, which is searched for images: give --out a folder beside it"
        )  # fmt: skip
        assert not (root / place).exists()


def test_a_link_to_nothing_is_no_folder(said, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    status, sentence, _ = said()
    assert (status, sentence) == (
        2, f"{tmp_path / 'out'} is a link to {tmp_path / 'nowhere'}, which is not there: name a folder"
    )  # fmt: skip


def test_a_shard_that_a_kill_tore_is_named_and_made_again(said, tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "finish_dataset", stop)
        assert said()[0] == 130
    (shard,) = (tmp_path / "out").glob("data-*.arrow")
    whole = shard.read_bytes()
    for length in (50, len(whole) // 2):
        shard.write_bytes(whole[:length])
        status, sentence, _ = said()
        assert status == 1 and sentence.startswith(f"{shard} is damaged (")
        assert sentence.endswith("delete it, and call again as before")
    shard.unlink()
    assert said()[0] == 0
    assert len(PreparedDataset(tmp_path / "out")) == 6


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "state.json", "dataset_info.json"])
def test_a_finished_folder_that_lost_a_file_is_not_called_done(name, said, tmp_path):
    assert said()[0] == 0
    (tmp_path / "out" / name).unlink()
    status, sentence, _ = said()
    assert status == 1 and name in sentence
    assert sentence.endswith("delete the folder, and prepare it again")
    with pytest.raises(EmosceneError, match="delete the folder, and prepare it again"):
        PreparedDataset(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert said()[0] == 0
    assert run_dir.read_manifest(tmp_path / "out")["state"] == "done"
