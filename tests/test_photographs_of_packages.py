"""Real photographs of the packages that are installed, and of the folders in EMOSCENE_PHOTOGRAPHS, through every verb.

Every file is read, or named with a reason; nothing that a model of the miniature says of them is without its label.
"""

import importlib.util
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import digest_file
from emoscene.core.image_files import IMAGE_ENDINGS, ImageRefused, decode_image
from emoscene.core.image_origin import LIMIT
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.image_checks import SMALLEST
from emoscene.data.preparation import prepare
from emoscene.evaluation.evaluate import evaluate
from emoscene.pipeline.generate import load

PACKAGES = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "gradio": "media_assets/images",
    "matplotlib": "mpl-data/sample_data",
}
LARGEST = 300  # files of one package


def find_photographs():
    """The files of each package or folder that is there."""
    found = {}
    for package, folder in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            found[package] = Path(spec.origin).parent / folder
    for number, folder in enumerate(filter(None, os.environ.get("EMOSCENE_PHOTOGRAPHS", "").split(os.pathsep))):
        found[f"folder{number}"] = Path(folder)
    for name, folder in found.items():
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_ENDINGS and path.is_file()]
        for path in files[:LARGEST]:
            yield name, path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The files in folders of emotions, and of each the reason why it is not read, empty where it is."""
    root, reasons = tmp_path_factory.mktemp("photographs"), {}
    known: set[str] = set()  # one file under two emotions would be used under none
    for number, (package, file) in enumerate(find_photographs()):
        digest = digest_file(file)
        if digest in known:
            continue
        known.add(digest)
        place = root / EMOTIONS[number % len(EMOTIONS)] / f"{number:04d}-{package}-{file.name}"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(file, place)
        try:
            decode_image(file.read_bytes(), file.name, smallest=SMALLEST)
            reasons[place] = ""
        except ImageRefused as error:
            reasons[place] = str(error)
    assert reasons, "scikit-image brings a few sample photographs along"
    return root, reasons


@pytest.mark.slow
def test_every_photograph_is_prepared_or_named(photographs, tmp_path):
    root, reasons = photographs
    heard: list[str] = []
    out = prepare(
        "imagefolder", root=root, out=tmp_path / "out", device="cpu", on_message=heard.append, spoilt=1.0, alike=-1
    )
    refused = {}
    for line in (out / "quarantine.jsonl").read_text().splitlines():
        row = json.loads(line)
        refused[Path(row["file"])] = row["reason"]
    assert all(refused.values())  # of a damaged TIFF the reason may be another each time it is read
    assert set(refused) == {file for file, reason in reasons.items() if reason}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["found"] == len(reasons)
    assert manifest["rendered"] == 0 and manifest["captions"]["captioner"] == 0
    assert any(sentence.startswith(LIMIT) for sentence in manifest["cautions"])
    assert any(sentence.startswith(LIMIT) for sentence in heard)
    assert "images and their captions" in (out / "README.md").read_text()
    read = sorted(file for file, reason in reasons.items() if not reason)
    print(f"{len(read)} of {len(reasons)} are read; mended: {manifest['mended']}")
    for file, reason in refused.items():
        print(f"{file.name}: {reason}")


@pytest.mark.slow
def test_every_photograph_is_edited_at_its_size_or_named(photographs):
    _, reasons = photographs
    pipe = load("mini", device="cpu")
    for file, reason in reasons.items():
        if reason and "a side" not in reason:
            with pytest.raises(UsageError, match="cannot be read as an image"):
                pipe.plan("", image=file)
            continue
        rows = pipe.plan("", image=file, strength=0.2, num_inference_steps=5)
        [(_, edited)] = pipe.generate(rows)
        assert edited.size == open_image(file).size
        [caution] = pipe.image_inputs.cautions(rows[0], "")
        assert caution.startswith(LIMIT)


@pytest.mark.slow
def test_every_photograph_is_judged_with_the_label_or_named(photographs, tmp_path):
    root, reasons = photographs
    unread = [file for file, reason in reasons.items() if reason]
    ending = nullcontext()
    if unread:  # all scores but those are written, and the call says so
        ending = pytest.raises(EmosceneError, match=f"{len(unread)} of {len(reasons)} images cannot be read")
    with ending:
        evaluate(images=root, out=tmp_path / "scores", device="cpu", on_message=str)
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert scores["images"] == len(reasons) - len(unread)
    if unread:
        assert scores["missing"]["images"].startswith(f"{len(unread)} of {len(reasons)} images cannot be read")
        assert all(str(file) in scores["missing"]["images"] for file in unread)
    count = scores["images"]
    assert any(sentence.startswith(f"{LIMIT}, and {count} of {count}") for sentence in scores["cautions"])


@pytest.mark.slow
def test_every_photograph_is_shown_by_the_page_with_the_label_or_named(photographs):
    pytest.importorskip("gradio")
    from emoscene.web import calls
    from emoscene.web.session import Session

    _, reasons = photographs
    judge = calls.make_judge(Session("mini", device="cpu"))
    for file, reason in reasons.items():
        if reason and "a side" not in reason:
            with pytest.raises(Exception, match="cannot be read as an image"):
                judge([str(file)])
            continue
        _, read = judge([str(file)])
        for verdicts in read.values():
            assert all(verdict["caution"].startswith(LIMIT) for verdict in verdicts)
