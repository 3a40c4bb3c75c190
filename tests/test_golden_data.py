"""Shares of pictures against values that the test computes itself."""

from fractions import Fraction

import numpy as np
import pytest

from emoscene.data.splits import sample_images


def counts_taken(counts: list[int], limit: int) -> list[int]:
    emotion = np.repeat(np.arange(len(counts)), counts)
    key = np.arange(len(emotion), dtype=np.uint64)
    taken = sample_images(emotion, np.zeros((len(emotion), 1), int), key, limit, None, balanced=False)
    return np.bincount(emotion[taken], minlength=len(counts)).tolist()


@pytest.mark.parametrize(
    ("counts", "limit", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),  # exact
        ([47, 32, 21], 10, [5, 3, 2]),  # 4.7 3.2 2.1: one is left, and .7 is the largest remainder
        ([41, 33, 26], 10, [4, 3, 3]),  # 4.1 3.3 2.6
        ([44, 29, 27], 10, [4, 3, 3]),  # 4.4 2.9 2.7: two are left
        ([1, 1, 98], 5, [0, 0, 5]),  # .05 .05 4.9
        ([10, 10, 10], 10, [4, 3, 3]),  # of equal remainders the first
        ([10, 10, 10], 11, [4, 4, 3]),
    ],
)
def test_a_limit_is_shared_by_largest_remainders(counts: list[int], limit: int, expected: list[int]) -> None:
    assert counts_taken(counts, limit) == expected


def test_largest_remainders_of_many_draws() -> None:
    """Hamilton's method in fractions, where no two remainders are alike."""
    draw = np.random.default_rng(0)
    compared = 0
    for _ in range(200):
        counts = draw.integers(1, 90, 8).tolist()
        limit = int(draw.integers(1, sum(counts)))
        exact = [Fraction(limit * count, sum(counts)) for count in counts]
        remainders = [part - part.numerator // part.denominator for part in exact]
        if len(set(remainders)) < 8:
            continue
        expected = [part.numerator // part.denominator for part in exact]
        for place in sorted(range(8), key=lambda i: remainders[i], reverse=True)[: limit - sum(expected)]:
            expected[place] += 1
        assert counts_taken(counts, limit) == expected
        compared += 1
    assert compared > 50
