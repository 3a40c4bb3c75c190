"""The safety checker that a base brings along, as diffusers has it; Rando et al. (arXiv 2210.04610) show its limits.

CLIP embeds an image and compares it with a fixed list of concepts; an image that comes too near one is withheld. A base
has a checker if its `model_index.json` names one, and its weights may still be missing; a single file has none. The
page says so, and each image's parameters hold the state: `settings.safety_checker` is on, off, absent, or withheld for
the image that was kept back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image

from emoscene.core.errors import download_command
from emoscene.core.file_reading import read_json
from emoscene.diffusion import hub
from emoscene.diffusion.architecture import INDEX
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import PixelFormat, to_tensor

FOLDER = "safety_checker"


class SafetyFilter:
    """Checks images before they are shown.

    Attributes:
        state: "on", "off", "absent" where the weights are missing, or "" for a base that names no checker.
    """

    def __init__(self, base: DiffusionModel, wanted: bool = True) -> None:
        self.base, self.checker = base, None
        self.state = _find_state(base.folder, wanted)
        if self.state == "on":
            self.checker = StableDiffusionSafetyChecker.from_pretrained(
                str(base.folder / FOLDER), use_safetensors=True, local_files_only=True
            )
            self.checker.requires_grad_(False).eval().to(base.device)

    @property
    def remark(self) -> str:
        """What a user must know of it; empty if it is on, or if the base names no checker."""
        name, spec = Path(self.base.name).name, self.base.spec
        if self.state == "off":
            return f"{name}'s safety checker is off, so images are not screened"
        if self.state != "absent":
            return ""
        reason = f"{name}'s safety checker is not here"
        if self.base.folder.is_file():
            reason = f"{name} is one file, with no safety checker in it"
        remark = f"{reason}, so images are not screened"
        if not Path(spec.source).exists():
            remark += f": {download_command(spec.source, spec.revision, hub.WEIGHTS)}"
        return remark

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> list[bool]:
        """Tell for each of these images, all of one size, whether it may be shown."""
        if self.checker is None:
            return [True] * len(images)
        pixels = PixelFormat.for_clip(224).transform(to_tensor(images)).to(self.base.device)
        # The checker blackens its second argument in place where an image may not be shown.
        _, flags = self.checker(pixels, torch.zeros_like(pixels))
        return [not flag for flag in flags]


def _find_state(place: Path, wanted: bool) -> str:
    if not _has_checker(place):
        return ""
    if not wanted:
        return "off"
    if any((place / FOLDER).glob("*.safetensors")):
        return "on"
    return "absent"


def _has_checker(place: Path) -> bool:
    """Whether a base should have a checker: its index names one, or it is a single file."""
    if place.is_file():
        return True
    index = read_json(place / INDEX, remedy="fetch or install it again")
    named = index.get(FOLDER)
    return isinstance(named, list) and bool(named and named[0])
