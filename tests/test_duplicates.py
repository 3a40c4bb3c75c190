"""Alike is found whatever was done to a picture, unlike is not, and what an official split parts is reported."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import tiny
from emoscene.data.dataset import PreparedDataset
from emoscene.data.duplicates import group_duplicates, perceptual_hash
from emoscene.data.preparation import prepare
from emoscene_mini.world1.render_pool import render_image

ALIKE = 4


@pytest.fixture(scope="module")
def pictures():
    return [render_image({"seed": seed}, 128).picture for seed in range(24)]


def compressed(image, quality):
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(BytesIO(buffer.getvalue()))


CHANGES = {
    "compressed": lambda image: compressed(image, 50),
    "smaller": lambda image: image.resize((64, 64), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((300, 300), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "paler": lambda image: ImageEnhance.Color(image).enhance(0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_looks_alike(pictures, change):
    apart = [(perceptual_hash(image) ^ perceptual_hash(CHANGES[change](image))).bit_count() for image in pictures]
    assert np.mean(np.array(apart) <= ALIKE) >= 0.9, apart


def test_different_pictures_do_not(pictures):
    looks = [perceptual_hash(image) for image in pictures]
    apart = [(one ^ other).bit_count() for place, one in enumerate(looks) for other in looks[:place]]
    assert min(apart) > 2 * ALIKE
    assert 24 < np.mean(apart) < 34
    assert perceptual_hash(Image.new("RGB", (50, 50), "red")) == 0


def test_groups_are_those_of_comparing_all_with_all():
    rng = np.random.default_rng(0)
    looks = rng.integers(1, 2**63, 300, dtype=np.uint64)
    for place in range(100):  # chains and stars of neighbours
        for bit in rng.choice(64, rng.integers(1, 5), replace=False):
            looks[200 + place] = (looks[place // 2] if not bit % 2 else looks[199 + place]) ^ np.uint64(1 << int(bit))
    digests = np.arange(300, dtype=np.uint64)
    digests[[7, 250]] = 7
    near = np.bitwise_count(looks[:, None] ^ looks[None, :]) <= ALIKE
    near[7, 250] = near[250, 7] = True
    wanted = np.arange(300)
    for _ in range(300):
        wanted = np.array([wanted[row].min() for row in near])
    assert np.array_equal(group_duplicates(digests, looks, ALIKE), wanted)
    assert len(set(wanted)) < 300


def test_what_has_no_look_is_alike_by_its_bytes_alone():
    digests = np.array([5, 6, 5, 7], np.uint64)
    assert group_duplicates(digests, np.zeros(4, np.uint64), ALIKE).tolist() == [0, 1, 0, 3]
    looks = np.array([0, 9, 9, 0], np.uint64)
    assert group_duplicates(digests, looks, ALIKE).tolist() == [0, 0, 0, 3]
    assert group_duplicates(digests, looks, -1).tolist() == [0, 1, 0, 3]


def test_a_made_split_keeps_a_group_together_and_an_official_one_is_reported(pictures, tmp_path):
    base = str(tiny.make(tmp_path / "base"))
    for number, image in enumerate(pictures):
        for split, change in (("train", image), ("test", compressed(image, 60))):
            for folder in ("made", f"official/{split}"):
                place = tmp_path / folder / ("awe" if number % 2 else "fear")
                place.mkdir(parents=True, exist_ok=True)
                change.save(place / f"{split}-{number}.png")
    made = prepare("imagefolder", root=tmp_path / "made", out=tmp_path / "one", base=base, workers=0)
    groups = [json.loads(line)["ids"] for line in (made / "duplicates.jsonl").read_text().splitlines()]
    assert len(groups) >= 22
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["duplicates"]["groups"] == len(groups) and manifest["pictures"] == 48
    data = PreparedDataset(made)
    role = dict(zip(data.column("id"), data.column("role"), strict=True))
    assert all(len({role[id] for id in group}) == 1 for group in groups)
    kept = prepare("imagefolder", root=tmp_path / "official", out=tmp_path / "two", base=base, workers=0)
    manifest = json.loads((kept / "manifest.json").read_text())
    assert manifest["duplicates"]["pairs across official splits"] == len(groups)
    assert manifest["roles"]["heldout"] == 24
