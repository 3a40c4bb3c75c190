"""However an image is saved, its PNG carries its parameters, as one of `emoscene generate` does."""

import pickle
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import emoscene
import tiny
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import CHUNKS, open_image, read_params
from emoscene.pipeline.pipeline import EmotionPipeline, Result

CALL = {"emotion": ["awe", "fear:0.5"], "num_inference_steps": 1, "seed": 7, "method": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pipe(folder: Path) -> EmotionPipeline:
    return emoscene.load(str(folder), method="none", device="cpu")


@pytest.fixture(scope="module")
def result(pipe: EmotionPipeline) -> Result:
    with pytest.warns(UserWarning, match="without a method no emotion has an effect"):
        return pipe("a dog", emotion=["awe", "fear:0.5"], num_inference_steps=1, seed=7)


def test_a_plain_save_keeps_the_parameters(result: Result, tmp_path: Path) -> None:
    for image, row in zip(result.images, result.params, strict=True):
        assert image.info["parameters"] == row.to_a1111_text()
        image.save(tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as opened:
            assert [opened.info[name] for name in CHUNKS] == [image.info[name] for name in CHUNKS]
        assert read_params(tmp_path / "x.png") == replace(row, seconds=None)
        assert np.array_equal(open_image(tmp_path / "x.png"), image)


def test_a_file_that_is_open_and_arguments_of_the_format(result: Result) -> None:
    buffer = BytesIO()
    result.images[0].save(buffer, "PNG", optimize=True)
    assert "emoscene" in Image.open(buffer).info
    own, buffer = PngImagePlugin.PngInfo(), BytesIO()
    own.add_text("mine", "yes")
    result.images[0].save(buffer, format="PNG", pnginfo=own)
    assert Image.open(buffer).info == {"mine": "yes"}


@pytest.mark.parametrize("ending", ["bmp", "gif", "tiff"])
def test_other_formats_are_saved_as_ever(ending: str, result: Result, tmp_path: Path) -> None:
    result.images[0].save(tmp_path / f"x.{ending}")
    plain = Image.fromarray(np.asarray(result.images[0]))
    plain.save(tmp_path / f"plain.{ending}")
    assert (tmp_path / f"x.{ending}").read_bytes() == (tmp_path / f"plain.{ending}").read_bytes()


def test_a_copy_and_a_pickle_keep_them_too(result: Result, tmp_path: Path) -> None:
    again = pickle.loads(pickle.dumps(result.images[0]))
    again.save(tmp_path / "x.png")
    assert read_params(tmp_path / "x.png").seed == 7


def test_a_result_fills_a_folder_as_the_command_does(result: Result, folder: Path, tmp_path: Path) -> None:
    out = emoscene.generate("a dog", base=str(folder), out=tmp_path / "theirs", device="cpu", **CALL)
    files = result.save(tmp_path / "ours")
    assert [file.name for file in files] == ["awe-0007.png", "fear_0.5-0007.png"]
    for file in files:
        assert file.read_bytes() == (out / file.name).read_bytes()
    rows = [list(run_dir.read_jsonl(place / "images.jsonl")) for place in (tmp_path / "ours", out)]
    for many in rows:
        for row in many:
            assert row.pop("seconds") >= 0
    assert rows[0] == rows[1]
    assert result.save(tmp_path / "ours") == files


def test_a_second_result_is_added_and_overwrites_nothing(result: Result, pipe: EmotionPipeline, tmp_path: Path) -> None:
    result.save(tmp_path)
    pipe("a dog", num_inference_steps=1, seed=7).save(tmp_path)
    assert [row["file"] for row in run_dir.read_jsonl(tmp_path / "images.jsonl")] == [
        "awe-0007.png",
        "fear_0.5-0007.png",
        "base-0007.png",
    ]
    before = (tmp_path / "base-0007.png").read_bytes()
    with pytest.raises(UsageError, match=r"base-0007\.png is there already and is another image: give another folder"):
        pipe("a cat", num_inference_steps=1, seed=7).save(tmp_path)
    assert (tmp_path / "base-0007.png").read_bytes() == before


def test_one_file_is_for_one_image(result: Result, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.png is one file and there are 2 images: give a folder"):
        result.save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
    single = Result(result.images[:1], result.params[:1])
    assert single.save(tmp_path / "x.png") == [tmp_path / "x.png"]
    assert read_params(tmp_path / "x.png").prompt == "a dog"
    assert single.save(str(tmp_path / "x.jpg")) == [tmp_path / "x.jpg"]
