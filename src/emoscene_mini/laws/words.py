"""A law of learned words: free ones grow longer than any word of the vocabulary, and the words beside them get lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from emoscene.data.preparation import prepare
from emoscene.evaluation.generate import plan_samples
from emoscene.evaluation.metrics.base import Predictions, hits, measure_mean
from emoscene.methods.inversion import Inversion
from emoscene.pipeline.generate import load
from emoscene.training.train import train
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws.law import Finding
from emoscene_mini.laws.statistics import measure_rows

IMAGES = 4000
SEED = 40
STEPS = 400
LONGER = 1.5  # times a word's length


def measure_norms(lab: Experiment) -> list[Finding]:
    """Train an inversion freely and one by directions alone, with the same steps; compare lengths and lost words."""
    data = prepare_images(lab)
    free, fixed = (train_inversion(lab, data, fixed) for fixed in (False, True))
    lengths = relative_lengths(lab, free)
    emotions = np.repeat(np.arange(len(lengths)), lengths.shape[1])
    grown = measure_rows(lengths.flatten().numpy(), emotions)
    freely, directed = (read_generated(lab, run) for run in (free, fixed))
    kept = hits(directed.scene, directed.place) - hits(freely.scene, freely.place)
    lost = measure_mean(kept, np.ones(len(freely)), freely, by=freely.scene_by)
    return [
        Finding("length of a freely learned word, in lengths of the vocabulary's words", grown, LONGER),
        Finding("scenes of the prompt lost by free words and kept by directions", lost),
    ]


def prepare_images(lab: Experiment) -> Path:
    """Prepare the images that the laws train on; a folder that is there is taken.

    Args:
        lab: The experiment.

    Returns:
        The prepared folder.
    """
    folder = lab.out / "law-images"
    prepare("mini", out=folder, limit=IMAGES, base=lab.base, on_message=lab.on_message)
    return folder


def train_inversion(lab: Experiment, data: Path, fixed: bool) -> Path:
    """Train an inversion, unless it is there.

    Args:
        lab: The experiment.
        data: The prepared folder.
        fixed: Whether its vectors keep a word's length.

    Returns:
        Its folder.
    """
    out = lab.out / f"law-inversion-{'fixed' if fixed else 'free'}"
    if (out / "manifest.json").is_file():
        return out
    settings: dict[str, Any] = {"steps": STEPS, "fixed_norm": fixed, "load_best_model_at_end": False}
    return train("inversion", data=data, out=out, base=lab.base, on_message=lab.on_message, **settings)


def relative_lengths(lab: Experiment, run: Path) -> Tensor:
    """Compare the length of learned vectors with that of the base's words.

    Args:
        lab: The experiment.
        run: The inversion's folder.

    Returns:
        Lengths in mean lengths of a word [8, n].
    """
    method = load(lab.base, adapter=run).chain.methods[0]
    assert isinstance(method, Inversion)
    words = lab.backbone.token_tables[0].float().norm(dim=1).mean()
    return (method.vectors.detach().float().norm(dim=-1) / words).cpu()


def read_generated(lab: Experiment, run: Path) -> Predictions:
    """Generate the prompts in all emotions with an inversion, and read the images."""
    pipe = load(lab.base, adapter=run)
    planned = plan_samples(pipe, lab.prompts, [SEED])
    return lab.judge(lab.generate(run.name, pipe, planned))
