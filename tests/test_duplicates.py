"""Alike is found whatever was done to a picture, unlike is not, and what an official split parts is reported."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

import tiny
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.data import duplicates
from emoscene.data.dataset import PreparedDataset
from emoscene.data.duplicates import FINER, HASHES, MIRRORED, group_duplicates, hash_looks
from emoscene.data.preparation import prepare
from emoscene_mini.world1.render_pool import render_image

ALIKE = 4


@pytest.fixture(scope="module")
def pictures():
    return [render_image({"seed": seed}, 128).picture for seed in range(24)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def compressed(image, quality):
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(BytesIO(buffer.getvalue()))


def framed(image, width, colour):
    return compressed(ImageOps.expand(image, width, colour), 85)


def marked(image):
    written = image.copy()
    ImageDraw.Draw(written).text((image.width - 4, image.height - 4), "mine.org", fill="white", anchor="rs")
    return Image.blend(image, written, 0.5)


def middle(image, share):
    edge = round(image.width * (1 - share) / 2)
    return image.crop((edge, edge, image.width - edge, image.height - edge))


CHANGES = {
    "compressed": lambda image: compressed(image, 20),
    "grey": lambda image: image.convert("L"),
    "mirrored": ImageOps.mirror,
    "mirrored and compressed": lambda image: compressed(ImageOps.mirror(image), 50),
    "mirrored and smaller": lambda image: ImageOps.mirror(image).resize((61, 61)),
    "cropped": lambda image: middle(image, 0.95),
    "cropped and mirrored": lambda image: ImageOps.mirror(middle(image, 0.95)),
    "in a white frame": lambda image: framed(image, 6, "white"),
    "in a wide frame": lambda image: framed(image, 16, "grey"),
    "between black bars": lambda image: framed(image, (0, 20), "black"),
    "marked": marked,
    "smaller": lambda image: image.resize((64, 64), Image.Resampling.LANCZOS),
    "larger": lambda image: image.resize((300, 300), Image.Resampling.BICUBIC),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "paler": lambda image: ImageEnhance.Color(image).enhance(0.7),
}


def groups_of(looks, alike=ALIKE):
    """The groups of these hashes [N, 6], as if no two files were equal."""
    return group_duplicates(np.arange(len(looks), dtype=np.uint64), np.array(looks, np.uint64), alike)


@pytest.fixture(scope="module")
def looks(pictures):
    return [hash_looks(image) for image in pictures]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_in_the_group_of_its_original(pictures, looks, change):
    groups = groups_of([*looks, *(hash_looks(CHANGES[change](image)) for image in pictures)])
    found = groups[:24] == groups[24:]
    assert found.mean() >= (1.0 if "mirrored" in change else 0.9), found


@pytest.mark.parametrize("size", [(128, 128), (301, 255), (257, 383)])
def test_a_mirror_inverts_the_bits_of_the_odd_frequencies(pictures, size):
    for image in pictures[:8]:
        one = hash_looks(image.resize(size, Image.Resampling.BICUBIC))
        other = hash_looks(ImageOps.mirror(image.resize(size, Image.Resampling.BICUBIC)))
        assert (one[0] ^ other[0] ^ MIRRORED[0]).bit_count() <= ALIKE / 2
        assert (one[1] ^ other[1] ^ MIRRORED[1]).bit_count() <= FINER * ALIKE / 2
        assert (one[0] ^ other[0]).bit_count() > 4 * ALIKE


def test_copies_of_a_blurred_picture_are_found_by_its_coarse_hash(pictures):
    blurred = [image.filter(ImageFilter.GaussianBlur(10)) for image in pictures]
    looks = [hash_looks(image) for image in blurred]
    assert np.mean([look[1] == 0 for look in looks]) > 0.9
    groups = groups_of([*looks, *(hash_looks(compressed(ImageOps.mirror(image), 50)) for image in blurred)])
    assert (groups[:24] == groups[24:]).mean() >= 0.9


def test_different_pictures_are_apart(looks):
    assert groups_of(looks, 8).tolist() == list(range(24))
    apart = [(one[0] ^ other[0]).bit_count() for place, one in enumerate(looks) for other in looks[:place]]
    assert min(apart) > 2 * ALIKE
    assert 24 < np.mean(apart) < 34
    assert hash_looks(Image.new("RGB", (50, 50), "red")) == (0,) * HASHES


def test_a_frame_is_cut_where_it_lies_at_opposite_sides(pictures):
    small = pictures[0].convert("L").resize((128, 128))
    inside = small.resize((100, 108))
    framed = Image.new("L", (128, 128), 255)
    framed.paste(inside, (20, 8))
    assert duplicates._find_frame(framed) == (20, 8, 120, 116)
    one_sided = Image.new("L", (128, 128), 255)
    one_sided.paste(small, (20, 0))
    assert duplicates._find_frame(one_sided) == (0, 0, 128, 128)


def compare_all(looks, alike):
    """Which images are alike, by comparing every view of each with the whole of each other, as it is and mirrored."""
    near = np.eye(len(looks), dtype=bool)
    for view in range(0, HASHES, 2):
        for coarse, fine in ((0, 0), MIRRORED):
            coarse_apart = np.bitwise_count(looks[:, None, view] ^ np.uint64(coarse) ^ looks[None, :, 0])
            fine_apart = np.bitwise_count(looks[:, None, view + 1] ^ np.uint64(fine) ^ looks[None, :, 1])
            blurred = (looks[:, None, view + 1] == 0) | (looks[None, :, 1] == 0)
            close = blurred | (fine_apart <= FINER * alike)
            near |= (coarse_apart <= alike) & close & (looks[:, None, view] != 0)
    return near | near.T


@pytest.mark.parametrize("alike", [0, 1, 4, 8])
def test_groups_are_those_of_comparing_all_with_all(alike):
    rng = np.random.default_rng(0)
    looks = rng.integers(1, 2**63, (300, HASHES), dtype=np.uint64)
    looks[::9, 4:] = 0  # nothing inside the frame
    looks[::7, 1] = 0  # blurred
    for place in range(100):  # chains and stars of neighbours: of wholes, of other views, of mirrored ones
        other = looks[place // 2] if place % 2 else looks[199 + place]
        view = 2 * int(rng.integers(3))
        flipped = MIRRORED if place % 3 else (0, 0)
        for word, most in ((0, alike + 2), (1, int(FINER * alike) + 3)):
            bits = 0
            for bit in rng.choice(64, rng.integers(0, most), replace=False):
                bits |= 1 << int(bit)
            looks[200 + place, word] = other[view + word] ^ np.uint64(flipped[word]) ^ np.uint64(bits)
    looks[200:][looks[200:, 0] == 0, 0] = 5
    looks[looks[:, 1] == MIRRORED[1], 1] = 0  # blurred, and not the one fine hash that a mirror turns into none
    digests = np.arange(300, dtype=np.uint64)
    digests[[7, 250]] = 7
    near = compare_all(looks, alike)
    near[7, 250] = near[250, 7] = True
    wanted = np.arange(300)
    for _ in range(300):
        wanted = np.array([wanted[row].min() for row in near])
    assert np.array_equal(group_duplicates(digests, looks, alike), wanted)
    assert len(set(wanted)) < 290


def test_what_has_no_look_is_alike_by_its_bytes_alone():
    digests = np.array([5, 6, 5, 7], np.uint64)
    assert group_duplicates(digests, np.zeros((4, HASHES), np.uint64), ALIKE).tolist() == [0, 1, 0, 3]
    looks = np.zeros((4, HASHES), np.uint64)
    looks[1:3] = 9
    assert group_duplicates(digests, looks, ALIKE).tolist() == [0, 0, 0, 3]
    assert group_duplicates(digests, looks, -1).tolist() == [0, 1, 0, 3]


def test_a_file_under_two_emotions_is_used_under_none(base, pictures, tmp_path, capsys):
    """The same bytes as awe and as fear are refused, and the same bytes twice as awe are not."""
    root = tmp_path / "raw"
    places = {"awe": [0, 1, 2, 3, 4], "fear": [0, 5, 6, 7], "neutral": [1, 8]}
    for emotion, numbers in places.items():
        (root / emotion).mkdir(parents=True)
        for number in numbers:
            pictures[number].save(root / emotion / f"{number}.png")
    pictures[2].save(root / "awe/again.png")
    call = {"root": root, "base": base, "workers": 0, "split": "methods:1", "out": tmp_path / "out"}
    with pytest.raises(EmosceneError, match=r"4 of 12 images are refused, .*the same file has another label elsewhere"):
        prepare("imagefolder", **call)
    out = prepare("imagefolder", **call, spoilt=0.5)
    said = " ".join(capsys.readouterr().out.split())
    assert "4 images are files that stand under several emotions, and none of them is used, as nobody knows" in said
    rows = [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]
    names = ("awe/0.png", "awe/1.png", "fear/0.png", "neutral/1.png")
    assert [row["file"] for row in rows] == [str(root / name) for name in names]
    why = f"the same file has another label elsewhere: awe here, fear as {root / 'fear/0.png'}; give it one label"
    assert rows[0]["reason"].startswith(why)
    assert "neutral here, awe as" in rows[3]["reason"]
    ids = "awe.2 awe.3 awe.4 awe.again fear.5 fear.6 fear.7 neutral.8"
    assert sorted(PreparedDataset(out).column("id")) == ids.split()
    assert run_dir.read_manifest(out)["contradictory"] == 4
    card = (out / "README.md").read_text()
    assert "- files that stand under several emotions: 4 images, of which none is used" in card
    (group,) = [json.loads(line) for line in (out / "duplicates.jsonl").read_text().splitlines()]
    assert group == {"ids": ["awe.2", "awe.again"], "splits": ["", ""], "emotions": ["awe", "awe"]}


def test_what_only_looks_alike_keeps_its_two_emotions_and_is_counted(base, pictures, tmp_path, capsys):
    root = tmp_path / "raw"
    for emotion, change in (("awe", lambda image: image), ("fear", ImageOps.mirror)):
        (root / emotion).mkdir(parents=True)
        for number in range(4):
            change(pictures[number]).save(root / emotion / f"{number}.png")
    out = prepare("imagefolder", root=root, out=tmp_path / "out", base=base, workers=0, split="methods:1")
    assert "duplicates: 4 groups, 0 pairs across splits, 4 groups of several emotions" in capsys.readouterr().out
    assert len(PreparedDataset(out)) == 8
    assert "4 groups of several emotions (`duplicates.jsonl`)" in (out / "README.md").read_text()
    groups = [json.loads(line) for line in (out / "duplicates.jsonl").read_text().splitlines()]
    assert [group["emotions"] for group in groups] == [["awe", "fear"]] * 4


def test_a_made_split_keeps_a_group_together_and_an_official_one_is_reported(base, pictures, tmp_path):
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
