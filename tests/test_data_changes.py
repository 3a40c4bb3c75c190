"""The same call means the same pictures: what changed is refused by name; one odd file costs one picture at most."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import tiny
from emoscene.cli.main import main
from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.plain_text import escape_unprintable
from emoscene.data import encoding, notes, preparation
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.data.records import LONGEST, Record
from emoscene.data.sources.base import ids_of_paths
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.data.sources.raf_db import RAFDB
from emoscene_mini.world1.layouts import write_layout

REMEDY = "give --out another folder, or delete this one and call again"
posix = pytest.mark.skipif(sys.platform == "win32", reason="names of bytes, pipes and links are POSIX's")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def picture(path, seed=0, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)).save(path, "BMP")


@pytest.fixture
def root(tmp_path):
    """Twelve pictures of one size in bytes, all of one time, in three folders."""
    for number in range(12):
        file = tmp_path / "raw" / ("awe", "fear", "anger")[number % 3] / f"{number:02}.bmp"
        picture(file, number)
        os.utime(file, (1e9, 1e9))
    return tmp_path / "raw"


@pytest.fixture
def said(base, root, tmp_path, capsys):
    """Prepare the folder into `out`; the exit status and the last sentence."""

    def call(*words, source="imagefolder", place=root):
        line = ["prepare", source, f"--root={place}", f"--out={tmp_path / 'out'}", f"--base={base}", "workers=0"]
        status = main([*line, "spoilt=1.0", *words])
        return status, " ".join(capsys.readouterr().err.partition("emoscene: ")[2].split())

    return call


def rewrite(root):
    picture(root / "awe/00.bmp", 99)
    os.utime(root / "awe/00.bmp", (1e9, 1e9))


def exchange(root):
    """Two pictures of one size and one time trade their places, and so their emotions."""
    (root / "awe/00.bmp").rename(root / "aside")
    (root / "fear/01.bmp").rename(root / "awe/00.bmp")
    (root / "aside").rename(root / "fear/01.bmp")


def move(root):
    (root / "awe/00.bmp").rename(root / "fear/00.bmp")


def add(root):
    picture(root / "awe/50.bmp", 50)


def remove(root):
    (root / "awe/00.bmp").unlink()


def damage(root):
    (root / "awe/00.bmp").write_bytes(b"torn")


def caption(root):
    (root / "awe/00.txt").write_text("a lake")


CHANGES = [rewrite, exchange, move, add, remove, damage, caption]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_not_passed_off_as_prepared(change, root, said, tmp_path):
    assert said() == (0, "") == said()
    before = run_dir.fingerprint_folder(tmp_path / "out")
    change(root)
    status, sentence = said()
    assert status == 2 and sentence.startswith(f"{tmp_path / 'out'} was prepared from ") and sentence.endswith(REMEDY)
    if change in {rewrite, exchange, damage}:
        assert f"from files that have changed since, such as {root / 'awe/00.bmp'}" in sentence
    else:
        assert f"(12 images then, {12 + (change is add) - (change is remove)} now)" in sentence
    assert run_dir.fingerprint_folder(tmp_path / "out") == before
    assert said(f"--out={tmp_path / 'other'}") == (0, "")


@pytest.mark.parametrize("change", CHANGES)
def test_nor_where_it_was_killed_between_the_passes(change, root, said, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_shards", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        assert said()[0] == 130
    change(root)
    status, sentence = said()
    assert status == 2 and sentence.endswith(REMEDY)
    assert json.loads((tmp_path / "out/manifest.json").read_text())["state"] == "open"


def test_a_picture_that_changes_under_way_is_noticed(root, said, monkeypatch):
    kept = encoding.encode_shards

    def late(*given):
        rewrite(root)
        return kept(*given)

    monkeypatch.setattr(encoding, "encode_shards", late)
    status, sentence = said()
    assert status == 1
    assert sentence.startswith(f"{root / 'awe/00.bmp'} has changed since it was checked: prepare into a new folder")


def test_a_first_pass_that_was_killed_goes_on_with_what_is_the_same(root, said, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD", 4)
    kept = preparation.ImageNote

    def stop(self, numbers):
        for number in numbers:
            if number == 6:
                raise KeyboardInterrupt
            yield self._survey_one(number)

    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "survey", stop)
        assert said()[0] == 130
    assert kept is preparation.ImageNote and len(list((tmp_path / "out/notes").iterdir())) == 1
    picture(root / "fear/10.bmp", 77)  # not noted yet
    assert said() == (0, "")
    assert len(PreparedDataset(tmp_path / "out")) == 12


def test_other_times_of_the_same_bytes_go_on(root, said, tmp_path, capsys):
    assert said() == (0, "")
    moved = root.with_name("copy")
    shutil.copytree(root, moved, copy_function=shutil.copyfile)
    shutil.rmtree(root)
    moved.rename(root)
    before = (tmp_path / "out/logs/files.json").read_text()
    assert said() == (0, "")
    assert (tmp_path / "out/logs/files.json").read_text() != before
    (tmp_path / "out/logs/files.json").write_bytes(b"\xff{")
    assert said() == (0, "")
    (tmp_path / "out/logs/files.json").unlink()
    assert said() == (0, "")


def test_times_are_no_part_of_what_is_prepared(root, base, tmp_path):
    call = {"root": root, "base": base, "workers": 0, "on_message": str}
    one = prepare("imagefolder", out=tmp_path / "one", **call)
    for file in root.rglob("*.bmp"):
        os.utime(file, (2e9, 2e9))
    other = prepare("imagefolder", out=tmp_path / "other", **call)
    assert run_dir.read_manifest(one)["fingerprint"] == run_dir.read_manifest(other)["fingerprint"]


def test_a_set_of_an_older_version_is_not_taken_for_the_same(root, said, tmp_path):
    assert said() == (0, "")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    del manifest["config"]["listing"]
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    assert said() == (
        2, f"{tmp_path / 'out'} was prepared by a version that did not note which images it read: {REMEDY}"
    )  # fmt: skip


def age_notes(folder):
    """The notes as an older version wrote them, with one hash of 64 bits."""
    for path in sorted((folder / "notes").iterdir()):
        table = notes.load_notes([path])
        place = table.schema.get_field_index("looks")
        looks = pa.array(range(1, len(table) + 1), pa.uint64())
        table = table.set_column(place, pa.field("look", pa.uint64()), looks)
        aside = folder / "aside"  # the file itself is mapped into memory
        with pa.OSFile(str(aside), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
        aside.replace(path)


def test_a_pass_that_an_older_version_began_is_not_mixed_with_this_ones(root, said, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD", 4)
    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_shards", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        assert said()[0] == 130
    age_notes(tmp_path / "out")
    (tmp_path / "out/notes/notes-00000-of-00003.arrow").unlink()
    before = run_dir.fingerprint_folder(tmp_path / "out")
    sentence = f"{tmp_path / 'out'} was begun by a version that compared images in another way: {REMEDY}"
    assert said() == (2, sentence)
    assert run_dir.fingerprint_folder(tmp_path / "out") == before


def test_what_an_older_version_finished_is_still_the_same(root, said, tmp_path):
    assert said() == (0, "")
    age_notes(tmp_path / "out")
    before = run_dir.fingerprint_folder(tmp_path / "out")
    (tmp_path / "out/logs/files.json").unlink()  # so that every file is compared with its old note
    assert said() == (0, "")
    assert run_dir.fingerprint_folder(tmp_path / "out") == before
    assert len(PreparedDataset(tmp_path / "out")) == 12
    rewrite(root)
    assert "files that have changed since" in said()[1]


def test_lists_annotations_and_tables_are_watched_too(base, tmp_path):
    for name in ("emoset", "raf-db"):
        place = write_layout(name, 14, 3, tmp_path / name, size=32, workers=0)
        call = {"root": place, "out": tmp_path / f"{name}-out", "base": base, "workers": 0, "on_message": str}
        prepare(name, **call)
        prepare(name, **call)
        if name == "emoset":
            annotation = next((place / "annotation").rglob("*.json"))
            annotation.write_text(json.dumps({"scene": "moon"}))
            with pytest.raises(UsageError, match=r"files that have changed since, such as .*\.jpg"):
                prepare(name, **call)
        else:
            listing = place / "basic/EmoLabel/list_patition_label.txt"
            rows = listing.read_text().splitlines()
            listing.write_text("\n".join([rows[0].rpartition(" ")[0] + " 4", *rows[1:]]))
            with pytest.raises(UsageError, match=r"was prepared from|another call's: config\.rules"):
                prepare(name, **call)
    shelf = tmp_path / "shelf"
    shelf.mkdir()

    def fill(words, label="awe"):
        cells = []
        for number in range(6):
            picture(tmp_path / "one.bmp", number)
            cells.append({"image": (tmp_path / "one.bmp").read_bytes(), "label": label, "text": words})
        parquet.write_table(pa.Table.from_pylist(cells), shelf / "train.parquet")

    call = {"root": shelf, "out": tmp_path / "shelf-out", "base": base, "workers": 0, "on_message": str, "alike": -1}
    for words, label in (("a boat", "awe"), ("a lake", "fear")):
        fill("a lake")
        prepare("hub", **call)
        fill(words, label)
        with pytest.raises(UsageError, match=r"files that have changed since, such as .*train\.parquet, row 0"):
            prepare("hub", **call)


def test_captions_in_metadata_are_part_of_the_call(root, said):
    rows = [{"file_name": f"awe/{n:02}.bmp", "label": "awe", "caption": "a lake"} for n in (0, 3, 6)]
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert said() == (0, "") == said()
    for key, value in (("caption", "a boat"), ("label", "fear"), ("split", "test"), ("scene", "sea")):
        changed = [{**rows[0], key: value}, *rows[1:]]
        (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in changed))
        status, sentence = said()
        assert status == 2 and "other images, labels or captions than are there now" in sentence
    (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert said() == (0, "")
    status, sentence = said("caption=text")
    assert status == 2 and "has no column 'text'" in sentence


def test_a_folder_that_was_emptied(root, said, tmp_path):
    assert said() == (0, "")
    for file in root.rglob("*.bmp"):
        file.unlink()
    status, sentence = said()
    assert status == 2 and "holds no image: fill it, or take the folder away" in sentence
    shutil.rmtree(root)
    root.mkdir()
    assert said()[0] == 2
    assert json.loads((tmp_path / "out/manifest.json").read_text())["state"] == "done"


ODD = {
    "bytes that are no UTF-8": b"caf\xe9.bmp",
    "253 bytes": b"x" * 249 + b".bmp",
    "83 Chinese characters": ("\u6f22" * 83).encode() + b".bmp",
    "controls": b"a\x07\x1b[31m\nb.bmp",
    "bidirectional": "a\u202egnp.bmp".encode(),
    "no letter": "\u2764\ufe0f\U0001f600 .bmp".encode(),
    "a quote and a star": b"a'\"*?<>|.bmp",
    "only an ending": b"..bmp",
    "zero width": "a\u200b.bmp".encode(),
}


@posix
@pytest.mark.parametrize("kind", ODD)
def test_one_odd_name_costs_no_picture(kind, root, said, tmp_path):
    place = os.fsencode(root / "awe") + b"/" + ODD[kind]
    (root / "awe/00.bmp").rename(os.fsdecode(place))
    assert said() == (0, "") == said()
    data = PreparedDataset(tmp_path / "out")
    assert len(data) == 12 and len(set(data.column("id"))) == 12 and all(Record(id=id) for id in data.column("id"))
    assert all((tmp_path / "out" / file).is_file() for file in data.column("file"))
    assert list(run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl")) == []


@posix
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_name_of_a_damaged_file_is_named(kind, root, said, tmp_path):
    place = os.fsencode(root / "awe") + b"/" + ODD[kind]
    (root / "awe/00.bmp").unlink()
    Path(os.fsdecode(place)).write_bytes(b"torn")
    assert said() == (0, "")
    (row,) = run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert row["file"] == escape_unprintable(os.fsdecode(place)) and row["file"].isprintable()
    assert len(PreparedDataset(tmp_path / "out")) == 11


@posix
def test_a_folder_with_an_odd_name(base, root, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9sum\xe9s"))
    root.rename(odd)
    for _ in range(2):
        out = prepare("imagefolder", root=odd, out=tmp_path / "out", base=base, workers=0, on_message=str)
    assert len(PreparedDataset(out)) == 12 and run_dir.read_manifest(out)["config"]["root"] == str(odd)


def make_pipe(place, root):
    os.mkfifo(place)


def make_folder(place, root):
    place.mkdir()


def make_loop(place, root):
    place.symlink_to(place)


def make_way_out(place, root):
    picture(root.parent / "secret.bmp", 5)
    place.symlink_to(root.parent / "secret.bmp")


def make_endless(place, root):
    place.symlink_to("/dev/zero")


def make_broken(place, root):
    place.symlink_to(root / "nothing.bmp")


@posix
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_pipe, "it is no regular file"),
        (make_folder, ""),
        (make_loop, "Too many levels of symbolic links"),
        (make_way_out, "is a link that leaves the data set's folder: put the file itself there"),
        (make_endless, "is a link that leaves the data set's folder"),
        (make_broken, "it cannot be read: No such file or directory"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_what_is_no_picture_of_this_folder_is_left_out(make, reason, listed, root, said, tmp_path):
    if listed:
        files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.bmp"))
        rows = [{"file_name": file, "label": file.partition("/")[0]} for file in [*files, "awe/x.png"]]
        (root / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    make(root / "awe/x.png", root)
    assert said() == (0, "") == said()
    assert len(PreparedDataset(tmp_path / "out")) == 12
    found = list(run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl"))
    if make is make_folder and not listed:
        assert found == []
    else:
        assert [row["file"] for row in found] == [str(root / "awe/x.png")] and reason in found[0]["reason"]


@posix
def test_links_inside_and_the_hubs_cache_are_read(root, said, tmp_path):
    (root / "awe/again.bmp").symlink_to("../awe/03.bmp")
    (root / "awe/round").symlink_to(root / "awe")
    assert said() == (0, "")
    assert len(PreparedDataset(tmp_path / "out")) == 13
    cache = tmp_path / "datasets--me--mine"
    (cache / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(root.glob("[af]*/??.bmp"))):
        link = cache / "snapshots/abc" / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, cache / f"blobs/{number}")
        link.symlink_to(cache / f"blobs/{number}")
    assert said(f"--out={tmp_path / 'cached'}", place=cache / "snapshots/abc") == (0, "")
    assert len(PreparedDataset(tmp_path / "cached")) == 12


@posix
def test_a_list_that_is_a_link_out_or_a_pipe(root, said, tmp_path):
    (tmp_path / "passwords").write_text("root:x:0")
    (root / "metadata.csv").symlink_to(tmp_path / "passwords")
    status, sentence = said()
    assert status == 2 and "metadata.csv is no list of this folder" in sentence and "root:x" not in sentence
    (root / "metadata.csv").unlink()
    os.mkfifo(root / "metadata.jsonl")
    assert said() == (0, "")


@pytest.mark.parametrize("source", ["emoset", "raf-db"])
@posix
def test_links_out_of_the_other_layouts(source, base, tmp_path):
    place = write_layout(source, 14, 3, tmp_path / "world", size=32, workers=0)
    file = next(place.rglob("*.jpg"))
    file.rename(tmp_path / "secret.jpg")
    file.symlink_to(tmp_path / "secret.jpg")
    out = prepare(source, root=place, out=tmp_path / "out", base=base, workers=0, on_message=str)
    (row,) = run_dir.read_jsonl(out / "quarantine.jsonl")
    assert row["file"] == str(file) and "a link that leaves" in row["reason"]


TEXTS = {
    "half a pair": '{"file_name": "awe/00.bmp", "label": "awe", "caption": "a \\ud83d lake", "scene": "\\udfff"}',
    "zero bytes": '{"file_name": "awe/00.bmp", "label": "awe", "caption": "a \\u0000 lake"}',
    "a mark first": '\ufeff{"file_name": "awe/00.bmp", "label": "awe", "caption": "a lake"}',
}


@pytest.mark.parametrize("kind", TEXTS)
def test_odd_words_are_kept_as_far_as_they_can_be(kind, root, said, tmp_path):
    rows = [{"file_name": f"fear/{n:02}.bmp", "label": "fear", "caption": "a boat"} for n in (1, 4)]
    text = "\n".join([TEXTS[kind], *map(json.dumps, rows)])
    (root / "metadata.jsonl").write_text(text, encoding="utf8")
    assert said() == (0, "") == said()
    captions = PreparedDataset(tmp_path / "out").column("caption")
    assert len(captions) == 3 and sum("lake" in words for words in captions) == 1


NAMED = ["awe/\\ud800.bmp", "awe/a\\u0000b.bmp", "awe/" + "x" * 400 + ".bmp", "../secret.bmp", "awe/\\udce9.bmp"]


@pytest.mark.parametrize("name", NAMED)
def test_a_list_that_names_what_cannot_be_a_file(name, root, said, tmp_path):
    rows = [json.dumps({"file_name": f"fear/{n:02}.bmp", "label": "fear"}) for n in (1, 4)]
    (root / "metadata.jsonl").write_text("\n".join([f'{{"file_name": "{name}", "label": "awe"}}', *rows]))
    assert said() == (0, "") == said()
    assert len(PreparedDataset(tmp_path / "out")) == 2
    (row,) = run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert row["file"].isprintable() and row["reason"].isprintable()


def test_lists_that_are_no_utf_8(root, said, tmp_path):
    row = "file_name,label,caption\nawe/00.bmp,awe,caf\u00e9\n"
    for coding in ("latin-1", "utf-16"):
        (root / "metadata.csv").write_bytes(row.encode(coding))
        status, sentence = said()
        assert status == 1 and sentence.startswith(f"{root / 'metadata.csv'} is not UTF-8 (")
        assert sentence.endswith("save it as UTF-8")
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_bytes(b'{"file_name": "awe/00.bmp", "label": "awe", "caption": "caf\xe9"}\n')
    assert said()[0] == 1
    (root / "metadata.jsonl").write_text("[1, 2]\n")
    sentence = f"{root / 'metadata.jsonl'}:1 is damaged (it is no table): mend that line, or take it out"
    assert said() == (1, sentence)
    (root / "metadata.jsonl").unlink()
    (root / "awe/00.txt").write_bytes(b"caf\xe9")
    assert said() == (0, "")
    (lost,) = run_dir.read_jsonl(tmp_path / "out/quarantine.jsonl")
    assert lost["reason"] == f"its caption {root / 'awe/00.txt'} is not UTF-8: save it as such"


def test_raf_dbs_names_are_any_files_too(tmp_path):
    for name in ("train/1/a b.jpg", "train/1/a b.png", "train/2/a b.jpg", "test/1/" + "x" * 200 + ".jpg"):
        picture(tmp_path / name, len(name))
    source = RAFDB(tmp_path, configs.replace_fields(RAFDB.Config(), {"workers": 0, "surprise": "awe"}), 32)
    ids = [source.read_entry(number).record.id for number in range(len(source))]
    assert len(set(ids)) == 4 and all(Record(id=id) for id in ids)
    (tmp_path / "basic/EmoLabel").mkdir(parents=True)
    listing = tmp_path / "basic/EmoLabel/list_patition_label.txt"
    listing.write_bytes(b"caf\xe9.jpg 5\n")
    with pytest.raises(EmosceneError, match=r"list_patition_label\.txt is not UTF-8"):
        RAFDB(tmp_path, RAFDB.Config(), 32)
    listing.write_text("train_1.jpg 5\ntrain_1.jpg 5\n")
    with pytest.raises(UsageError, match="a face stands twice"):
        RAFDB(tmp_path, RAFDB.Config(), 32)


def test_ids_name_files_on_every_disk():
    paths = [
        "awe/A.png",
        "awe/a.png",
        "awe/\u00e9.png",
        "awe/e\u0301.png",
        "\u6f22" * 83 + ".png",
        "\U0001f600" * 60 + ".png",
    ]
    found = ids_of_paths([*paths, "\udce9.png", "\u6f22" * 82 + "\u5b57.png"])
    assert len({name.casefold() for name in found}) == len(found) == 8
    assert all(Record(id=name) and len(name.encode()) <= LONGEST for name in found)
    with pytest.raises(EmosceneError, match="is no id"):
        Record(id="\u6f22" * 60)
    assert registry.load_plugin("sources", "imagefolder") is ImageFolder
