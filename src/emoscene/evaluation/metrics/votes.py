"""Whether images of an emotion are read as people read real images of it: not only which emotion, but how surely.

Of real images of fear, some viewers name sadness and some awe. Where the data hold these `votes`, the mean of the votes
over all images labelled e is what a viewer says of an image of e, and the mean of a judge's probabilities over all
images that were asked for e is what the judge says of the method's:

    KL(votes, reading) = mean over e of sum_k v_ek log(v_ek / q_ek)

It is 0 where both are the same. Caricatures, which a judge is sure of, lie far from the votes, as do images that say
nothing. The same of real images, `votes_kl_real`, is what the judge's own faults cost.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import rel_entr

from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import Array, draw_weights
from emoscene.evaluation.metrics.base import Predictions, Value, require_images, summarize_draws

LEAST = 1e-6
"""Of a mean probability, for a judge that rules an emotion out altogether is infinitely far from one vote for it."""


def votes(made: Predictions, real: Predictions | None = None, draws: int = 500) -> dict[str, Value]:
    """Measure the divergence of a judge's mean reading from the votes on real images (Kullback & Leibler 1951).

    Args:
        made: What was read of N generated images.
        real: What was read of real images, if there are any.
        draws: The number of bootstrap draws for the intervals.

    Returns:
        `votes_kl`, of generated images, and `votes_kl_real`, of the real ones, at least 0, in nats; empty without
        votes, and for a judge that has no word for some emotion.

    Raises:
        EmosceneError: Predictions or votes are not finite, or no emotion was asked.
    """
    if real is None or not real.votes.any() or len(made.says) < len(EMOTIONS):
        return {}
    voted = real.select(np.flatnonzero((real.asked >= 0) & (real.votes.sum(1) > 0)))
    require_images("the divergence from the votes", 1, voted.votes, voted.likely)
    require_images("the divergence from the votes", 1, made.likely[made.asked >= 0])
    own = partial(mean_rows, made.likely, made.asked)
    theirs, people = partial(mean_rows, voted.likely, voted.asked), partial(mean_rows, voted.votes, voted.asked)
    alone = np.ones(len(voted))
    found = {"votes_kl": [divergence(people(alone), own(np.ones(len(made))))]}
    found["votes_kl_real"] = [divergence(people(alone), theirs(alone))]
    pairs = zip(
        draw_weights(made.prompt, made.seed, draws), draw_weights(voted.prompt, voted.seed, draws, 1), strict=True
    )
    for of_made, of_real in pairs:
        found["votes_kl"].append(divergence(people(of_real), own(of_made)))
        found["votes_kl_real"].append(divergence(people(of_real), theirs(of_real)))
    values = {}
    for name, read in (("votes_kl", made), ("votes_kl_real", voted)):
        values[name] = summarize_draws(np.array(found[name]), read, made.by, centred=True)
    return values


def mean_rows(values: Array, asked: Array, weights: Array) -> Array:
    """Compute the mean over the images of each emotion.

    Args:
        values: A row an image [N, 8].
        asked: The emotion asked, -1 for none [N].
        weights: How much each image counts [N].

    Returns:
        A row an emotion [8, 8]; nan for one without images.
    """
    member = (asked == np.arange(len(EMOTIONS))[:, None]) * weights
    total = member.sum(1, keepdims=True)
    return np.divide(member @ values, total, out=np.full((len(EMOTIONS), values.shape[1]), np.nan), where=total > 0)


def divergence(people: Array, reading: Array) -> float:
    """Compute the mean Kullback-Leibler divergence of rows.

    Args:
        people: What people say, rows that sum to 1 [8, 8]; nan in the rows that are not known.
        reading: What a judge says, likewise [8, 8].

    Returns:
        The mean over the rows that both have, in nats; nan where there are none.
    """
    known = np.isfinite(people).all(1) & np.isfinite(reading).all(1)
    if not known.any():
        return float("nan")
    return float(rel_entr(people[known], reading[known].clip(min=LEAST)).sum(1).mean())
