"""The selector: what picks among settings, and may therefore judge nothing.

Three roles never share weights or images: the guide gives a method its gradients or vectors, the selector picks, the
judges only judge. Here the selector is the base's EmotionCLIP, which learnt from the methods' images and never from
the judges'. A method that stands on that very encoder needs another, such as a judge trained on a folder that was
prepared for nothing else.

An observation generates prompts from the selector's own captions in all eight emotions, each prompt from a seed of its
own. The selector recognizes the emotion. A CLIP measures content: of all prompts, the image's own must be the nearest
(R-precision, Park et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product, zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data.dataset import PreparedDataset
from emoscene.encoders.base import Encoder
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.evaluation import judges as judge_loading
from emoscene.evaluation import predictions
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import asked_probability, hits
from emoscene.learning import learner as learners
from emoscene.pipeline.pipeline import EmotionPipeline

FIRST = 1_000_000  # seed of the first prompt's images, far from those that judges are asked about


@dataclass(frozen=True)
class Observation:
    """What was seen of a method's images: the mean probability of the emotion asked, the share of images in which
    it is the likeliest, and the share whose prompt is kept.
    """

    probability: float
    accuracy: float
    content: float


class Selector:
    """The encoder that compares trials, with the prompts of its images.

    Args:
        folder: The folder of the encoder.
        clip: The folder of a CLIP that encodes texts, where the encoder does not.
        prompts: The prompts of the images.

    Raises:
        UsageError: The encoder does not recognize emotions, or there is no CLIP.
    """

    def __init__(self, folder: Path, clip: Path | None, prompts: Sequence[str]) -> None:
        self.reader, self.prompts = load_selector(folder), tuple(prompts)
        if not isinstance(self.reader, EmotionCLIP) and clip is None:
            raise UsageError(f"{folder} cannot tell whether the words are kept: give an EmotionCLIP as --selector")
        if isinstance(self.reader, EmotionCLIP):
            self.clip = self.reader
        else:
            self.clip = judge_loading.load_clip(clip or folder)
        self.texts = predictions.encode_texts(self.clip, self.prompts)

    def observe(self, pipe: EmotionPipeline, cfg: float) -> Observation:
        """Generate every prompt with every emotion, and read the images.

        Args:
            pipe: The pipeline.
            cfg: The guidance scale.

        Returns:
            What was observed.
        """
        asked = list(product(range(len(self.prompts)), range(len(EMOTIONS))))
        rows = []
        for number, label in asked:
            rows.append(
                pipe.plan(self.prompts[number], emotion=EMOTIONS[label], seed=FIRST + number, guidance_scale=cfg)[0]
            )
        images = [image for _, image in pipe.generate(rows)]
        read = self.reader.read(images)
        prompt, emotion = np.array(asked).T
        felt = asked_probability(read.probabilities, emotion).mean(), hits(read.probabilities, emotion).mean()
        return Observation(float(felt[0]), float(felt[1]), self._content_kept(images, prompt))

    def observe_base(self, pipe: EmotionPipeline, cfg: float) -> float:
        """Measure how much content the base keeps without any emotion, which is the most that can be kept.

        Args:
            pipe: The pipeline of the base alone.
            cfg: The guidance scale.

        Returns:
            The R-precision, from 0 to 1 (Park et al. 2021).
        """
        rows = []
        for place, text in enumerate(self.prompts):
            rows.append(pipe.plan(text, seed=FIRST + place, guidance_scale=cfg)[0])
        return self._content_kept([image for _, image in pipe.generate(rows)], np.arange(len(rows)))

    def _content_kept(self, images: Sequence[Image.Image], prompt: Array) -> float:
        return float(hits(self.clip.read(images).features @ self.texts.T, prompt).mean())


def load_selector(folder: Path) -> Encoder:
    """Load an encoder of emotions.

    Args:
        folder: The folder of an EmotionCLIP or a judge.

    Returns:
        The encoder.

    Raises:
        UsageError: There is no such encoder.
    """
    if not folder.is_dir():
        raise UsageError(f"--selector {folder} is not there: give a folder that `emoscene train emotion_clip` made")
    if not (folder / learners.CARD).is_file() or learners.read_card(folder)["learner"] == "emotion_clip":
        return judge_loading.load_clip(folder)
    selector = learners.load_learner("encoders", folder, None)
    if not isinstance(selector, Judge) or selector.labels != EMOTIONS:
        raise UsageError(
            f"{folder} does not tell the eight emotions: a selector is an emotion_clip or a judge of emotion"
        )
    return selector


def check_disjoint(selector: Path, judges: Sequence[Path], reads: Sequence[str], data: PreparedDataset) -> None:
    """Check that the selector has no part in the judges or in the method.

    Args:
        selector: The folder of the selector.
        judges: The folders of the judges.
        reads: The columns that the method learns from.
        data: The prepared data.

    Raises:
        UsageError: The selector is a judge, learned from a judge's images, or the method learns from its vectors.
    """
    mark = run_dir.fingerprint_folder(selector)
    for judge in judges:
        if mark == run_dir.fingerprint_folder(judge):
            raise UsageError(
                f"{selector} is the judge {judge} ({mark[:12]}) and must not pick: give another --selector"
            )
        origin = judge_loading.training_history(selector)
        if any(origin) and origin == judge_loading.training_history(judge):
            raise UsageError(f"{selector} learnt from the images of the judge {judge}: give another --selector")
    if "vector" in reads and mark == data.emotion_clip:
        raise UsageError(f"the method stands on {selector} ({mark[:12]}), which must not pick: give another --selector")


def choose_captions(data: PreparedDataset, count: int) -> list[str]:
    """Choose captions of different scenes, no two alike.

    Args:
        data: The prepared data.
        count: The number of captions.

    Returns:
        The captions [count].

    Raises:
        UsageError: There are not enough captions.
    """
    rows = data.read(range(len(data)), ["caption", "scene"])
    scenes: dict[str, list[str]] = {}
    for caption, scene in zip(rows["caption"], rows["scene"], strict=True):
        scenes.setdefault(scene, []).append(caption)
    turns = chain.from_iterable(zip_longest(*scenes.values()))
    captions = list(dict.fromkeys(caption for caption in turns if caption))
    if len(captions) < max(count, 2):
        raise UsageError(
            f"{data.folder} has {format_count(len(captions), 'caption')} for the selector, and "
            f"looks={count}: prepare more"
        )
    return captions[:count]
