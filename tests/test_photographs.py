"""The miniature's models and images that are not of its world: what they say carries its sentence, everywhere."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage
from PIL import Image

import tiny
from emoscene.cli.main import main
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_origin import LIMIT, encode_mark, is_file_rendered, is_rendered, mark_rendered
from emoscene.core.images import open_image
from emoscene.core.registry import package_folder
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.encoders.captioner import Captioner
from emoscene.evaluation.evaluate import evaluate, list_cautions
from emoscene.exports.card import _score_table
from emoscene.pipeline.generate import load
from emoscene.reporting import report
from emoscene.training.train import train
from emoscene_mini.world1.faces import render_face
from emoscene_mini.world1.layouts import write_layout
from emoscene_mini.world1.render_pool import render_image

NAMES = ("coffee.png", "astronaut.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png", "ihc.png", "retina.jpg")
CAPTIONER = package_folder("bases", "mini") / "weights/captioner"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Those of scikit-image's samples that lie in the installed package, in folders of emotions, made small."""
    root, data = tmp_path_factory.mktemp("photographs"), Path(skimage.__file__).parent / "data"
    files = [data / name for name in NAMES if (data / name).is_file()]
    assert files, "scikit-image brings a few sample photographs along"
    for number, file in enumerate(files):
        folder = root / EMOTIONS[number % 4]
        folder.mkdir(exist_ok=True)
        picture = Image.open(file).convert("RGB")
        picture.thumbnail((200, 200))
        picture.save(folder / file.name)
    return root


@pytest.fixture(scope="module")
def prepared(photographs, tmp_path_factory):
    """The photographs on the miniature, with one caption beside its picture, and what was told."""
    root = shutil.copytree(photographs, tmp_path_factory.mktemp("raw") / "photographs")
    (root / "amusement/coffee.txt").write_text("a cup of coffee\n on a table")
    heard = []
    out = prepare("imagefolder", root=root, out=root.parent / "out", device="cpu", workers=0, on_message=heard.append)
    return out, heard


def test_photographs_are_not_captioned_by_the_miniature(prepared):
    out, heard = prepared
    captions = dict(zip(PreparedDataset(out).column("id"), PreparedDataset(out).column("caption"), strict=True))
    assert captions.pop("amusement.coffee") == "a cup of coffee on a table"
    assert len(captions) >= 3 and set(captions.values()) == {""}
    manifest = run_dir.read_manifest(out)
    total = manifest["pictures"]
    assert manifest["rendered"] == 0 and manifest["captions"] == {"own": 1, "captioner": 0, "none": total - 1}
    spoken, vectors = manifest["cautions"]
    assert spoken.startswith(f"{LIMIT}, and {total} of {total} images are not known to be of it: its captioner is not")
    assert f"{total - 1} have no words at all" in spoken and "NAME.txt" in spoken
    assert "captioner=Salesforce/blip-image-captioning-base@" in spoken and "`hf download Salesforce/blip" in spoken
    assert vectors.startswith(LIMIT) and "EmotionCLIP gives them mean nothing; give emotion_clip=" in vectors
    assert {spoken, vectors} <= set(heard)
    card = (out / "README.md").read_text()
    assert all(f"- take care: {sentence}" in card for sentence in (spoken, vectors))


@pytest.mark.slow
def test_who_names_the_miniatures_captioner_gets_it_and_the_sentence(photographs, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, images: ["a castle"] * len(images))
    call = {"root": photographs, "limit": 4, "workers": 0, "device": "cpu", "on_message": str}
    for captioner in ("base", str(CAPTIONER)):
        out = prepare("imagefolder", out=tmp_path / captioner.replace("/", "-"), captioner=captioner, **call)
        assert set(PreparedDataset(out).column("caption")) == {"a castle"}
        assert f"{LIMIT}, and 4 of 4 images are" in run_dir.read_manifest(out)["cautions"][0]
        assert (
            "the captions that its captioner gives 4 of them mean nothing" in run_dir.read_manifest(out)["cautions"][0]
        )
    with pytest.raises(UsageError, match=r"config\.captioner_asked is true there and null here"):
        prepare("imagefolder", out=tmp_path / "base", **call)


@pytest.mark.slow
def test_a_dry_run_says_it_too(photographs, tmp_path, capsys):
    line = f"prepare imagefolder --root {photographs} --out {tmp_path / 'out'} --dry-run --device cpu workers=0"
    assert main(line.split()) == 0
    assert f"{LIMIT}, and" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "layout",
    [pytest.param("emoset", marks=pytest.mark.slow), pytest.param("raf-db", marks=pytest.mark.slow), "imagefolder"],
)
def test_the_worlds_own_layouts_are_captioned_as_before(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, images: ["a castle"] * len(images))
    root = write_layout(layout, 16, 3, tmp_path / "world", size=64, workers=0)
    (root / "metadata.jsonl").unlink(missing_ok=True)
    heard = []
    out = prepare(layout, root=root, out=tmp_path / "out", device="cpu", workers=0, on_message=heard.append)
    manifest = run_dir.read_manifest(out)
    assert set(PreparedDataset(out).column("caption")) == {"a castle"}
    assert manifest["captions"] == {"own": 0, "captioner": manifest["pictures"]}
    assert manifest["rendered"] == manifest["pictures"] and "cautions" not in manifest
    assert not any(LIMIT in sentence for sentence in heard)
    assert all(is_file_rendered(path) for path in (out / "pictures").rglob("*.png"))


@pytest.mark.slow
def test_a_photograph_among_the_worlds_images_is_found(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(Captioner, "caption", lambda self, images: ["a castle"] * len(images))
    root = write_layout("imagefolder", 16, 3, tmp_path / "world", size=64, workers=0)
    (root / "metadata.jsonl").unlink()
    shutil.copy(next(photographs.rglob("coffee.png")), root / "awe/coffee.png")
    out = prepare("imagefolder", root=root, out=tmp_path / "out", device="cpu", workers=0, on_message=str)
    captions = dict(zip(PreparedDataset(out).column("id"), PreparedDataset(out).column("caption"), strict=True))
    assert captions.pop("awe.coffee") == "" and set(captions.values()) == {"a castle"}
    assert "1 of 17 images is not known to be of it" in run_dir.read_manifest(out)["cautions"][0]


def test_train_does_not_make_captions_of_photographs(prepared, photographs, tmp_path):
    out = prepare("imagefolder", root=photographs, out=tmp_path / "mute", device="cpu", workers=0, on_message=str)
    told = (
        rf"mute lacks captions, and .*{LIMIT}, and .*its captioner cannot caption them; prepare it again with captions"
    )
    with pytest.raises(UsageError, match=told):
        train("lora", data=out, out=tmp_path / "lora", yes=True, on_message=str)
    assert not (tmp_path / "mute-lora").exists()


def test_marks_outlast_every_format_and_photographs_have_none(photographs, tmp_path):
    image = render_image({"seed": 3}, 64).picture
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.webp", "WEBP")):
        image.save(tmp_path / name, kind, **encode_mark(image))
        assert is_file_rendered(tmp_path / name) and is_rendered(open_image(tmp_path / name).resize((32, 32)))
    assert is_rendered(mark_rendered(render_face(1, "anger"), "mini"))
    assert encode_mark(Image.new("RGB", (8, 8))) == {}
    for file in photographs.rglob("*.*"):
        assert not is_file_rendered(file) and not is_rendered(open_image(file))
    for text in ("{", "[]", '{"base": "sd15"}', '{"base": "mini", "image": "photo.jpg"}'):
        odd = Image.new("RGB", (8, 8))
        odd.info["emoscene"] = text
        assert not is_rendered(odd)


def test_a_judge_says_of_photographs_that_it_knows_none(photographs, tmp_path, capsys):
    line = f"evaluate --images {photographs} --out {tmp_path / 'scores'} --device cpu"
    main(line.split())
    told = " ".join(capsys.readouterr().err.split())
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    sentence, few = scores["cautions"]
    assert few.startswith("no figure has an interval: ")
    count = scores["images"]
    assert sentence.startswith(f"{LIMIT}, and {count} of {count} images are not known to be of it: what its judges say")
    assert "(emotion, scene, clip)" in sentence and sentence in told
    out = report(tmp_path / "scores", out=tmp_path / "report", on_message=str)
    assert sentence in (out / "report.md").read_text()
    assert "only its rendered world" in (out / "index.html").read_text()


def test_the_cards_results_carry_it(tmp_path):
    made = SimpleNamespace(manifest={"fingerprint": "abc"}, folder=tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"kind": "scores", "state": "done"}))
    judges = {"emotion": {"emotion_accuracy": {"value": 0.5, "low": None, "high": None, "n": 1, "by": "emotion"}}}
    about = {"adapters": ["abc"], "judges": judges, "metrics": {}, "images": 1, "prompts": [], "seeds": []}
    about |= {
        "emotion_scale": 1.0,
        "guidance_scale": 1.0,
        "num_inference_steps": 1,
        "sampler": "ddim",
        "cautions": [f"{LIMIT}, and so on"],
    }
    (tmp_path / "scores.json").write_text(json.dumps(about))
    assert f"> Take care: {LIMIT}, and so on." in _score_table(made, tmp_path)


def test_judges_of_the_worlds_images_need_no_sentence(tmp_path):
    root = write_layout("imagefolder", 8, 3, tmp_path / "world", size=64, workers=0)
    with suppress(EmosceneError):  # some metric may be missing in so few images
        evaluate(images=root, out=tmp_path / "scores", device="cpu", on_message=str)
    assert "cautions" not in json.loads((tmp_path / "scores/scores.json").read_text())


def test_held_out_photographs_are_named(prepared, tmp_path):
    out, _ = prepared
    (sentence,) = list_cautions({"base": "mini", "judge": [], "data": out}, [], "mini")
    assert sentence.startswith(f"{LIMIT}, and in {out} ")
    assert list_cautions({"base": "mini", "judge": [], "data": None}, [1, 2], "mini") == []
    (other,) = list_cautions({"base": "mini", "judge": [], "data": None}, [1, 2], "sd15")
    assert "2 of 2 images are" in other


@pytest.mark.filterwarnings("ignore:a denoising strength of 0")
def test_an_edit_says_whose_words_and_whose_emotion_it_takes(photographs, tmp_path):
    pipe, photograph = load("mini", device="cpu"), str(next(photographs.rglob("coffee.png")))
    [row] = pipe.plan("", image=photograph)
    (sentence,) = pipe.image_inputs.cautions(row, "")
    assert sentence.startswith(f"{LIMIT}, and {photograph} is not known to be of it: its captioner's words")
    [worded] = pipe.plan("a cup", image=photograph)
    assert pipe.image_inputs.cautions(worded, "a cup") == []
    [like] = pipe.plan("a cup", emotion_image=photograph)
    assert "what its EmotionCLIP reads there" in pipe.image_inputs.cautions(like, "a cup")[0]
    image = render_image({"seed": 3}, 64).picture
    image.save(tmp_path / "own.png", **encode_mark(image))
    [own] = pipe.plan("", image=str(tmp_path / "own.png"))
    assert pipe.image_inputs.cautions(own, "") == []
    with pytest.warns(UserWarning, match=LIMIT):
        pipe("", image=Image.open(photograph), strength=0.0)
    made = pipe("a dog", num_inference_steps=1).images[0]
    assert is_rendered(made)
    [again] = pipe.plan("", image=made)
    assert pipe.image_inputs.cautions(again, "") == []


def test_generate_tells_it(photographs, tmp_path, capsys):
    photograph = next(photographs.rglob("coffee.png"))
    assert main(["generate", "--image", str(photograph), "--strength", "0", "--out", str(tmp_path / "out")]) == 0
    assert f"{LIMIT}, and" in " ".join(capsys.readouterr().err.split())


def test_the_page_shows_it_beside_the_verdict(photographs, tmp_path):
    pytest.importorskip("gradio")
    from emoscene.web import calls
    from emoscene.web.session import Session

    studio = Session("mini", device="cpu")
    photograph = str(next(photographs.rglob("coffee.png")))
    shown, read = calls.make_judge(studio)([photograph])
    assert shown.count('<p class="note">') == 2 and LIMIT.replace("'", "&#39;") in shown
    assert all(one["caution"].startswith(LIMIT) for many in read.values() for one in many)
    image = render_image({"seed": 3}, 64).picture
    image.save(tmp_path / "own.png", **encode_mark(image))
    shown, read = calls.make_judge(studio)([str(tmp_path / "own.png")])
    assert "note" not in shown and all("caution" not in one for many in read.values() for one in many)
    *_, (_, state, _) = calls.make_edit(studio)(photograph, "", "awe", 0.9, 1.0, ["none"], 1)
    assert LIMIT.replace("'", "&#39;") in state
    *_, (_, state, _) = calls.make_edit(studio)(photograph, "a cup", "awe", 0.9, 1.0, ["none"], 1)
    assert LIMIT.replace("'", "&#39;") not in state


def test_another_judge_is_not_spoken_for(photographs, tmp_path):
    base, judges = str(tiny.make(tmp_path / "base")), [str(place) for place in tiny.judges(tmp_path / "judges")]
    assert list_cautions({"base": base, "judge": judges, "data": None}, [1], base) == []


def test_a_photographs_own_exif_stays_at_home(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "at home, 52.5 N 13.4 E"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for place, emotion in enumerate(EMOTIONS[:2]):
        (tmp_path / "raw" / emotion).mkdir(parents=True)
        for number in range(3):
            picture = Image.fromarray(np.roll(pixels, 7 * number + 1, place))
            picture.save(tmp_path / f"raw/{emotion}/{number}.jpg", exif=exif.tobytes())
    base = str(tiny.make(tmp_path / "base"))
    out = prepare(
        "imagefolder", root=tmp_path / "raw", out=tmp_path / "out", base=base, workers=0, kind="jpeg", on_message=str
    )
    files = list((out / "pictures").rglob("*.jpeg"))
    assert files and not any(b"at home" in file.read_bytes() for file in files)
