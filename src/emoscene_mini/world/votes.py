"""What an image's cues say of its emotion: the exact reading, and the votes of simulated viewers.

The exact reading knows every chance (`cues.py`) and integrates the intensity, which nobody sees:

    p(e | cues) ~ mean over s of the product over groups of p(cue | e, s)

Viewers are not exact. Each takes the groups one by one, gives each a weight of its own (gamma, mean 1: one viewer looks
at faces, another at the weather), and names the emotion that then seems strongest, with a little chance (Gumbel noise,
so that a viewer without preference draws from the softmax). An image's label is what most of them name, as in EmoSet,
where ten people label an image; the shares are kept, as MultiEmo-Bench keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emoscene.core.taxonomy import EMOTIONS

VIEWERS = 20
GAMMA_SHAPE = 2.0
"""Shape of the weights' gamma distribution: the smaller, the more viewers differ."""
SHARPNESS = 1.2
"""How decided a viewer is; infinite without chance."""

Likelihoods = Mapping[str, np.ndarray]
"""p(cue | emotion, intensity) [S, 8] for each group that can be seen."""


def exact_posterior(likelihoods: Likelihoods) -> np.ndarray:
    """The chance of each emotion to be the intended one.

    Args:
        likelihoods: [S, 8] for each group that can be seen; may be empty.

    Returns:
        Eight chances that sum to 1.
    """
    if not likelihoods:
        return np.full(len(EMOTIONS), 1 / len(EMOTIONS))
    joint = np.prod(list(likelihoods.values()), axis=0)
    chances: np.ndarray = joint.mean(0)
    return chances / chances.sum()


def cast_votes(likelihoods: Likelihoods, rng: np.random.Generator) -> tuple[float, ...]:
    """Ask twenty viewers for an emotion; they are asked again while two emotions share the first place.

    Args:
        likelihoods: [S, 8] for each group that can be seen; may be empty.
        rng: The viewers' stream.

    Returns:
        Eight shares, multiples of 1/20; one is the largest alone.
    """
    evidence = np.zeros((len(likelihoods), len(EMOTIONS)))
    for place, likelihood in enumerate(likelihoods.values()):
        evidence[place] = np.log(likelihood.mean(0) + 1e-9)
    while True:
        weights = rng.gamma(GAMMA_SHAPE, 1 / GAMMA_SHAPE, (VIEWERS, len(evidence)))
        scores = SHARPNESS * weights @ evidence + rng.gumbel(size=(VIEWERS, len(EMOTIONS)))
        counts = np.bincount(scores.argmax(1), minlength=len(EMOTIONS))
        if np.count_nonzero(counts == counts.max()) == 1:
            return tuple(float(count) / VIEWERS for count in counts)
