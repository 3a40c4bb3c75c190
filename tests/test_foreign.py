"""Anybody's folder of pictures: three ways to tell what was asked, and a sentence for whatever is off."""

import json
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

import tiny
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS, emotion_weights
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.external import find_samples


def picture(file, seed=0, side=64):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8))
    image.save(file)
    return image


def asked(samples):
    return [EMOTIONS[sample.asked] if sample.asked >= 0 else None for sample in samples]


def test_a_folder_tells_what_was_asked(tmp_path):
    for name in ("Awe", "fear", "other"):
        picture(tmp_path / name / "1.jpg")
    samples, missing = find_samples(tmp_path)
    assert asked(samples) == ["awe", "fear", None]
    assert [sample.text for sample in samples] == [""] * 3
    assert len({sample.prompt for sample in samples}) == 3
    assert missing == {}


@pytest.mark.parametrize(
    ("emotion", "strength", "expected"),
    [
        ("awe", 1.0, "awe"),
        ("awe:0.6", 1.5, "awe"),
        ("awe:1,fear:-0.3", 1.0, "awe"),
        ("awe:0.7,fear:0.3", 1.0, None),
        ("awe:-1", 1.0, None),
        ("awe", 0.0, None),
        ("awe", -1.0, None),
        ("", 1.0, "fear"),
    ],
)
def test_one_emotion_was_asked_or_none(emotion, strength, expected, tmp_path):
    image = picture(tmp_path / "fear/1.png")
    row = GenerationParams(
        file="1.png", prompt="a beach", emotion=emotion_weights(emotion), emotion_scale=strength, seed=3
    )
    save_image(image, tmp_path / "fear/1.png", row)
    [sample], _ = find_samples(tmp_path)
    assert asked([sample]) == [expected]
    assert (sample.text, sample.seed) == ("a beach", 3)


def test_a_list_tells_what_was_asked(tmp_path):
    for number in range(4):
        picture(tmp_path / f"in/{number}.png", number)
    lines = [
        {"file": "0.png", "emotion": "awe:0.5,fear:0.5", "prompt": "a beach", "seed": 4, "scene": "beach"},
        {"file": "1.png", "emotion": list(emotion_weights("anger")), "prompt": "a beach", "emotion_scale": 1.5},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "in/pictures.jsonl").write_text(text)  # others may leave out the last line's end
    (tmp_path / "labels.csv").write_text(
        "\ufefffile_name,label,caption,seed\nin/2.png,Sadness,a park,\nin/3.png,neutral,,7\n"
    )
    samples, missing = find_samples(tmp_path)
    assert missing == {}
    assert asked(samples) == [None, "anger", "sadness", None]
    assert [(s.text, s.seed, s.scene) for s in samples[:3]] == [
        ("a beach", 4, "beach"),
        ("a beach", 0, ""),
        ("a park", 0, ""),
    ]
    assert samples[0].prompt == samples[1].prompt != samples[2].prompt != samples[3].prompt
    assert samples[3].seed == 7


@pytest.mark.parametrize(
    ("name", "text", "kind", "sentence"),
    [
        (
            "a.csv",
            "picture,emotion\n1.png,awe\n",
            UsageError,
            r"a.csv, row 1 names no file: .* \(it has picture, emotion\)",
        ),
        ("a.csv", "file,emotion\n1.png,aw\n", UsageError, "a.csv, row 1: no emotion 'aw': did you mean 'awe'"),
        ("a.csv", "file,seed\n1.png,one\n", UsageError, "a.csv, row 1: 'one' is no seed; mend it, or leave it out"),
        (
            "images.jsonl",
            '{"file": "1.png"}\n{"fi',
            EmosceneError,
            r"images.jsonl:2 is damaged .*: write it again",
        ),
        ("images.jsonl", "[1]\n", EmosceneError, r"images.jsonl:1 is damaged \(it is no table\)"),
    ],
)
def test_a_list_that_is_off_is_said(name, text, kind, sentence, tmp_path):
    picture(tmp_path / "1.png")
    (tmp_path / name).write_text(text)
    with pytest.raises(kind, match=sentence):
        find_samples(tmp_path)


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    with pytest.raises(UsageError, match="it is not there, give a folder of images"):
        find_samples(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="it is a file, give the folder that it lies in"):
        find_samples(tmp_path / "notes.txt")
    (tmp_path / "notes.txt").unlink()
    picture(tmp_path / "awe/1.png")
    (tmp_path / "awe/2.png").write_bytes((tmp_path / "awe/1.png").read_bytes()[:-3000])
    (tmp_path / "awe/3.jpg").write_text("no picture")
    (tmp_path / "a.csv").write_text("file\nawe/1.png\nawe/4.png\n")
    samples, missing = find_samples(tmp_path)
    assert [sample.file.name for sample in samples] == ["1.png"]
    assert missing["images"].startswith("3 of 4 images cannot be read and were left out: ")
    for name in ("2.png", "3.jpg", "4.png"):
        assert name in missing["images"]
    (tmp_path / "awe/1.png").unlink()
    with pytest.raises(UsageError, match=r"none of 2 can be read, such as .*2\.png"):
        find_samples(tmp_path)


def test_edits_whose_picture_is_gone_or_another_are_said(tmp_path):
    digests = {}
    for number in range(4):
        image = picture(tmp_path / f"was/{number}.png", number)
        file = str(tmp_path / f"was/{number}.png")
        digests[file] = sha256((tmp_path / f"was/{number}.png").read_bytes()).hexdigest()
        row = GenerationParams(
            prompt="a beach", emotion=emotion_weights("awe"), image=file, digests={file: digests[file]}, seed=number
        )
        (tmp_path / "from").mkdir(exist_ok=True)
        save_image(image, tmp_path / f"from/{number}.png", row)
    (tmp_path / "was/0.png").unlink()
    picture(tmp_path / "was/1.png", 9)
    (tmp_path / "from/2.jpg").write_text("x")
    samples, missing = find_samples(tmp_path / "from")
    assert [sample.original is not None for sample in samples] == [False, False, True, True]
    assert missing["originals"].startswith("the images that 2 edits were made from are gone, or no longer the same")
    assert set(missing) == {"images", "originals"}


def test_the_metrics_that_can_be_measured_come_out(tmp_path):
    """One damaged image, one edit without its original: a sentence each, and status 1."""
    judges, base = tiny.judges(tmp_path), str(tiny.make(tmp_path / "base"))
    for number in range(4):
        picture(tmp_path / f"from/awe/{number}.png", number + 9, 64)
    for number in range(3):
        picture(tmp_path / f"from/was/{number}.png", number)
    lines = [f"awe/{number}.png,was/{number}.png\n" for number in range(3)]
    (tmp_path / "from/edits.csv").write_text("file,image\n" + "".join(lines))
    (tmp_path / "from/was/1.png").unlink()
    (tmp_path / "from/awe/x.png").write_text("no picture")
    call = {"images": tmp_path / "from", "base": base, "judge": judges}
    with pytest.raises(EmosceneError, match="1 of 5 images cannot be read") as caught:
        evaluate(out=tmp_path / "out", **call)
    assert "the images that 1 edit was made from" in str(caught.value)
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert set(scores["missing"]) == {"images", "originals"}
    assert scores["metrics"]["gradient"]["n"] == 4  # of two sizes
    assert scores["metrics"]["psnr"]["n"] == scores["metrics"]["emotion_gained"]["n"] == 2
    assert scores["judges"]["emotion"]["emotion_accuracy"]["n"] == 4
