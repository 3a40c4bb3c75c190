"""What is no file: pipes, devices and links to them hang nothing, and what is too large is not read."""

import os
import resource
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tiny
from emoscene.cli.main import main
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import digest_file, open_file, read_bytes, read_json, read_utf8
from emoscene.core.image_files import ImageRefused
from emoscene.core.image_origin import is_file_rendered
from emoscene.core.images import open_image, read_params
from emoscene.data.sources.base import read_file
from emoscene.diffusion import loras
from emoscene.diffusion.loading import load_parts
from emoscene.encoders.base import load_encoder
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.generate import load_prompts
from emoscene.learning import learner as learners
from emoscene.reporting.scores import load_entries
from test_reporting import scored

pytestmark = pytest.mark.posix
SECONDS = 60
SPARSE = 3_400_000_000
LARGEST_GROWTH = 200_000  # KiB


@pytest.fixture(autouse=True)
def no_hang():
    """A test that waits for a pipe fails instead."""

    def stop(number, frame):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_special(kind, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to a pipe":
        os.mkfifo(path.parent / ".pipe")
        path.symlink_to(".pipe")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "link to a terminal":
        path.symlink_to("/dev/tty")
    elif kind == "folder":
        path.mkdir()
    return path


KINDS = pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device", "link to a terminal", "folder"])
SOME = pytest.mark.parametrize("kind", ["pipe", "link to a device"])


@KINDS
def test_no_reader_waits_for_what_is_no_file(kind, tmp_path):
    file = make_special(kind, tmp_path / "x.png")
    for read in (open_file, read_bytes, digest_file):
        with pytest.raises(OSError, match=r"regular file|a folder"):
            read(file)
    readers = (read_utf8, read_json, open_image, read_params, load_prompts, loras.parse_lora)
    for read in readers:
        with pytest.raises((UsageError, EmosceneError)):
            read(file)
    with pytest.raises(ImageRefused):
        read_file(file.parent, file.name)
    assert not is_file_rendered(file)


@SOME
def test_a_folder_to_judge_loses_one_image(kind, tmp_path):
    make_special(kind, tmp_path / "in/x.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "in/a.png")
    samples, missing = find_samples(tmp_path / "in")
    assert [sample.file.name for sample in samples] == ["a.png"]
    assert "1 of 2 images cannot be read" in missing["images"]


@SOME
@pytest.mark.parametrize("file", ["x.png", "a.txt", "caption.txt"])
def test_a_folder_to_prepare_loses_one_image(kind, file, tmp_path, capsys):
    for number in range(4):
        for emotion in ("awe", "fear"):
            place = tmp_path / f"in/{emotion}/{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((64, 64), 90 + number).convert("RGB").save(place)
    Image.effect_noise((64, 64), 50).save(tmp_path / "in/awe/a.png")
    make_special(kind, tmp_path / "in/awe" / file)
    words = ["prepare", "imagefolder", "--root", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    code = main([*words, "--dry-run", "--spoilt", "1"])
    assert code in {0, 1, 2}
    assert "Traceback" not in capsys.readouterr().err


@SOME
@pytest.mark.parametrize("option", ["--image", "--emotion-image", "--lora", "--adapter", "--base"])
def test_a_call_is_refused(kind, option, tmp_path, capsys):
    file = make_special(kind, tmp_path / "x.safetensors")
    code = main(["generate", "a lake", option, str(file), "--out", str(tmp_path / "out"), "--steps", "1"])
    assert code in {1, 2}
    assert capsys.readouterr().err.startswith("emoscene: ")
    assert not (tmp_path / "out").exists()


@SOME
def test_recipes_and_prompts(kind, tmp_path, capsys):
    file = make_special(kind, tmp_path / "x.toml")
    assert main(["train", "lora", "--recipe", str(file), "--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert main(["evaluate", "--prompts", str(file), "--out", str(tmp_path / "o")]) == 2
    assert not (tmp_path / "o").exists()


@SOME
@pytest.mark.parametrize("name", ["learner.json", "model.safetensors", "config.json", "manifest.json"])
def test_artifacts(kind, name, tmp_path):
    folder = tiny.judges(tmp_path)[0]
    (folder / name).unlink(missing_ok=True)
    make_special(kind, folder / name)
    with pytest.raises((UsageError, EmosceneError)):
        learners.load_learner("encoders", folder, None)


@SOME
@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/x.json"]
)
def test_bases(kind, name, tmp_path):
    folder = tiny.make(tmp_path / "base")
    make_special(kind, folder / name)
    with pytest.raises((UsageError, EmosceneError)):
        load_parts(folder, torch.float32)


@SOME
def test_models_of_others(kind, tmp_path):
    make_special(kind, tmp_path / "config.json")
    with pytest.raises((UsageError, EmosceneError)):
        load_encoder("classifier", tmp_path)


@SOME
@pytest.mark.parametrize("name", ["scores.json", "verdicts.jsonl", "manifest.json"])
def test_scores(kind, name, tmp_path):
    folder = scored(tmp_path / "scores")
    (folder / name).unlink()
    make_special(kind, folder / name)
    with pytest.raises((UsageError, EmosceneError)):
        load_entries([folder])


@pytest.mark.parametrize("name", ["x.png", "x.json", "x.toml", "x.txt", "images.jsonl"])
def test_a_sparse_file_is_not_read(name, tmp_path):
    file = tmp_path / name
    with file.open("wb") as stream:
        stream.truncate(SPARSE)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (open_image, load_prompts, read_json, read_utf8):
        with pytest.raises((UsageError, EmosceneError), match="larger than"):
            read(file)
    if name == "x.png":
        _, missing = find_samples(tmp_path)
        assert "it is larger than 60 MB" in missing["images"]
    if name == "images.jsonl":
        with pytest.raises(EmosceneError):
            find_samples(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_GROWTH


@pytest.mark.parametrize("line", ["manifest", "metadata", "labels"])
def test_a_sparse_file_of_a_long_list_is_not_read_either(line, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    name = {"manifest": "manifest.json", "metadata": "metadata.csv", "labels": "labels.toml"}[line]
    with (folder / name).open("wb") as stream:
        stream.truncate(SPARSE)
    out = ["--out", str(tmp_path / "out")]
    words = {
        "manifest": ["report", str(folder), *out],
        "metadata": ["prepare", "imagefolder", "--root", str(folder), "--base", "mini", *out],
        "labels": ["evaluate", "--images", str(folder), "--judge", f"{folder}={folder / name}", *out],
    }[line]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(words) in {1, 2}
    assert name in capsys.readouterr().err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGEST_GROWTH


def test_a_loras_digest_is_computed_without_holding_the_file(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(3)}, str(file))
    assert loras.parse_lora(file).digest == loras.hash_tensors(file.read_bytes())[:12]
    file.write_bytes(b"\xff" * 9)
    with pytest.raises(EmosceneError, match="does not begin as a safetensors file does"):
        loras.parse_lora(file)
