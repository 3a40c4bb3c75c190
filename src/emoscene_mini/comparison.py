"""The methods side by side, on the same prompts, emotions and seeds, each paired with the base alone.

What is asked of every method stands in `methods`; what only some can do, in `mixtures`, `suppression` and `editing`.
Figures are those of `claims`, which prints them: `python -m emoscene_mini.claims --only methods mixtures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product
from pathlib import Path

import numpy as np

from emoscene.core import registry
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import open_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.generate import Prompt
from emoscene.evaluation.intervals import Array
from emoscene.evaluation.metrics.base import Predictions, Value, hits, measure, measure_share, weighted_mean
from emoscene.evaluation.metrics.distance import frechet_distance, moments
from emoscene.evaluation.metrics.diversity import diversity
from emoscene.evaluation.metrics.editing import ssim
from emoscene.evaluation.predictions import Sample
from emoscene.methods.prompt import read_lexicon
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini.claim import Claim, make_claim
from emoscene_mini.experiment import Experiment
from emoscene_mini.world import roles

LEARNED = ("inversion", "lora", "guidance", "multimodal")
TOGETHER = ("lora+guidance", "multimodal+guidance", "lora+multimodal")
MIXING = ("lora", "guidance", "multimodal")
EDITING = ("lora", "lora+guidance")
CAPTIONED = ("lora",)  # those that edit from the base's own caption too, as where nobody gives a prompt
MIXED = 8  # prompts for each of the 28 pairs of emotions
EDITED = 64  # pictures given another emotion
CHANGED = 0.85  # the denoising strength of an edit
FIRST = 150_000  # where the rendered mixtures begin among the held-out seeds
EXCESS = 0.02  # what an accuracy may exceed the judge's ceiling by; more is exaggeration
RIGHT = {"multimodal": 0.9, "guidance": 0.9}  # least share of the judge's ceiling


def methods(lab: Experiment) -> list[Claim]:
    """Every method: emotion, scene, distance to real pictures, diversity."""
    none, words = lab.predict("none"), lab.predict("prompt")
    kept = hits(none.scene, none.place)
    ceiling = weighted_mean(hits(lab.held_out.likely, lab.held_out.asked), np.ones(len(lab.held_out)))
    there = moments(lab.real_predictions.features)
    found = []
    for name in ("prompt", *LEARNED, *TOGETHER):
        read = lab.predict(name)
        right, lost = hits(read.likely, read.asked), kept - hits(read.scene, read.place)
        share = share_of(right, read, ceiling)
        drop = measure(partial(weighted_mean, lost), read)
        least = RIGHT.get(name)
        asked = f">= {least:.2f}" if least else ""
        met = share.value >= least if least else None
        if name == "lora+guidance":
            alone = lab.predict("lora")
            asked, met = ">= lora", right.mean() >= hits(alone.likely, alone.asked).mean()
        exaggerates = share.value > 1 + EXCESS / ceiling
        if exaggerates:
            met = False
        reached = make_claim(f"{name}: emotion accuracy / ceiling, taken as fixed", share, asked, met)
        found += [
            replace(reached, exaggerates=exaggerates),
            make_claim(f"{name}: scene kept, none - this, paired", drop, "<= .07", drop.value <= 0.07),
        ]
        if name != "prompt":
            ratio = relative_distance(read, words, there)
            found.append(make_claim(f"{name}: Frechet distance / prompt's", ratio, "<= 1.15", ratio.value <= 1.15))
        spread = diversity(read, lab.real_predictions, 50)["diversity_share"]
        met = 0.85 <= spread.value <= 1.15
        found.append(make_claim(f"{name}: diversity / real", spread, ".85 to 1.15", None if name == "prompt" else met))
    return found


def share_of(hit: Array, read: Predictions, whole: float = 1.0) -> Value:
    """The share of pictures that are a hit, 1 or 0 [N], with `evaluate`'s interval; of a whole taken as fixed."""
    found = measure_share(hit, np.ones(len(read)), read)
    return replace(found, value=found.value / whole, low=found.low / whole, high=found.high / whole)


def relative_distance(read: Predictions, words: Predictions, there: tuple[Array, Array]) -> Value:
    """A method's Frechet distance relative to another's, paired by prompt and seed."""

    def ratio(weights: Array) -> float:
        ours, theirs = (frechet_distance(*moments(side.features, weights), *there) for side in (read, words))
        return ours / theirs

    return measure(ratio, read, 50, centred=True)


def mixtures(lab: Experiment) -> list[Claim]:
    """Half of one emotion and half of another, all pairs: are both the judge's first two?"""
    prompts = lab.prompts[:MIXED]
    pairs = list(combinations(range(len(EMOTIONS)), 2))
    cases = list(enumerate(product(pairs, prompts)))
    asked = np.array([pair for _, (pair, _) in cases])
    orders = [
        {"seed": seed, "emotion": half_mixture(pair), "scene": prompt.scene, "object": prompt.object}
        for seed, (_, (pair, prompt)) in zip(roles.role_seeds("heldout", len(cases), FIRST), cases, strict=True)
    ]
    samples = [Sample(Path(f"{number:03d}.png"), number, 0) for number, _ in cases]
    rendered = lab.judge(lab.render("mixed", orders, samples))
    best = share_of(hit_both(rendered, asked), rendered)
    found = [make_claim("rendered pictures: both emotions first", best, "", None)]
    for name in MIXING:
        pipe = lab.pipe(name)
        planned = [
            (prompt, pipe.plan(prompt.text, emotion=half_mixture(pair), seed=lab.seeds[0] + number)[0])
            for number, (pair, prompt) in cases
        ]
        read = generate_and_judge(lab, f"{name}-mixed", pipe, planned)
        share = share_of(hit_both(read, asked), read, best.value)
        found.append(
            make_claim(f"{name}: both emotions first / rendered, taken as fixed", share, ">= .75", share.value >= 0.75)
        )
    return found


def half_mixture(pair: tuple[int, int]) -> dict[str, float]:
    """Half of each of two emotions, by name."""
    return {EMOTIONS[place]: 0.5 for place in pair}


def hit_both(read: Predictions, asked: Array) -> Array:
    """1 where the two likeliest emotions are the two asked [N, 2], else 0 [N]."""
    first = np.sort(np.argsort(-read.likely, 1)[:, :2], 1)
    return (first == np.sort(asked, 1)).all(1).astype(float)


def suppression(lab: Experiment) -> list[Claim]:
    """`prompt`'s words for an emotion stand in the prompt, and a method is asked for less of it."""
    lines = read_lexicon(registry.source_file("lexicons", lab.backbone.spec.lexicon))
    found = []
    for name in MIXING:
        pipe = lab.pipe(name)
        cases = [(prompt, number) for number, prompt in product(range(len(EMOTIONS)), lab.prompts[::4])]
        reads = []
        for weight in (0.0, -1.0):
            planned = []
            for prompt, number in cases:
                text = f"{prompt.text}, {lines[EMOTIONS[number]]}"
                less = {EMOTIONS[number]: weight} if weight else None
                planned.append((prompt, pipe.plan(text, emotion=less, seed=lab.seeds[0])[0]))
            reads.append(generate_and_judge(lab, f"{name}-less{weight:g}", pipe, planned))
        asked = np.array([number for _, number in cases])
        before, after = (read.likely[np.arange(len(asked)), asked] for read in reads)
        there = (before >= 0.5).astype(float)
        left = weighted_mean(after, there) / weighted_mean(before, there)
        kept = [hits(read.scene, read.place) for read in reads]
        lost = weighted_mean(kept[0] - kept[1], there)
        found += [
            make_claim(f"{name}: pictures with p(e) >= .5 unsuppressed", there.sum(), "", None, ".0f"),
            make_claim(f"{name}: what suppression leaves of p(e)", left, "<= .5", left <= 0.5),
            make_claim(f"{name}: scene lost to suppression", lost, "<= .07", lost <= 0.07),
        ]
    return found


def editing(lab: Experiment) -> list[Claim]:
    """Rendered pictures given another emotion, beside generations from the same words.

    The words are the world's own caption of the picture, or what the base's captioner says of it.
    """
    proofs = lab.unseen[:EDITED]
    folder = lab.out / "originals"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, proof in enumerate(proofs):
        files.append(folder / f"{number:03d}.png")
        proof.picture.save(files[-1], **encode_mark(proof.picture))
    wishes = [
        next(e % 8 for e in range(number % 8, 16) if proof.plan.weights[e % 8] == 0)
        for number, proof in enumerate(proofs)
    ]
    were, found = lab.judge([Sample(file, number, 0) for number, file in enumerate(files)]), []
    for name, captioned in [*((name, False) for name in EDITING), *((name, True) for name in CAPTIONED)]:
        pipe, edits, fresh = lab.pipe(name), [], []
        for number, (proof, file, wish) in enumerate(zip(proofs, files, wishes, strict=True), lab.seeds[0]):
            prompt, words = Prompt(proof.short, proof.plan.scene), "" if captioned else proof.short
            edits.append(
                (prompt, pipe.plan(words, emotion=EMOTIONS[wish], seed=number, image=file, strength=CHANGED)[0])
            )
            fresh.append((prompt, pipe.plan(edits[-1][1].prompt, emotion=EMOTIONS[wish], seed=number)[0]))
        folders = [f"{name}-{'captioned-' if captioned else ''}{kind}" for kind in ("edited", "fresh")]
        edited, made = (
            generate_and_judge(lab, *one) for one in zip(folders, (pipe, pipe), (edits, fresh), strict=True)
        )
        sides = [[lab.out / "pictures" / folder / file.name for file in files] for folder in folders]
        alike = [ssim(pixels(files), pixels(side)) for side in sides]
        apart = [np.linalg.norm(read.features - were.features, axis=1) for read in (edited, made)]
        found += edit_claims(f"{name}, captioned" if captioned else name, edited, np.array(wishes), alike, apart)
    return found


def edit_claims(
    name: str, edited: Predictions, wishes: Array, alike: Sequence[Array], apart: Sequence[Array]
) -> list[Claim]:
    """What is promised of edits; alike, apart: SSIM and distance to the originals, of edits and of generations."""
    felt = share_of(hits(edited.likely, wishes), edited)
    kept = share_of(hits(edited.scene, edited.place), edited)
    similar = measure(partial(weighted_mean, alike[0]), edited)
    closer = measure(partial(weighted_mean, alike[0] - alike[1]), edited)
    nearer = measure(partial(weighted_mean, apart[1] - apart[0]), edited)
    return [
        make_claim(f"{name}: asked emotion", felt, ">= .70", felt.value >= 0.7),
        make_claim(f"{name}: scene kept", kept, ">= .80", kept.value >= 0.8),
        make_claim(f"{name}: SSIM to the original", similar, ">= .5", similar.value >= 0.5),
        make_claim(f"{name}: SSIM gained over a generation", closer, "> 0", closer.low > 0),
        make_claim(f"{name}: encoder distance saved against a generation", nearer, "> 0", nearer.low > 0),
    ]


def pixels(files: Sequence[Path]) -> Array:
    """Pictures [N, H, W, 3] in 0 .. 255."""
    return np.stack([np.asarray(open_image(file)) for file in files])


def generate_and_judge(
    lab: Experiment, name: str, pipe: EmotionPipeline, planned: Sequence[tuple[Prompt, GenerationParams]]
) -> Predictions:
    """Paint rows of any kind into a folder of the lab's, each a prompt of its own, and have them judged."""
    rows = [replace(row, file=f"{number:03d}.png") for number, (_, row) in enumerate(planned)]
    samples = [Sample(Path(row.file), number, 0, scene=planned[number][0].scene) for number, row in enumerate(rows)]
    return lab.judge(lab.generate(name, pipe, list(zip(samples, rows, strict=True))))


CLAIMS: dict[str, Callable[[Experiment], list[Claim]]] = {
    "methods": methods,
    "mixtures": mixtures,
    "suppression": suppression,
    "editing": editing,
}
