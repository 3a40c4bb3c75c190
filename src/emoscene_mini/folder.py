"""The miniature as an ordinary Stable Diffusion folder, such as plain diffusers loads with no word about types.

UNet and autoencoder are stored in half precision, the text encoder in single, all of them rounded (`rounding`):
transformers loads what is stored, diffusers single precision, and the two must meet. The scheduler's file is written
by hand with exactly the keys of Stable Diffusion 1.5; the one that `save_pretrained` writes adds a timestep spacing
with which DPM++ would not begin at 999.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from emoscene.core import run_dir
from emoscene.diffusion.families.sd1 import PIPELINE
from emoscene_mini import tokenizer as words
from emoscene_mini.base import Base
from emoscene_mini.rounding import round_weights

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


def write_folder(folder: Path, base: Base, vae: AutoencoderKL, vocabulary: Iterable[str]) -> Path:
    """Write a base's whole folder aside, then put it in the place of an older one.

    Args:
        folder: Where it goes.
        base: The UNet, the text encoder and the tokenizer.
        vae: The autoencoder.
        vocabulary: The words that the base knows.

    Returns:
        The folder.
    """
    aside = folder.with_name(f"{run_dir.TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "scheduler").mkdir(parents=True)
    (aside / "scheduler/scheduler_config.json").write_bytes(f"{json.dumps(SCHEDULER, indent=2)}\n".encode())
    (aside / "model_index.json").write_bytes(f"{json.dumps(PIPELINE, indent=2)}\n".encode())
    (aside / "words.txt").write_bytes("".join(f"{word}\n" for word in vocabulary).encode())
    words.save_tokenizer(aside / "tokenizer", base.tokenizer)
    for model in (base.text_encoder, base.unet, vae):
        round_weights(model)
    base.text_encoder.float().save_pretrained(aside / "text_encoder")
    base.unet.to(torch.float16).save_pretrained(aside / "unet")
    vae.to(torch.float16).save_pretrained(aside / "vae")
    old = folder.with_name(f"{run_dir.TEMPORARY_PREFIX}old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder
