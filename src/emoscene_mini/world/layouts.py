"""The world on disk, in the layouts of the real data sets, so that their readers are tested for real.

    emoset        info.json, {train,val,test}.json of [emotion, id, image, annotation], image/EMOTION/*.jpg, annotation/
    raf-db        basic/Image/aligned/{train,test}_00001_aligned.jpg of 100 px, basic/EmoLabel/list_patition_label.txt
    imagefolder   EMOTION/*.png and metadata.jsonl, as Hugging Face's `imagefolder` reads it

`list_patition_label` is RAF-DB's own spelling. Pictures show one emotion, the eight in turn, and each carries the
world's mark (`marks`). Every file is written whole, the lists last, and the same call goes on where it stopped.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.image_origin import encode_mark, mark_rendered
from emoscene.core.run_dir import RunDir
from emoscene.core.run_dir import write_atomic as write_whole
from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini.world.captions import attributes
from emoscene_mini.world.faces import EXPRESSIONS, render_face
from emoscene_mini.world.objects import OBJECTS, POSES
from emoscene_mini.world.plan import plan
from emoscene_mini.world.render_pool import RenderedImage, render_images
from emoscene_mini.world.scenes import SCENES

SPLITS = ("train", "train", "train", "train", "test", "train", "train", "val", "train", "test")
"""Of every ten pictures of an emotion: 7 to train, 1 to validate, 2 to test."""


def write_layout(
    layout: str, num: int, seed: int, out: Path | str, *, size: int = 128, workers: int | None = None
) -> Path:
    """Render `num` pictures from `seed` on into the folder `out`; returns it.

    Raises Usage for a layout nobody knows, a number below 1, or a folder with someone's files in it.
    """
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if num < 1 or seed < 0:
        raise UsageError(f"--num {num} --seed {seed} is off: at least one picture, from seed 0 on")
    stage = RunDir.open(out, "world", {"layout": layout, "num": num, "size": size}, seed=seed)
    with stage.hold():
        if not stage.is_done:
            LAYOUTS[layout](stage.path, num, seed, size, workers)
            stage.finish(pictures=num)
    return stage.path


def _emoset(root: Path, num: int, seed: int, size: int, workers: int | None) -> None:
    rows: dict[str, list[list[str]]] = {"train": [], "val": [], "test": []}
    made = _missing(root, num, seed, size, workers, lambda name: f"annotation/{name}.json")
    for name, proof in made:
        emotion, id = name.split("/")
        _write(root / f"image/{name}.jpg", _jpeg(proof.picture))
        about = {"image_id": id, "emotion": emotion, **attributes(proof.plan, proof.picture)}
        _write(root / f"annotation/{name}.json", json.dumps(about).encode())
    for number in range(num):
        emotion, id = (name := _name(number)).split("/")
        split = SPLITS[number // len(EMOTIONS) % len(SPLITS)]
        rows[split].append([emotion, id, f"image/{name}.jpg", f"annotation/{name}.json"])
    for split, listed in rows.items():
        _write(root / f"{split}.json", json.dumps(listed).encode())
    _write(root / "info.json", json.dumps(info(), indent=2).encode())


def _imagefolder(root: Path, num: int, seed: int, size: int, workers: int | None) -> None:
    for name, proof in _missing(root, num, seed, size, workers, lambda name: f"{name}.json"):
        buffer = BytesIO()
        proof.picture.save(buffer, "PNG", **encode_mark(proof.picture))
        _write(root / f"{name}.png", buffer.getvalue())
        words = {"caption": proof.short, "caption_long": proof.long, "scene": proof.plan.scene}
        row = {"file_name": f"{name}.png", "label": name.split("/")[0], "votes": proof.plan.votes, **words}
        _write(root / f"{name}.json", json.dumps(row).encode())
    notes = [root / f"{_name(number)}.json" for number in range(num)]
    lines = [note.read_text(encoding="utf8") for note in notes]
    _write(root / "metadata.jsonl", "".join(f"{line}\n" for line in lines).encode())
    for note in notes:
        note.unlink()


def _raf_db(root: Path, num: int, seed: int, size: int, workers: int | None) -> None:
    counts: dict[str, int] = defaultdict(int)
    lines = []
    for number in range(num):
        label = number % len(EXPRESSIONS)
        split = "test" if number // len(EXPRESSIONS) % 5 == 4 else "train"
        counts[split] += 1
        stem = f"{split}_{counts[split]:05d}"
        path = root / f"basic/Image/aligned/{stem}_aligned.jpg"
        if not path.exists():
            face = render_face(seed + number, list(EXPRESSIONS)[label], 100)
            _write(path, _jpeg(mark_rendered(face, "mini")))
        lines.append(f"{stem}.jpg {label + 1}\n")
    _write(
        root / "basic/EmoLabel/list_patition_label.txt",
        "".join(sorted(lines, key=lambda line: (line[:4] == "test", line))).encode(),
    )


LAYOUTS: dict[str, Callable[[Path, int, int, int, int | None], None]] = {
    "emoset": _emoset,
    "raf-db": _raf_db,
    "imagefolder": _imagefolder,
}


def info() -> dict[str, dict[str, dict[str, Any]]]:
    """EmoSet's `info.json` for this world: each attribute's labels and their numbers, both ways."""
    some, blank = plan(0, emotion="awe", scene="village", object=""), Image.new("RGB", (1, 1))
    cast = [replace(some, scene=scene) for scene in SCENES]
    cast += [replace(some, object=name) for name in OBJECTS]
    cast += [replace(some, object="person", figure="person", pose=pose) for pose in POSES]
    found: dict[str, set[str]] = defaultdict(set)
    for drawn in cast:
        for key, value in attributes(drawn, blank).items():
            found[key] |= set(value) if isinstance(value, list) else {str(value)}
    tenths = [tenth / 10 for tenth in range(11)]
    labels: dict[str, list[Any]] = {
        "emotion": list(EMOTIONS),
        "brightness": tenths,
        "colorfulness": tenths,
        "scene": sorted(found["scene"]),
        "object": sorted(found["object"]),
        "facial_expression": [name for name in EXPRESSIONS if name != "neutral"],
        "human_action": sorted(found["human_action"]),
    }
    return {
        key: {
            "label2idx": {str(label): number for number, label in enumerate(values)},
            "idx2label": {str(number): label for number, label in enumerate(values)},
        }
        for key, values in labels.items()
    }


def _name(number: int) -> str:
    """The place of a picture under its emotion: `awe/awe_00012`."""
    emotion = EMOTIONS[number % len(EMOTIONS)]
    return f"{emotion}/{emotion}_{number // len(EMOTIONS):05d}"


def _missing(
    root: Path, num: int, seed: int, size: int, workers: int | None, mark: Callable[[str], str]
) -> Iterator[tuple[str, RenderedImage]]:
    """The pictures whose last file, `mark`, is not there yet."""
    todo = [number for number in range(num) if not (root / mark(_name(number))).exists()]
    orders = ({"seed": seed + number, "emotion": EMOTIONS[number % len(EMOTIONS)]} for number in todo)
    for number, proof in zip(todo, render_images(orders, size, workers), strict=True):
        yield _name(number), proof


def _jpeg(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=95, subsampling=0, **encode_mark(picture))
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
