"""A law of mixtures: two adapters show both emotions more clearly where predictions are mixed than where weights are.

Each adapter learns one emotion. Their weights are mixed by setting their updates side by side, each at half: the sum is
the mean of both updates, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch

from emoscene.core import seeds
from emoscene.core.image_origin import encode_mark
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import measure_mean
from emoscene.evaluation.predictions import Sample
from emoscene.methods.lora import LoRA
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.training import loop, state
from emoscene_mini.experiment import Experiment
from emoscene_mini.laws.law import Finding
from emoscene_mini.laws.trajectories import Predict, make_prediction, mean_prediction, run_steps, start_steps
from emoscene_mini.laws.words import prepare_images

MIXED = ("amusement", "awe", "fear", "sadness")
SEED = 40
PROMPTS = 8
RANK = 8
SETTINGS = state.Config(steps=250, batch_size=32, lr=1e-3, weight_decay=0.0, ema_decay=0.98, checkpoint_every=250)


def measure_mixing(lab: Experiment) -> list[Finding]:
    """Train an adapter for each of four emotions; mix each two, by weights and by predictions."""
    data = PreparedDataset(prepare_images(lab), "methods")
    single = {name: train_single(lab, data, name) for name in MIXED}
    read = {}
    for kind in ("weights", "predictions"):
        samples = []
        for number, (one, other) in enumerate(combinations(MIXED, 2)):
            lab.on_message(f"mixing {kind} of {one} and {other}")
            samples += generate_mixed(lab, kind, number, single, (one, other))
        read[kind] = lab.judge(samples)
    asked = list(combinations([EMOTIONS.index(name) for name in MIXED], 2))
    both = {kind: probability_of_both(seen.likely, seen.seed, asked) for kind, seen in read.items()}
    mixed = read["predictions"]
    gained = measure_mean(both["predictions"] - both["weights"], np.ones(len(mixed)), mixed)
    return [Finding("probability of the lesser of both emotions, predictions - weights", gained)]


def probability_of_both(likely: Array, pair: Array, asked: Sequence[tuple[int, int]]) -> Array:
    """The lesser of the probabilities of the two emotions asked [N]; pair: which of `asked` each row is of [N]."""
    places = np.array(asked)[pair]
    rows = np.arange(len(likely))
    return np.minimum(likely[rows, places[:, 0]], likely[rows, places[:, 1]])


class OneEmotion:
    """The images of a prepared folder that are of one emotion."""

    def __init__(self, data: PreparedDataset, emotion: str) -> None:
        self.data = data
        labels = data.column("emotion")
        self.places = torch.nonzero(labels == EMOTIONS.index(emotion)).flatten().tolist()

    def __len__(self) -> int:
        return len(self.places)

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """Read columns of some rows.

        Args:
            indices: B rows.
            columns: The names of the columns.

        Returns:
            Tensors [B, ...], or lists of B values, by column.
        """
        return self.data.read([self.places[index] for index in indices], columns)


def train_single(lab: Experiment, data: PreparedDataset, emotion: str) -> LoRA:
    """Train a LoRA on the images of one emotion; a run that was stopped goes on.

    Args:
        lab: The experiment.
        data: The prepared images.
        emotion: The emotion.

    Returns:
        The LoRA, frozen.
    """
    seeds.seed_torch(SEED, "law", emotion)
    learner = LoRA.from_scratch(LoRA.Config(rank=RANK), lab.backbone)
    folder = lab.out / f"law-lora-{emotion}"
    again = any(folder.glob("step-*"))
    trained = loop.run_training(learner, OneEmotion(data, emotion), SETTINGS, folder, resume=again)
    assert isinstance(trained, LoRA)
    return trained.requires_grad_(False)


def merge_halves(base: Any, one: LoRA, other: LoRA, emotions: tuple[str, str]) -> LoRA:
    """Mix the weights of two LoRAs: the update is the mean of theirs, and each emotion's vectors are its own LoRA's.

    Args:
        base: The base.
        one: A LoRA of rank r.
        other: Another one of rank r.
        emotions: The emotion of each.

    Returns:
        A LoRA of rank 2 r.
    """
    merged = LoRA.from_scratch(LoRA.Config(rank=2 * RANK), base)
    for (_, pair), (_, first), (_, second) in zip(merged.layers, one.layers, other.layers, strict=True):
        pair.lora_A.weight.data = torch.cat([first.lora_A.weight, second.lora_A.weight])
        pair.lora_B.weight.data = torch.cat([first.lora_B.weight, second.lora_B.weight], 1) / 2
    for lora, emotion in zip((one, other), emotions, strict=True):
        merged.tokens.data[EMOTIONS.index(emotion)] = lora.tokens[EMOTIONS.index(emotion)]
    return merged.requires_grad_(False).eval()


def generate_mixed(
    lab: Experiment, kind: str, number: int, single: dict[str, LoRA], emotions: tuple[str, str]
) -> list[Sample]:
    """Generate the prompts in a mixture of two emotions.

    Args:
        lab: The experiment.
        kind: `weights` or `predictions`: what is mixed.
        number: The number of the pair.
        single: The LoRA of each emotion.
        emotions: The two.

    Returns:
        A sample a prompt; its seed is the number of the pair.
    """
    plain = lab.pipe("none")
    folder = lab.out / "pictures" / f"law-mixed-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for place, prompt in enumerate(lab.prompts[::3][:PROMPTS]):
        row = plain.plan(prompt.text, seed=SEED)[0]
        scheduler, x = start_steps(plain, [row])
        predict = predict_mixture(plain, kind, single, emotions, prompt.text)
        x = run_steps(plain, scheduler, predict, x, 0, row.num_inference_steps)
        image = plain.decode(x, [row])[0]
        file = folder / f"{number}-{place}.png"
        image.save(file, **encode_mark(image))
        samples.append(Sample(file, place, number, EMOTIONS.index(emotions[0]), prompt.scene))
    return samples


def predict_mixture(
    plain: EmotionPipeline, kind: str, single: dict[str, LoRA], emotions: tuple[str, str], prompt: str
) -> Predict:
    """Make the prediction of a mixture: of merged LoRAs at half of each emotion, or the mean of two predictions."""
    if kind == "weights":
        merged = merge_halves(plain.base, single[emotions[0]], single[emotions[1]], emotions)
        return predict_with(plain, merged, prompt, dict.fromkeys(emotions, 0.5))
    parts = [predict_with(plain, single[name], prompt, {name: 1.0}) for name in emotions]
    return mean_prediction(parts)


def predict_with(plain: EmotionPipeline, lora: LoRA, prompt: str, emotion: dict[str, float]) -> Predict:
    """The prediction of a base with a LoRA that is in memory."""
    pipe = EmotionPipeline(plain.base, {"lora": lora})
    return make_prediction(pipe, pipe.plan(prompt, emotion=emotion, seed=SEED))
