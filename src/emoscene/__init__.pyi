"""What the package offers, typed: each verb is looked up when it is first used, which a type checker cannot follow."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch

from emoscene.cli.doctor import doctor as doctor
from emoscene.cli.help import ls as ls
from emoscene.cli.help import show as show
from emoscene.cli.study import study as study
from emoscene.cli.verify import verify as verify
from emoscene.core.request import EvaluationWords, GenerationWords
from emoscene.data.preparation import prepare as prepare
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation.generate import Prompt
from emoscene.exports.export import export as export
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.reporting.page import report as report
from emoscene.training.train import train as train
from emoscene.tuning.tune import tune as tune

__version__: str
MODULES: dict[str, str]
VERBS: tuple[str, ...]
PLUGGED: tuple[str, ...]
RECIPES: set[str]

def load(
    base: str | DiffusionModel = "mini",
    *,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    lora: str | Path | Sequence[str | Path] | None = None,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    compile: bool = False,
    tiny: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> EmotionPipeline: ...
def generate(
    prompt: str = "",
    *,
    out: str | Path = "out",
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    compile: bool = False,
    format: str = "png",
    provenance: str = "xmp",
    ray: str | None = None,
    settings: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    on_message: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **asked: Unpack[GenerationWords],
) -> Path: ...
def evaluate(
    *,
    out: str | Path,
    method: str | None = None,
    adapter: str | Path | Sequence[str | Path] | None = None,
    base: str = "mini",
    lora: str | Path | Sequence[str | Path] | None = None,
    emotion_scale: float = 1.0,
    prompts: str | Path | Sequence[Prompt] | None = None,
    seeds: str | Iterable[int] = "0:4",
    judge: str | Path | Sequence[str | Path] | None = None,
    data: str | Path | None = None,
    images: str | Path | None = None,
    clip: str | Path | None = None,
    semantics: str | Path | None = None,
    features: str | Path | None = None,
    lpips: str | None = None,
    robust: bool = False,
    keep_images: bool = True,
    batch: int = 8,
    device: str | None = None,
    dtype: str | None = None,
    ray: str | None = None,
    settings: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    on_message: Callable[[str], None] = ...,
    **generation: Unpack[EvaluationWords],
) -> Path: ...
def demo(*words: Any, **asked: Any) -> Path: ...
def mini(*words: Any, **asked: Any) -> Path: ...
