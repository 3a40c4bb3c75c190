"""Every method at Stable Diffusion v1.5's true size: `python -m emoscene.evaluation.true_size --out out/truesize`.

A folder with the public architecture and random weights takes the place of the real one, which is not downloaded. On it
each method trains two steps and draws two. The images mean nothing; sizes, seconds and memory are the real ones'.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from emoscene.core import config as configs
from emoscene.core import registry, run_dir
from emoscene.core.callbacks import Callbacks
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.base_spec import find_spec, locate_weights
from emoscene.diffusion.families.sd1 import CONFIGS, PIPELINE
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner as learners
from emoscene.learning.precision import peak_memory
from emoscene.methods.base import Method
from emoscene.pipeline.generate import load
from emoscene.training import loop, state

METHODS = {
    "inversion": "inversion_mini",
    "lora": "lora_sd15",
    "guidance": "guidance_mini",
    "multimodal": "multimodal_mini",
}
"""The methods that learn, and the recipe that each takes."""
LIMITS = {"lora": 25.0, "guidance": 5.0, "multimodal": 45.0}  # MB, at most
VECTOR = 512  # numbers of an EmotionCLIP vector of the usual size


def make_true_size_base(folder: Path) -> Path:
    """Write a base with random weights in half precision, about 2 GB; its tokenizer is the miniature's.

    Args:
        folder: Where to write, unless it is there.

    Returns:
        The folder.
    """
    if (folder / "model_index.json").is_file():
        return folder
    torch.manual_seed(0)
    text = CLIPTextConfig.from_pretrained(CONFIGS / "text_encoder")  # nosec B615  # a folder of the package
    CLIPTextModel(text).half().save_pretrained(folder / "text_encoder")
    kinds: tuple[tuple[str, Any], ...] = (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
    for part, kind in kinds:
        config = kind.load_config(str(CONFIGS / part))
        kind.from_config(config).to(torch.float16).save_pretrained(folder / part)
    shutil.copytree((locate_weights(find_spec("mini")) / "tokenizer"), folder / "tokenizer", dirs_exist_ok=True)
    shutil.copytree(CONFIGS / "scheduler", folder / "scheduler", dirs_exist_ok=True)
    run_dir.write_atomic(folder / "model_index.json", json.dumps(PIPELINE).encode())
    return folder


class RandomSamples:
    """Eight samples of a prepared set's shape, an emotion each.

    Args:
        side: The side of a latent.
    """

    def __init__(self, side: int = 64) -> None:
        self.side = side

    def __len__(self) -> int:
        return len(EMOTIONS)

    def column(self, column: str) -> Any:
        """Read one column of all rows.

        Args:
            column: Its name.

        Returns:
            A tensor or a list.
        """
        return self.read(range(len(self)), [column])[column]

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """Read the named columns of some rows.

        Args:
            indices: The rows.
            columns: The names of the columns.

        Returns:
            A tensor or a list for each column.
        """
        draw = torch.Generator().manual_seed(0)
        shapes: dict[str, Tensor] = {
            "latent": torch.randn(len(self), 4, self.side, self.side, generator=draw),
            "vector": torch.nn.functional.normalize(torch.randn(len(self), VECTOR, generator=draw)),
            "weights": torch.eye(len(self)),
        }
        words = {}
        for name in ("caption", "caption_long"):
            words[name] = ["a village by a lake"]
        batch: dict[str, Any] = {}
        for column in columns:
            if column in shapes:
                batch[column] = shapes[column][list(indices)]
            else:
                batch[column] = words[column] * len(indices)
        return batch


def try_method(name: str, folder: Path, out: Path) -> dict[str, Any]:
    """Train a method for two steps, save it, load it and generate with two steps.

    Args:
        name: The method.
        folder: The base.
        out: Where to write.

    Returns:
        The number of parameters, MB of files, seconds and GB of memory.
    """
    backbone = DiffusionModel.load(str(folder))
    cls: type[Method] = registry.load_plugin("methods", name)
    own = {field.name for field in configs.list_options(cls.Config)}
    recipe = {}
    for key, value in registry.load_table("recipes", METHODS[name]).items():
        if key in own:
            recipe[key] = value
    method = cls.from_scratch(configs.replace_fields(cls.Config(), recipe), backbone, RandomSamples())
    config = state.Config(steps=2, batch_size=1, ema_decay=0.0)
    target, seconds = out / name, list[float]()
    shutil.rmtree(target, ignore_errors=True)
    run = out / f"{name}-run"
    shutil.rmtree(run, ignore_errors=True)
    callbacks = Callbacks(on_message=print, on_step=lambda step: seconds.append(step.seconds))
    loop.run_training(method, RandomSamples(), config, run, callbacks=callbacks)
    target.mkdir(parents=True)
    learners.save_learner(method, name, target, backbone)
    shutil.rmtree(run)
    parameters = sum(p.numel() for p in method.parameters())
    began = time.perf_counter()
    result = load(backbone, adapter=target)("a village by a lake", emotion="awe", num_inference_steps=2)
    drawing = time.perf_counter() - began
    result.images[0].save(out / f"{name}.png")
    return {
        "method": name,
        "parameters": parameters,
        "megabytes": round(sum(file.stat().st_size for file in target.glob("*.safetensors")) / 1e6, 2),
        "train": round(seconds[-1], 2),
        "draw": round(drawing / 2, 2),
        "gigabytes": round(peak_memory() / 2**30, 2),
    }


def measure(out: Path, names: Sequence[str] = tuple(METHODS)) -> list[dict[str, Any]]:
    """Try methods one after the other, each in its own process, so that its memory is measured alone.

    Args:
        out: Where to write.
        names: The methods.

    Returns:
        What `try_method` returns for each.
    """
    folder = make_true_size_base(out / "base")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as process:
        return [process.submit(try_method, name, folder, out).result() for name in names]


def main(line: Sequence[str] | None = None) -> int:
    """Measure and print.

    Args:
        line: The words of the command line; those of the process if left out.

    Returns:
        The exit status: 1 if a file is larger than its limit.
    """
    parser = argparse.ArgumentParser(prog="python -m emoscene.evaluation.true_size", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/truesize"))
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME")
    asked = parser.parse_args(line)
    found = measure(asked.out, asked.only)
    run_dir.write_atomic(asked.out / "truesize.json", json.dumps(found, indent=1).encode())
    table = Table("method", "parameters", "MB as saved", "s a step of 1", "s a drawn step", "peak GB")
    for row in found:
        limit = LIMITS.get(row["method"])
        size = f"{row['megabytes']}"
        if limit is not None:
            size += f" (<= {limit:g})"
        table.add_row(
            row["method"], f"{row['parameters']:,}", size, *(f"{row[k]:.2f}" for k in ("train", "draw", "gigabytes"))
        )
    Console(width=110).print(table)
    return int(any(row["megabytes"] > LIMITS.get(row["method"], float("inf")) for row in found))


if __name__ == "__main__":
    sys.exit(main())
