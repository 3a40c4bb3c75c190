"""The test for a person: its sheet tells nothing but grey images, and answers are counted against its key."""

import json

import numpy as np
import pytest
from PIL import Image

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS, emotion_weights
from emoscene_mini import blind_test


def labelled():
    """Sixteen images, each of a colour of its own, with two labels of each emotion."""
    return [(Image.new("RGB", (32, 32), (15 * n, 255 - 15 * n, 40)), EMOTIONS[n % 8]) for n in range(16)]


def test_the_sheet_is_grey_and_in_the_order_of_the_key(tmp_path):
    blind_test.make_test(labelled(), tmp_path, seed=3)
    key = json.loads((tmp_path / "key.json").read_text())
    assert sorted(key.values()) == sorted([*EMOTIONS, *EMOTIONS])
    assert list(key.values()) != [label for _, label in labelled()]
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.mode == "L"
    grey = {}
    for image, label in labelled():
        grey.setdefault(label, []).append(int(np.asarray(image.convert("L")).mean()))
    for number, label in key.items():
        column, row = (int(number) - 1) % 8, (int(number) - 1) // 8
        at = (column * blind_test.SIDE + 90, row * (blind_test.SIDE + blind_test.MARGIN) + 120)
        assert any(abs(sheet.getpixel(at) - tone) <= 1 for tone in grey[label])


def test_answers_are_counted_and_wrong_lines_refused(tmp_path, capsys):
    blind_test.make_test(labelled(), tmp_path, seed=3)
    key = json.loads((tmp_path / "key.json").read_text())
    answers = tmp_path / "answers.txt"
    lines = [f"{number}: {label}" for number, label in key.items()]
    answers.write_text("\n".join(lines))
    assert blind_test.main(["score", str(tmp_path), str(answers)]) == 0
    assert "16 right, 0 wrong" in capsys.readouterr().out
    other = "awe" if key["5"] != "awe" else "fear"
    answers.write_text("\n".join([*lines[:4], f"5 {other}", *lines[5:]]))
    assert blind_test.score_answers(tmp_path, answers) == (15, [f"5: {other}, was {key['5']}"])
    for bad, words in (("5 joy", "is off"), ("5 awe\n5 awe", "two answers"), ("", "no answer")):
        answers.write_text("\n".join([*lines[:4], bad, *lines[5:]]))
        with pytest.raises(UsageError, match=words):
            blind_test.score_answers(tmp_path, answers)
    assert blind_test.main(["score", str(tmp_path), str(answers)]) == 2


def test_generated_images_are_known_by_what_was_asked(tmp_path):
    for number, emotion in enumerate([*EMOTIONS, *EMOTIONS]):
        row = GenerationParams(prompt="a dog", emotion=emotion_weights(emotion))
        save_image(Image.new("RGB", (16, 16)), tmp_path / f"{number}.png", row)
    Image.new("RGB", (16, 16)).save(tmp_path / "other.png")
    save_image(Image.new("RGB", (16, 16)), tmp_path / "none.png", GenerationParams(prompt="a dog"))
    some = blind_test.load_labelled(tmp_path, 8, seed=0)
    assert [label for _, label in some] == list(EMOTIONS)
    for file in tmp_path.glob("*.png"):
        if blind_test.read_asked(file) == "fear":
            file.unlink()
    with pytest.raises(EmosceneError, match="no image of fear"):
        blind_test.load_labelled(tmp_path, 8, seed=0)
