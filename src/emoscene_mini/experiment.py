"""The bench on which the miniature is measured: what is painted, rendered and read, each once, kept on the disk.

made = lab.read("lora")            24 short prompts x 8 emotions x 4 seeds, counted from `first`
real = lab.real                    the world's own pictures of the same scenes, objects and emotions, as many
natural = lab.natural              held-out pictures as they come: the judge's ceiling
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from emoscene.core import run_dir
from emoscene.core.image_origin import encode_mark
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import Encoder
from emoscene.evaluation.generate import Prompt, adapter_folders, generate_samples, load_prompts, plan_samples
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.judges import load_judges
from emoscene.evaluation.metrics.base import Predictions
from emoscene.evaluation.predictions import Sample, predict
from emoscene.evaluation.references import LearntColours, learn_image_colours
from emoscene.pipeline import image_folder
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini.world import roles
from emoscene_mini.world1.render_pool import RenderedImage, render_images

SEEDS = 4  # of each prompt and emotion
NATURAL = 1500  # held-out pictures for the ceiling
UNSEEN = 500  # held-out pictures for the autoencoder
FULL = 800  # held-out pictures at full intensity
COLOURED = 1600  # pictures that colours are learnt from
MATCHED, APART, STRONG = 100_000, 50_000, 200_000  # where these begin among the held-out seeds


class Experiment:
    """A base, its adapters and judges, and a folder to keep what was painted in."""

    def __init__(
        self,
        out: Path,
        base: str = "mini",
        method: str = "lora",
        adapters: Sequence[str] = (),
        judges: Sequence[str] = (),
        on_message: Callable[[str], None] = print,
        first: int = 0,
    ) -> None:
        self.out, self.base, self.method, self.on_message = out, base, method, on_message
        self.adapters, self.more = list(adapters), list(judges)
        self.seeds = range(first, first + SEEDS)
        self.pipes: dict[str, EmotionPipeline] = {}
        self.known: dict[str, dict[str, Predictions]] = {}
        self.votes: dict[str, Array] = {}

    @cached_property
    def prompts(self) -> list[Prompt]:
        """The short prompts."""
        return load_prompts(Path(__file__).parent / "prompts.toml")

    @cached_property
    def judges(self) -> dict[str, Encoder]:
        """The base's judges."""
        return load_judges(self.base, self.more, self.adapters)

    @property
    def backbone(self) -> DiffusionModel:
        """The base itself."""
        return self.pipe("none").base

    def pipe(self, method: str) -> EmotionPipeline:
        """A method ready to paint; each is loaded once."""
        if method not in self.pipes:
            own = self.adapters if method == self.method else []
            self.pipes[method] = load(self.base, method=method, adapter=own or None)
            for remark in self.pipes[method].adapter_remarks:
                self.on_message(remark)
        return self.pipes[method]

    def predict(self, method: str, strength: float = 1.0, seeds: Iterable[int] | None = None) -> Predictions:
        """What the first judge reads of a method's pictures; painted once, kept in `out`."""
        return next(iter(self.predict_all(method, strength, seeds).values()))

    def predict_all(
        self, method: str, strength: float = 1.0, seeds: Iterable[int] | None = None
    ) -> dict[str, Predictions]:
        """What each judge of emotions reads of them."""
        seeds = list(self.seeds if seeds is None else seeds)
        name = f"{method}-{strength:g}-{'.'.join(map(str, seeds))}"
        if name not in self.known:
            self.on_message(f"painting {name}")
            self.known[name] = self.judge_all(self.samples(method, strength, seeds))
        return self.known[name]

    def samples(self, method: str, strength: float = 1.0, seeds: Iterable[int] | None = None) -> list[Sample]:
        """A method's pictures."""
        seeds = list(self.seeds if seeds is None else seeds)
        planned = plan_samples(self.pipe(method), self.prompts, seeds, emotion_scale=strength)
        return self.generate(f"{method}-{strength:g}", self.pipe(method), planned)

    def generate(
        self, name: str, pipe: EmotionPipeline, planned: Sequence[tuple[Sample, GenerationParams]]
    ) -> list[Sample]:
        """Any planned pictures, painted once into a folder of that name, and again where they would be others now."""
        folder = self.out / "pictures" / name
        self._remove_stale(folder, pipe, [row for _, row in planned])
        return generate_samples(pipe, planned, folder, on_message=self.on_message)

    def _remove_stale(self, folder: Path, pipe: EmotionPipeline, rows: Sequence[GenerationParams]) -> None:
        """Take away from a folder what other weights painted, and what was painted from other rows than these."""
        given = self.adapters if pipe.method == self.method else []
        marks = [self.fingerprint, *(run_dir.fingerprint_folder(path) for path in adapter_folders(pipe, given))]
        record = folder / "weights.json"
        if not record.is_file() or json.loads(record.read_text(encoding="utf8")) != marks:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            run_dir.write_atomic(record, json.dumps(marks).encode())
        known = {
            file: replace(GenerationParams.from_dict(row), seconds=None)
            for file, row in image_folder.read_index(folder).items()
        }
        for row in rows:
            if known.get(row.file) != row:
                (folder / row.file).unlink(missing_ok=True)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of all the base's weights."""
        folder = self.backbone.folder
        return run_dir.fingerprint_folder(folder) if folder.is_dir() else self.backbone.fingerprint

    @cached_property
    def real_predictions(self) -> Predictions:
        """Rendered pictures with the same captions and emotions as the painted ones, from held-out seeds."""
        asked = list(product(range(len(self.prompts)), range(len(EMOTIONS)), self.seeds))
        seeds = roles.role_seeds("heldout", len(asked), MATCHED)
        orders = [
            {"seed": seed, "emotion": EMOTIONS[e], "scene": self.prompts[p].scene, "object": self.prompts[p].object}
            for seed, (p, e, _) in zip(seeds, asked, strict=True)
        ]
        samples = [Sample(Path(f"{p}-{e}-{s}.png"), p, s, e, self.prompts[p].scene) for p, e, s in asked]
        return self.judge(self.render("real", orders, samples))

    @property
    def held_out(self) -> Predictions:
        """What the first judge reads of held-out pictures."""
        return next(iter(self.held_out_all.values()))

    @cached_property
    def held_out_all(self) -> dict[str, Predictions]:
        """What each judge of emotions reads of them, with the viewers' votes."""
        found = self.judge_all(self.natural_samples)
        return {name: replace(read, votes=self.votes["natural"]) for name, read in found.items()}

    @cached_property
    def full_predictions(self) -> Predictions:
        """What the first judge reads of held-out pictures at full intensity."""
        seeds = roles.role_seeds("heldout", FULL, STRONG)
        orders = [{"seed": seed, "emotion": EMOTIONS[seed % len(EMOTIONS)], "intensity": 1.0} for seed in seeds]
        samples = [Sample(Path(f"{seed}.png"), seed, 0, seed % len(EMOTIONS)) for seed in seeds]
        return self.judge(self.render("full", orders, samples))

    @cached_property
    def colours(self) -> LearntColours:
        """The colours of each emotion, learnt from pictures of the methods' seeds."""
        seeds = roles.role_seeds("methods", COLOURED)
        asked = [seed % len(EMOTIONS) for seed in seeds]
        orders = ({"seed": seed, "emotion": EMOTIONS[label]} for seed, label in zip(seeds, asked, strict=True))
        rendered = render_images(orders, self.backbone.default_size)
        return learn_image_colours((np.asarray(proof.picture) for proof in rendered), np.array(asked))

    @cached_property
    def natural_samples(self) -> list[Sample]:
        """Held-out pictures of one emotion, scene and object as they come."""
        seeds = roles.role_seeds("heldout", NATURAL)
        orders = [{"seed": seed, "emotion": EMOTIONS[seed % len(EMOTIONS)]} for seed in seeds]
        samples = [Sample(Path(f"{seed}.png"), seed, 0, seed % len(EMOTIONS)) for seed in seeds]
        return self.render("natural", orders, samples)

    @cached_property
    def unseen(self) -> list[RenderedImage]:
        """Held-out pictures of one emotion each."""
        seeds = roles.role_seeds("heldout", UNSEEN, APART)
        orders = ({"seed": seed, "emotion": EMOTIONS[seed % len(EMOTIONS)]} for seed in seeds)
        return list(render_images(orders, self.backbone.default_size))

    @cached_property
    def mixed_samples(self) -> list[RenderedImage]:
        """Held-out pictures of every kind, neutral ones and mixtures among them."""
        seeds = roles.role_seeds("heldout", UNSEEN, APART)
        return list(render_images(({"seed": seed} for seed in seeds), self.backbone.default_size))

    def render(self, name: str, orders: Sequence[dict[str, Any]], samples: Sequence[Sample]) -> list[Sample]:
        """Render into a folder; the scene is the plan's own."""
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        found, votes = [], []
        for sample, proof in zip(samples, render_images(orders, self.backbone.default_size), strict=True):
            proof.picture.save(folder / sample.file, **encode_mark(proof.picture))
            found.append(replace(sample, file=folder / sample.file, scene=proof.plan.scene, object=proof.plan.object))
            votes.append(proof.plan.votes)
        self.votes[name] = np.array(votes)
        return found

    def judge(self, samples: Sequence[Sample]) -> Predictions:
        """What the first judge read of these pictures."""
        return next(iter(self.judge_all(samples).values()))

    def judge_all(self, samples: Sequence[Sample]) -> dict[str, Predictions]:
        """What each judge of emotions read of these pictures."""
        return predict(samples, self.judges)
