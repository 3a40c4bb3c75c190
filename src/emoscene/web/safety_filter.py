"""The safety checker that a base brings along, as diffusers has it; Rando et al. (arXiv 2210.04610) tell its limits.

A picture is read by CLIP and compared with a fixed list of concepts; what comes too near is withheld. Only a base whose
`model_index.json` names a checker has one, and its weights may not have been fetched; in a single file there is none.
Then that is said, and stands in each picture's row (`settings.safety_checker`: on, off, absent, or withheld for the
picture that it kept back).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image

from emoscene.core.errors import download_command
from emoscene.diffusion import hub
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import PixelFormat, to_tensor


class SafetyFilter:
    """Looks at pictures before they are shown."""

    def __init__(self, base: DiffusionModel, wanted: bool = True) -> None:
        there = any((base.folder / "safety_checker").glob("*.safetensors"))
        self.state = "" if not _has_checker(base.folder) else "off" if not wanted else "on" if there else "absent"
        self.base, self.checker = base, None
        if self.state == "on":
            self.checker = StableDiffusionSafetyChecker.from_pretrained(
                str(base.folder / "safety_checker"), use_safetensors=True, local_files_only=True
            )
            self.checker.requires_grad_(False).eval().to(base.device)

    @property
    def remark(self) -> str:
        """What a user must know of it; nothing where the base names no checker, or it is on."""
        name, spec = Path(self.base.name).name, self.base.spec
        lone = self.base.folder.is_file()
        absent = f"{name} is one file, with no safety checker in it" if lone else f"{name}'s safety checker is not here"
        fetch = "" if Path(spec.source).exists() else f": {download_command(spec.source, spec.revision, hub.WEIGHTS)}"
        return {
            "absent": f"{absent}, so pictures are not screened{fetch}",
            "off": f"{name}'s safety checker is off, so pictures are not screened",
        }.get(self.state, "")

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Image.Image]) -> list[bool]:
        """Which of these pictures, of one size, may be shown."""
        if self.checker is None:
            return [True] * len(pictures)
        seen = PixelFormat.for_clip(224).transform(to_tensor(pictures)).to(self.base.device)
        _, found = self.checker(seen, torch.zeros_like(seen))  # the second it blackens where the first may not be shown
        return [not one for one in found]


def _has_checker(place: Path) -> bool:
    """Whether a base is of those that come with a checker: its index says so, and a single file is of that family."""
    if place.is_file():
        return True
    index = json.loads((place / "model_index.json").read_text(encoding="utf8"))
    return bool((index.get("safety_checker") or [None])[0])
