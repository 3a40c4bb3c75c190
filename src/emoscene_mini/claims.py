"""Every figure that the miniature promises, measured: `python -m emoscene_mini.claims --out out/claims`.

Each claim is a function of the `Experiment`; `--only vae strength` measures some of them. What is painted is kept and
not painted again. A figure that is missed is printed as missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from emoscene.core import run_dir
from emoscene.core.progress import terminal_callbacks
from emoscene.diffusion.decoding import to_pil
from emoscene.encoders.base import to_tensor
from emoscene.evaluation.metrics.base import Predictions, Value, asked_probability, hits, measure, weighted_mean
from emoscene.evaluation.metrics.distance import distance
from emoscene.evaluation.metrics.diversity import diversity
from emoscene.evaluation.metrics.emotion import emotion, per_emotion
from emoscene.evaluation.metrics.sharpness import psnr, sharpness
from emoscene_mini import caption_leak, comparison, evidence, system_checks
from emoscene_mini.claim import Claim, make_claim
from emoscene_mini.experiment import Experiment
from emoscene_mini.world1.render_pool import RenderedImage

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


def vae(lab: Experiment) -> list[Claim]:
    """What the autoencoder loses of unseen pictures, to the eye of PSNR and to the judge's.

    The judge knows eight emotions and none besides: on pictures of every kind it must guess at neutral ones and
    mixtures. The fine-tuning of the miniature's first judge saw reconstructions; the other judges never saw one.
    """
    lost, same = measure_reconstruction(lab, lab.unseen)
    _, of_all = measure_reconstruction(lab, lab.mixed_samples)
    first, *others = of_all
    what = "VAE: judge reads the reconstruction as the original"
    return [
        make_claim("VAE: PSNR on 500 unseen pictures, dB", lost, ">= 28", lost >= 28, ".2f"),
        make_claim(f"{what}, pictures of one emotion", same[first], ">= .97", same[first] >= 0.97),
        make_claim(f"{what}, all pictures (its fine-tuning saw such)", of_all[first], ">= .97", of_all[first] >= 0.97),
        *(make_claim(f"{what}, all pictures, by judge '{name}'", of_all[name], "", None) for name in others),
    ]


def measure_reconstruction(lab: Experiment, proofs: Sequence[RenderedImage]) -> tuple[float, dict[str, float]]:
    """Pictures there and back: the mean PSNR in dB, and the share that each judge of emotions reads as before."""
    originals = [proof.picture for proof in proofs]
    again = []
    for first in range(0, len(originals), 20):
        images = to_tensor(originals[first : first + 20])
        again += to_pil(lab.backbone.decode_latents(lab.backbone.encode_images(images)))
    lost = psnr(*(np.stack([np.asarray(picture) for picture in side]) for side in (originals, again)))
    same = {}
    for name, judge in lab.judges.items():
        if judge.target == "emotion":
            before, after = (judge.read(side).probabilities.argmax(1) for side in (originals, again))
            same[name] = float((before == after).mean())
    return float(lost.mean()), same


def measure_sharpness(lab: Experiment) -> list[Claim]:
    """Painted pictures against rendered ones with the same captions."""
    found = sharpness(lab.predict(lab.method), lab.real_predictions, 300)
    ratio, gap = found["gradient_ratio"], found["spectrum_db"]
    return [
        make_claim("sharpness: gradient, painted / rendered", ratio, ".85 to 1.15", 0.85 <= ratio.value <= 1.15),
        make_claim("sharpness: spectrum up to half of Nyquist, dB", gap, "<= 3", gap.value <= 3, ".2f"),
    ]


def accuracy(read: Predictions) -> Value:
    """Judged emotion accuracy."""
    return emotion(read)["emotion_accuracy"]


def emotions(lab: Experiment) -> list[Claim]:
    """The judge's ceiling, and each method's accuracy beside it."""
    read = lab.predict(lab.method)
    ceiling, none, prompt, lora = map(accuracy, (lab.held_out, lab.predict("none"), lab.predict("prompt"), read))
    share = comparison.share_of(hits(read.likely, read.asked), read, ceiling.value)
    worst = min(per_emotion(read.likely, read.asked).items(), key=lambda item: item[1]["recall"])
    others: list[Claim] = []
    for name in list(lab.held_out_all)[1:]:
        others += second_judge(lab, name)
    return [
        make_claim("judge on real held-out pictures (ceiling)", ceiling, ".90 to .98", 0.90 <= ceiling.value <= 0.98),
        make_claim("emotion accuracy: none", none, "<= .25", none.value <= 0.25),
        *([make_claim("emotion accuracy: prompt", prompt, "", None)] if lab.method != "prompt" else []),
        make_claim(f"emotion accuracy: {lab.method}", lora, "", None),
        make_claim(f"emotion accuracy: {lab.method} / ceiling, taken as fixed", share, ">= .90", share.value >= 0.90),
        make_claim(f"lowest recall of {lab.method}: {worst[0]}", worst[1]["recall"], "", None),
        *others,
    ]


def second_judge(lab: Experiment, judge: str) -> list[Claim]:
    """What another judge of emotions says of the same pictures."""
    told = {f"judge '{judge}' on real held-out pictures (ceiling)": accuracy(lab.held_out_all[judge])}
    for method in dict.fromkeys(("none", "prompt", lab.method)):
        told[f"emotion accuracy: {method}, by judge '{judge}'"] = accuracy(lab.predict_all(method)[judge])
    return [make_claim(what, value, "", None) for what, value in told.items()]


def scene(lab: Experiment) -> list[Claim]:
    """The scene is kept: `none` and the paired difference to it."""
    none, lora = lab.predict("none"), lab.predict(lab.method)
    kept = hits(none.scene, none.place)
    lost = kept - hits(lora.scene, lora.place)
    base, drop = comparison.share_of(kept, none), measure(lambda w: weighted_mean(lost, w), none)
    return [
        make_claim("scene kept: none", base, ">= .85", base.value >= 0.85),
        make_claim(f"scene kept: none - {lab.method}, paired", drop, "<= .05", drop.value <= 0.05),
    ]


def compositions(lab: Experiment) -> list[Claim]:
    """Scenes and objects never seen together in training, against seen ones."""
    read = lab.predict(lab.method)
    new = np.array([lab.prompts[number].held_out for number in read.prompt])
    right = hits(read.likely, read.asked)
    loss = measure(lambda w: weighted_mean(right, w * ~new) - weighted_mean(right, w * new), read)
    return [make_claim("held-out compositions: accuracy, seen - unseen", loss, "<= .05", loss.value <= 0.05)]


def distance_and_diversity(lab: Experiment) -> list[Claim]:
    """Distance to the real pictures, and diversity beside theirs."""
    ours, words = (
        distance(lab.predict(method), lab.real_predictions, 50)["frechet"].value for method in (lab.method, "prompt")
    )
    share = diversity(lab.predict(lab.method), lab.real_predictions)["diversity_share"]
    return [
        make_claim("Frechet distance: prompt", words, "", None),
        make_claim(f"Frechet distance: {lab.method} / prompt", ours / words, "<= 1.15", ours / words <= 1.15),
        make_claim(f"diversity: {lab.method} / real", share, ".85 to 1.15", 0.85 <= share.value <= 1.15),
    ]


def strength(lab: Experiment) -> list[Claim]:
    """The dial: probability of the emotion asked at five strengths, one seed a prompt."""
    curve = []
    for dial in STRENGTHS:
        read = lab.predict(lab.method, dial, lab.seeds[:1])
        curve.append(weighted_mean(asked_probability(read.likely, read.asked), np.ones(len(read))))
    rises = np.diff(curve)
    largest = float(rises.max() / (curve[-1] - curve[0]))
    told = " ".join(f"{value:.3f}" for value in curve)
    row = lab.pipe(lab.method).plan("a village by a lake", emotion="all", emotion_scale=0.0, seed=3)
    off, base = ([np.asarray(image) for _, image in lab.pipe(m).generate(row)] for m in (lab.method, "none"))
    apart = float(max(np.abs(a.astype(int) - b.astype(int)).max() for a, b in zip(off, base, strict=True)))
    rising = bool((rises > 0).all())
    return [
        Claim("strength 0 .25 .5 .75 1: probability of the emotion", told, "rises", rising, curve[-1]),
        make_claim("strength: largest quarter's share of the rise", largest, "<= .5", rising and largest <= 0.5),
        make_claim("strength 0 equals none, largest difference of a pixel", apart, "0", apart == 0, ".0f"),
    ]


def captions(lab: Experiment) -> list[Claim]:
    """How much of the emotion the captions give away to a classifier of words: none is asked, some must be told."""
    found = caption_leak.caption_leak()
    return [make_claim(f"emotion read from the {kind} caption alone", share, "", None) for kind, share in found.items()]


def speed(lab: Experiment) -> list[Claim]:
    """Seconds and memory of one picture, in a process of its own, and of the help."""
    one, side = system_checks.measure_one_image(lab.base), lab.backbone.default_size
    limit = 2.0 if side <= 128 else 6.0
    return [
        make_claim(
            f"one picture of {side} px, 20 steps, s", one["seconds"], f"<= {limit:g}", one["seconds"] <= limit, ".2f"
        ),
        make_claim("peak resident memory, GB", one["gigabytes"], "<= 3", one["gigabytes"] <= 3, ".2f"),
        make_claim("emoscene --help, s", one["help"], "<= .5", one["help"] <= 0.5, ".2f"),
    ]


def equivalence(lab: Experiment) -> list[Claim]:
    """`none` is diffusers' own pipeline, and a picture does not depend on its batch."""
    apart, batches = (
        system_checks.difference_to_diffusers(lab.pipe("none")),
        system_checks.difference_across_batches(lab.pipe(lab.method)),
    )
    return [
        make_claim("none against diffusers' own pipeline, of the range", apart, "<= 1e-3", apart <= 1e-3, ".1e"),
        make_claim("batch of 1 against 8, of the range", batches, "<= 1e-2", batches <= 1e-2, ".1e"),
    ]


CLAIMS: dict[str, Callable[[Experiment], list[Claim]]] = {
    "vae": vae,
    "emotions": emotions,
    "scene": scene,
    "compositions": compositions,
    "sharp": measure_sharpness,
    "cloud": distance_and_diversity,
    "strength": strength,
    "captions": captions,
    "speed": speed,
    "sameness": equivalence,
    **comparison.CLAIMS,
    **evidence.CLAIMS,
}


DEFAULT = tuple(name for name in CLAIMS if name not in evidence.CLAIMS)
"""What is measured where nothing is named; the table of evidence takes as long again."""


def measure_claims(lab: Experiment, only: Sequence[str] = ()) -> list[Claim]:
    """Measure the claims into the lab's claims.json; those measured before and not now are kept in it."""
    lab.out.mkdir(parents=True, exist_ok=True)
    file = lab.out / "claims.json"
    known: dict[str, list[dict[str, Any]]] = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    made: list[Claim] = []
    for name in only or DEFAULT:
        claims = CLAIMS[name](lab)
        made += claims
        known[name] = [asdict(one) for one in claims]
        run_dir.write_atomic(file, json.dumps(known, indent=1).encode())
    return made


def write_readme(file: Path, out: Path) -> None:
    """Put all that was measured into `out` into a README: between its marks `claims` a line each, between its marks
    `methods` a table for each comparison.
    """
    known: dict[str, list[dict[str, Any]]] = json.loads((out / "claims.json").read_text(encoding="utf8"))
    single: list[dict[str, Any]] = []
    for name, made in known.items():
        if name not in comparison.CLAIMS:
            single += made
    lines = [f"| {c['what']} | {c['figure']} | {c['target']} | {Claim(**c).mark} |" for c in single]
    tables = [cross_table(known[name]) for name in comparison.CLAIMS if name in known]
    text = file.read_text(encoding="utf8")
    text = replace_between(text, "claims", "\n".join(["| what | figure | asked | |", "|---|---|---|---|", *lines]))
    run_dir.write_atomic(file, replace_between(text, "methods", "\n\n".join(tables)).encode())


def cross_table(made: list[dict[str, Any]]) -> str:
    """Claims called `method: figure` as a table, a method a line, a figure a column."""
    cells = {tuple(c["what"].split(": ", 1)): c for c in made}
    methods, figures = (list(dict.fromkeys(pair[place] for pair in cells)) for place in (0, 1))
    asked = {
        figure: next((c["target"] for (_, f), c in cells.items() if f == figure and c["target"]), "")
        for figure in figures
    }
    head = [f"{figure} ({asked[figure]})" if asked[figure] else figure for figure in figures]
    rows = [
        [
            f"{c['figure']} {Claim(**c).mark if c['met'] is False else ''}".strip() if (c := cells.get((m, f))) else ""
            for f in figures
        ]
        for m in methods
    ]
    lines = [["", *head], ["---"] * (len(head) + 1), *([m, *row] for m, row in zip(methods, rows, strict=True))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_between(text: str, mark: str, put: str) -> str:
    """The text with something else between its marks; as it is where it has none."""
    before, start, rest = text.partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    return f"{before}{start}\n{put}\n\n{end}{after}" if end else text


def main(line: list[str] | None = None) -> int:
    """Measure and print; the status is 1 if anything promised was missed."""
    parser = argparse.ArgumentParser(prog="python -m emoscene_mini.claims", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/claims"))
    parser.add_argument("--only", nargs="+", choices=list(CLAIMS), default=(), metavar="NAME", help=", ".join(CLAIMS))
    parser.add_argument("--base", default="mini")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--adapter", action="append", default=[], help="folders of the method's, not the base's own")
    parser.add_argument("--judge", action="append", default=[], help="judges beside the base's own")
    parser.add_argument("--readme", type=Path, help="a file to put the table in, between <!-- claims --> marks")
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of all that is painted; others, with another --out, confirm"
    )
    asked = parser.parse_args(line)
    with terminal_callbacks() as callbacks:
        on_message = callbacks.on_message
        lab = Experiment(asked.out, asked.base, asked.method, asked.adapter, asked.judge, on_message, asked.first_seed)
        made = measure_claims(lab, asked.only)
    table = Table("what", "figure", "target", "")
    for one in made:
        table.add_row(one.what, one.figure, one.target, one.mark)
    Console(width=130).print(table)
    if asked.readme:
        write_readme(asked.readme, asked.out)
    return int(any(one.met is False for one in made))


if __name__ == "__main__":
    sys.exit(main())
