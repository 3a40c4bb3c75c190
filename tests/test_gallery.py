"""Folders of pictures: whose call they are, and which weights painted them."""

import json
import re
import shlex
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.cli import main
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import name_files, read_params
from emoscene.core.params import GenerationParams
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.pipeline import image_folder
from emoscene.pipeline.pipeline import EmotionPipeline

ROOT = Path(__file__).parent.parent
ROWS = name_files([GenerationParams(prompt="a dog", seed=seed, emotion=(1.0, *[0.0] * 7)) for seed in range(8)])
WEIGHTS = {"base": "b", "lora": "l"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def draw(rows, batch):
    assert len(rows) <= batch
    yield from ((replace(row, seconds=0.5), Image.new("RGB", (4, 4), (row.seed, 0, 0))) for row in rows)


def never(*_):
    raise AssertionError("it paints again")


def index(folder):
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


@pytest.fixture
def shown(tmp_path):
    """A copy of the pictures that are shown, with the line of the README that made them."""
    text = (ROOT / "README.md").read_text()
    [line] = re.findall(r"^ +\S*emoscene (generate .*) --out docs/pictures$", text, re.MULTILINE)
    for name in ("manifest.json", "pictures.jsonl"):
        shutil.copy(ROOT / "docs/pictures" / name, tmp_path)
    return shlex.split(f"{line} --out {tmp_path}")


def test_the_call_of_the_readme_is_the_one_that_made_the_pictures_shown(shown, monkeypatch, capsys):
    monkeypatch.setattr(EmotionPipeline, "generate", never)
    assert main.main(shown) == 0
    capsys.readouterr()
    assert main.main([*shown, "--seed", "8"]) == 2
    said = capsys.readouterr().err
    assert "config.rows.0.seed is 7 there and 8 here" in said
    assert len(said.splitlines()[-1]) < 300


def test_a_folder_of_an_older_version_is_the_same_call(tmp_path):
    rows = [replace(row, settings={"guidance.classifier_scale": 20.0}) for row in ROWS]
    old = [{key: value for key, value in row.to_dict().items() if key not in {"loras", "cfg_low"}} for row in ROWS]
    run_dir.RunDir.open(tmp_path, "pictures", {"rows": old, "settings": {"classifier_scale": 20.0}})
    assert not image_folder.open_folder(tmp_path, rows, {"classifier_scale": 20.0}, WEIGHTS).is_done
    with pytest.raises(UsageError, match=r"config\.settings\.classifier_scale is 20\.0 there and 4\.0 here"):
        image_folder.open_folder(tmp_path, rows, {"classifier_scale": 4.0}, WEIGHTS)
    with pytest.raises(UsageError, match=r"config\.rows\.1\.prompt is .a dog. there and .a cat. here"):
        image_folder.open_folder(
            tmp_path, [rows[0], replace(rows[1], prompt="a cat"), *rows[2:]], {"classifier_scale": 20.0}, WEIGHTS
        )


@pytest.mark.parametrize("config", ['{"rows": 3}', '{"rows": [3]}', '{"rows": [{"emotion": "x"}]}', "3", "{}"])
def test_a_damaged_manifest_is_one_sentence(tmp_path, config):
    image_folder.open_folder(tmp_path, ROWS, {}, WEIGHTS)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "config": json.loads(config)}))
    with pytest.raises(EmosceneError, match=r"manifest\.json is damaged( \(.*\))?: make the folder again"):
        image_folder.open_folder(tmp_path, ROWS, {}, WEIGHTS)


def test_a_damaged_index_is_one_sentence_and_can_be_made_anew(tmp_path):
    opened = image_folder.open_folder(tmp_path, ROWS, {}, WEIGHTS)
    image_folder.generate_missing(draw, ROWS, tmp_path, batch=3)
    whole = index(tmp_path)
    (tmp_path / "images.jsonl").write_text('{"file"\n{}\n')
    with pytest.raises(EmosceneError, match=r"images\.jsonl:1 is damaged.*remove that file"):
        image_folder.fill_folder(opened, never, ROWS)
    (tmp_path / "images.jsonl").write_text("3\n")
    with pytest.raises(EmosceneError, match=r"it is no table\): remove that file"):
        image_folder.fill_folder(opened, never, ROWS)
    (tmp_path / "images.jsonl").unlink()
    image_folder.fill_folder(opened, never, ROWS)
    assert index(tmp_path) == [{**row, "seconds": None} for row in whole]  # a file does not say how long it took


def test_a_batch_that_was_cut_short_keeps_its_pictures_and_each_has_one_row(tmp_path):
    opened = image_folder.open_folder(tmp_path, ROWS, {}, WEIGHTS)

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        image_folder.fill_folder(opened, draw, ROWS, 4, stop)
    (tmp_path / ROWS[1].file).unlink()  # its row was written, and the machine went down
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    seen = []
    image_folder.fill_folder(opened, draw, ROWS, 4, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 8), (6, 8), (7, 8), (8, 8)]
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert [row["file"] for row in index(tmp_path)] == [row.file for row in ROWS]
    assert run_dir.read_manifest(tmp_path)["pictures"] == 8


def trained(base, folder, name, seed, **settings):
    method = tiny.made(name, base)
    for parameter in method.parameters():
        parameter.data += seed * 0.1
    folder.mkdir(parents=True)
    learners.save_learner(method, name, folder, base, **settings)
    return folder


def test_another_adapter_of_the_same_name_is_another_call(base, tmp_path):
    one, other = (trained(base, tmp_path / name / "inversion", "inversion", n) for n, name in enumerate("ab"))
    call = {"prompt": "a dog", "base": base.name, "emotion": "awe", "num_inference_steps": 1, "out": tmp_path / "out"}
    out = emoscene.generate(adapter=one, **call)
    assert read_params(out / "awe-0000.png").adapters == ("inversion",)
    assert set(run_dir.read_manifest(out)["config"]["weights"]) == {"base", "inversion"}
    shutil.copytree(one, tmp_path / "moved/inversion")
    emoscene.generate(adapter=tmp_path / "moved/inversion", **call)
    with pytest.raises(UsageError, match=r"config\.weights\.inversion is .* there and .* here"):
        emoscene.generate(adapter=other, **call)


def test_another_base_of_the_same_name_is_another_call(tmp_path):
    folder = tiny.make(tmp_path / "base")
    call = {"prompt": "a dog", "base": str(folder), "num_inference_steps": 1, "out": tmp_path / "out"}
    emoscene.generate(**call)
    config = folder / "text_encoder/config.json"
    config.write_text(config.read_text().replace('"layer_norm_eps": 1e-05', '"layer_norm_eps": 2e-05'))
    with pytest.raises(UsageError, match=r"config\.weights\.base is"):
        emoscene.generate(**call)


def test_a_picture_is_made_again_from_its_chunk_alone(base, tmp_path):
    folder = trained(base, tmp_path / "guidance", "guidance", 0)
    call = {"base": base.name, "adapter": folder, "emotion": "awe", "num_inference_steps": 2}
    out = emoscene.generate("a dog", out=tmp_path / "hard", classifier_scale=90.0, suppression_scale=3.0, **call)
    plain = read_params(emoscene.generate("a dog", out=tmp_path / "own", **call) / "awe-0000.png")
    assert plain.settings == {}
    row = read_params(out / "awe-0000.png")
    assert row.settings == {"guidance.classifier_scale": 90.0}
    with Image.open(out / row.file) as kept:
        made = {
            told: next(emoscene.load(row.base, method=row.method, adapter=folder, **settings).generate([row]))[1]
            for told, settings in (("again", row.settings), ("without", {}))
        }
        assert made["again"].tobytes() == kept.tobytes()
        assert made["without"].tobytes() != kept.tobytes()
    pair = emoscene.load(base, method="prompt+guidance", adapter=folder, **row.settings)
    assert pair.plan("a dog")[0].settings == row.settings
    assert pair.methods["guidance"].config.classifier_scale == 90.0
    with pytest.raises(UsageError, match="did you mean 'classifier_scale'"):
        emoscene.load(base, method="prompt+guidance", adapter=folder, classifier_scael=3)


def test_files_are_written_while_the_next_images_are_generated(tmp_path, monkeypatch):
    """The first batch is on its way to the disk until the second is asked for."""
    second = threading.Event()

    def generate(rows, batch):
        if rows[0] is not ROWS[0]:
            second.set()
        yield from draw(rows, batch)

    def save(image, path, row, provenance):
        assert second.wait(10), "generation waits for the disk"
        path.write_bytes(b"image")

    monkeypatch.setattr(image_folder, "save_image", save)
    told = []
    image_folder.generate_missing(generate, ROWS, tmp_path, 4, lambda done, total: told.append(done))
    assert told == list(range(1, 9))
    assert [row["file"] for row in index(tmp_path)] == [row.file for row in ROWS]


def test_a_disk_that_fails_ends_the_generation(tmp_path, monkeypatch):
    asked = []

    def generate(rows, batch):
        asked.append(len(rows))
        yield from draw(rows, batch)

    def save(image, path, row, provenance):
        raise EmosceneError("the disk is full")

    monkeypatch.setattr(image_folder, "save_image", save)
    monkeypatch.setattr(image_folder.BackgroundWriter.__init__, "__defaults__", (1,))
    with pytest.raises(EmosceneError, match="the disk is full"):
        image_folder.generate_missing(generate, ROWS, tmp_path, 1)
    assert len(asked) < len(ROWS)


def test_what_was_generated_before_an_error_is_written(tmp_path):
    def generate(rows, batch):
        if rows[0] is not ROWS[0]:
            raise EmosceneError("not finite")
        yield from draw(rows, batch)

    with pytest.raises(EmosceneError, match="not finite"):
        image_folder.generate_missing(generate, ROWS, tmp_path, 4)
    assert len(list(tmp_path.glob("*.png"))) == 4
