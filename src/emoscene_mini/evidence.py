"""The miniature's table of evidence: what the world gives away, what shortcuts reach, and what is learnt beyond.

    python -m emoscene_mini.claims --only evidence

Readers measure the world itself (`emoscene_mini.readers`). Everything else is judged by each of the base's judges of
emotion, on the same prompts, emotions and seeds. Methods stand at emotion scale 1 and at the scale where their accuracy
is that of `prompt` (`emoscene.evaluation.matching`). Accuracy above a judge's own ceiling is exaggeration and no merit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.colours import transfer_colours
from emoscene.evaluation.intervals import count_clusters
from emoscene.evaluation.matching import ACCURACY, CurvePoint, collect_draws, match_accuracy
from emoscene.evaluation.metrics.base import Predictions, Value, hits
from emoscene.evaluation.metrics.distance import distance
from emoscene.evaluation.metrics.diversity import diversity
from emoscene.evaluation.metrics.emotion import emotion
from emoscene.evaluation.metrics.stereotypy import stereotypy
from emoscene.evaluation.metrics.votes import votes
from emoscene.evaluation.statistics import Difference, holm, paired_difference
from emoscene_mini import readers
from emoscene_mini.claim import Claim, meets_bound
from emoscene_mini.claim import make_claim as make
from emoscene_mini.comparison import EXCESS
from emoscene_mini.experiment import Experiment

TRAINED = ("inversion", "lora", "guidance", "multimodal")
ORDERED = ("lora", "guidance", "multimodal")
SCALES = (0.5, 1.0, 1.5)
"""Emotion scales of each trained method, beside 0, which is the base alone."""
PLANS, PIXELS = 4000, 800
"""Plans and rendered images that readers read."""
SIGNIFICANT = 0.05
MATCHED = {"stereotypy": "<= .06", "scene_accuracy": "", "object_accuracy": "", "diversity_share": ".90 to 1.10"}
"""Figures at matched accuracy, and what is asked of them; the Frechet distance is only told."""
WEIGHTS = Path(__file__).parent / "weights"


def evidence(lab: Experiment) -> list[Claim]:
    """Measure the whole table.

    Args:
        lab: The base, its methods and judges.

    Returns:
        A claim a line.
    """
    known = measure_readers()
    bayes = next(one.value for one in known if one.what.startswith("all cues, intended"))
    size = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) / 1e6
    return [
        *known,
        *measure_ceilings(lab, bayes),
        *measure_accuracies(lab),
        *measure_colours(lab),
        *measure_order(lab),
        *measure_content(lab),
        *measure_spread(lab),
        *measure_matched(lab),
        make("weights in the wheel, MB", size, "<= 50", size <= 50, ".1f"),
    ]


def measure_readers() -> list[Claim]:
    """Measure what exact readers find in plans, and fitted readers in captions and rendered pixels."""
    found = []
    for one in [*readers.measure_plans(PLANS), *readers.measure_pixels(PIXELS)]:
        value = Value(one.value, one.low, one.high, 0)
        found.append(make(one.name, value, one.bound, meets_bound(one.value, one.bound)))
    return found


def measure_ceilings(lab: Experiment, bayes: float) -> list[Claim]:
    """Measure each judge on held-out rendered images.

    Args:
        lab: The base and its judges.
        bayes: What the reader of all cues finds.

    Returns:
        A claim a judge: at most .08 below the reader, and at least .72.
    """
    found = []
    for name, read in lab.held_out_all.items():
        ceiling = emotion(read)["emotion_accuracy"]
        least = max(0.72, bayes - 0.08)
        met = ceiling.value >= least
        found.append(make(f"ceiling: judge '{name}' on held-out rendered images", ceiling, f">= {least:.3f}", met))
    return found


def measure_accuracies(lab: Experiment) -> list[Claim]:
    """Measure the emotion accuracy of the shortcuts and of each trained method, by each judge."""
    filtered = predict_filtered(lab)
    found = []
    for judge, real in lab.held_out_all.items():
        shown = {"none": ".125", "prompt": "<= .75", "colour filter": "<= .22"}
        for name, bound in shown.items():
            read = filtered[judge] if name == "colour filter" else lab.predict_all(name)[judge]
            value = emotion(read)["emotion_accuracy"]
            met = meets_bound(value.value, bound)
            found.append(make(f"{name}: emotion accuracy, by judge '{judge}'", value, bound, met))
        found += compare_with_prompt(lab, judge, real)
        value = emotion(lab.predict_all(TRAINED[0])[judge])["shuffled"]
        found.append(make(f"{TRAINED[0]}, labels shuffled: emotion accuracy, by judge '{judge}'", value, ".125", None))
    return found


def compare_with_prompt(lab: Experiment, judge: str, real: Predictions) -> list[Claim]:
    """Compare each trained method with the word list and with the judge's ceiling.

    Args:
        lab: The methods.
        judge: The judge.
        real: What it read of held-out images.

    Returns:
        Two claims a method, and what is asked of the best of them.
    """
    words = lab.predict_all("prompt")[judge]
    found, gains = [], {}
    for name in TRAINED:
        read = lab.predict_all(name)[judge]
        told = emotion(read, real)
        above = told["above_ceiling"]
        what = f"{name}: emotion accuracy, by judge '{judge}'"
        exaggerates = above.value > EXCESS
        claim = make(what, told["emotion_accuracy"], f"<= ceiling + {EXCESS:.2f}", not exaggerates)
        found.append(replace(claim, exaggerates=exaggerates))
        found.append(make(f"{name}: emotion accuracy - ceiling, by judge '{judge}'", above, "", None))
        gains[name] = compare_hits(read, words)
    best = max(gains, key=lambda name: gains[name].value)
    for name, gain in gains.items():
        asked, met = "", None
        if name == best:
            asked, met = ">= .08, interval above 0", gain.value >= 0.08 and gain.low > 0
        value = Value(gain.value, gain.low, gain.high, gain.n)
        found.append(make(f"{name}: emotion accuracy - prompt's, paired, by judge '{judge}'", value, asked, met))
    return found


def compare_hits(one: Predictions, other: Predictions) -> Difference:
    """Compute the paired difference of two accuracies on the same prompts, emotions and seeds.

    Args:
        one: What was read of the one's images.
        other: What was read of the other's, in the same order.

    Returns:
        The difference, with its interval and p.
    """
    ours, theirs = hits(one.likely, one.asked), hits(other.likely, other.asked)
    return paired_difference(ours, theirs, one.prompt, one.seed)


def predict_filtered(lab: Experiment) -> dict[str, Predictions]:
    """Recolour the base's images towards the mean colours of each emotion's images, and let the judges read them.

    Args:
        lab: The base and its judges.

    Returns:
        The predictions by judge.
    """
    folder = lab.out / "colour-filter"
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for sample in lab.samples("none"):
        file = folder / f"{sample.file.stem}-{EMOTIONS[sample.asked]}.png"
        transfer_colours(open_image(sample.file), lab.colours.statistics[sample.asked]).save(file)
        samples.append(replace(sample, file=file))
    return lab.judge_all(samples)


def measure_colours(lab: Experiment) -> list[Claim]:
    """Measure the stereotypy of each method: what six numbers tell of its images, beyond rendered ones."""
    found = []
    for name in ("prompt", *TRAINED):
        told = read_colours(lab, lab.predict(name))
        bound = "" if name == "prompt" else "<= .06"
        met = meets_bound(told["stereotypy"].value, bound)
        found.append(make(f"{name}: six numbers, generated", told["six_numbers"], "", None))
        found.append(
            make(f"{name}: six numbers, generated - rendered at full intensity", told["stereotypy"], bound, met)
        )
    rendered = told["six_numbers_real"]
    return [make("six numbers, rendered at full intensity", rendered, "", None), *found]


def read_colours(lab: Experiment, read: Predictions) -> dict[str, Value]:
    """Measure stereotypy against images rendered at full intensity.

    Args:
        lab: Has the reader of colours and the rendered images.
        read: What was read of generated images.

    Returns:
        The figures of `metrics.stereotypy`.
    """
    both = lab.colours.read({"made": read, "real": lab.full_predictions})
    return stereotypy(both["made"], both["real"])


def measure_order(lab: Experiment) -> list[Claim]:
    """Order every pair of methods by each judge, or call it tied; p is Holm's over all pairs and judges."""
    told: list[tuple[str, str, str, Difference]] = []
    for judge in lab.held_out_all:
        for one, other in combinations(ORDERED, 2):
            reads = (lab.predict_all(name)[judge] for name in (one, other))
            told.append((judge, one, other, compare_hits(*reads)))
    found = []
    for (judge, one, other, gap), p in zip(told, holm([row[-1].p for row in told]), strict=True):
        order = "tied"
        if p < SIGNIFICANT:
            order = f"{one if gap.value > 0 else other} is higher"
        value = Value(gap.value, gap.low, gap.high, gap.n)
        claim = make(f"{one} - {other}: emotion accuracy, paired, by judge '{judge}'", value, "", None)
        found.append(replace(claim, figure=f"{claim.figure}, p = {p:.2g}: {order}"))
    return found


def measure_content(lab: Experiment) -> list[Claim]:
    """Measure what each method loses of scenes and objects, paired with the base alone."""
    base = lab.predict("none")
    found = []
    for name in ("prompt", *TRAINED):
        read = lab.predict(name)
        for what, likely, asked in (("scene", "scene", "place"), ("object", "objects", "thing")):
            known = getattr(base, asked) >= 0
            if not getattr(base, likely).size or not known.any():
                continue
            before, after = (hits(getattr(side, likely), getattr(side, asked))[known] for side in (base, read))
            lost = paired_difference(before, after, base.prompt[known], base.seed[known])
            value = Value(lost.value, lost.low, lost.high, lost.n)
            found.append(make(f"{name}: {what} kept, none - this, paired", value, "<= .05", lost.value <= 0.05))
    return found


def measure_spread(lab: Experiment) -> list[Claim]:
    """Measure diversity beside rendered images, and how far readings are from the viewers' votes."""
    found = []
    for name in ("prompt", *TRAINED):
        spread = diversity(lab.predict(name), lab.real_predictions, 100)["diversity_share"]
        met = meets_bound(spread.value, ".90 to 1.10")
        found.append(make(f"{name}: diversity / rendered", spread, ".90 to 1.10", None if name == "prompt" else met))
        for judge, real in lab.held_out_all.items():
            far = votes(lab.predict_all(name)[judge], real)
            for what, value in far.items():
                if what == "votes_kl" or name == "prompt":
                    where = name if what == "votes_kl" else "rendered"
                    found.append(make(f"{where}: KL(votes, reading), by judge '{judge}'", value, "", None))
    return found


def measure_matched(lab: Experiment) -> list[Claim]:
    """Measure each trained method where its accuracy is that of `prompt`."""
    judge = next(iter(lab.held_out_all))
    target = draw_point(lab, "prompt", 1.0).draws[f"{ACCURACY} {judge}"]
    read = lab.predict("prompt")
    clusters = count_clusters(read.prompt, read.seed)
    base = replace(draw_point(lab, "none", 1.0), scale=0.0)
    found = []
    for name in TRAINED:
        points = [base, *(draw_point(lab, name, scale) for scale in SCALES)]
        told = match_accuracy(points, target, clusters, judge)
        found.append(make(f"{name}: emotion scale at prompt's accuracy", told["emotion_scale"], "", None))
        for figure, bound in {**MATCHED, "frechet": ""}.items():
            if figure in told:
                what = f"{name} at prompt's accuracy: {figure.replace('_', ' ')}"
                found.append(make(what, told[figure], bound, meets_bound(told[figure].value, bound)))
    return found


def draw_point(lab: Experiment, name: str, scale: float) -> CurvePoint:
    """Measure a method at one emotion scale, with the bootstrap draws of each figure.

    Args:
        lab: The methods and judges.
        name: The method.
        scale: The emotion scale.

    Returns:
        A point of its curve.
    """
    made = lab.predict_all(name, scale)
    first = next(iter(made.values()))
    values = {**diversity(first, lab.real_predictions, 100), **distance(first, lab.real_predictions, 100)}
    values |= read_colours(lab, first)
    return CurvePoint(scale, collect_draws(made, values), {key: value.n for key, value in values.items()})


CLAIMS: dict[str, Callable[[Experiment], list[Claim]]] = {"evidence": evidence}
