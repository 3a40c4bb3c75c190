"""Who may learn from which image, and which images are taken at all.

Methods and guide, selector, judges, and what is held out each get their own images, because a judge that saw what a
method learnt from is no judge. Most people bring their judge, or use a published one; so by default (`no-judge`) no
image goes to judges, and methods have four fifths. `roles` is for those who train a judge on the same data: methods and
judges then have equal shares.

A data set's own split is kept: its test images are held out, its validation images are the selector's, and its training
images are shared by the rest, so that EmoSet's are all the methods', or with `roles` halved between methods and judges.
Where there is no split, the same shares hold for all images. A group of duplicates goes to one role, as far as an
official split lets it.

A group's role is a function of its place among the groups, in the order of emotion and of a hash: the multiples of the
golden ratio, modulo 1, fill every interval evenly (Weyl 1916) on any run of consecutive numbers. So all emotions are
dealt in the same shares, without a random draw and without counting.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emoscene.core.errors import UsageError, unknown_name
from emoscene.data.records import ROLES

DEFAULT = "no-judge"
SHARES = {
    "no-judge": {"methods": 0.8, "selector": 0.05, "heldout": 0.15},
    "roles": {"methods": 0.4, "selector": 0.05, "judges": 0.4, "heldout": 0.15},
}
"""The share of each role by the word that asks for it; what an official split says of a role comes before it."""
ROLE_OF = {"val": "selector", "test": "heldout"}
NAMES = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
GOLDEN = (5**0.5 - 1) / 2

Shares = dict[str, dict[str, float]]
"""For each official split (empty: none) the share of each role."""


def official_split(name: str) -> str:
    """Normalize the name of a split.

    Args:
        name: The name that the data set uses, such as `validation`.

    Returns:
        `train`, `val` or `test`; any other name in lower case.
    """
    return NAMES.get(name.lower(), name.lower())


def split_shares(split: str, splits: set[str]) -> Shares:
    """Compute the share of each role in each official split.

    Args:
        split: `no-judge` and `roles` keep the set's own test and validation splits, and leave the judges no image or as
            many as the methods; `official` maps train to methods, val to selector and test to heldout;
            `methods:0.8,heldout:0.2` assigns all images anew.
        splits: The official splits of the set; an empty name stands for none.

    Returns:
        For each official split the share of each role.

    Raises:
        UsageError: `split` is not understood, or does not suit the set.
    """
    if split in SHARES:
        claimed = {name: role for name, role in ROLE_OF.items() if name in splits}
        rest = {role: share for role, share in SHARES[split].items() if role not in claimed.values()}
        shares = dict.fromkeys(splits, rest)
        for name, role in claimed.items():
            shares[name] = {role: 1.0}
        return shares
    if split == "official":
        if splits - {"train"} == set() or not splits <= {"train", *ROLE_OF}:
            raise UsageError(
                "--split official needs images that their own lists call train and val or test: use no-judge"
            )
        return {name: {ROLE_OF.get(name, "methods"): 1.0} for name in splits}
    own = parse_shares(split)
    return dict.fromkeys(splits, own)


def parse_shares(split: str) -> dict[str, float]:
    """Parse shares such as `methods:0.8,heldout:0.2`.

    Args:
        split: The text.

    Returns:
        The share of each role, above 0 and at most 1; empty for the words `no-judge`, `roles` and `official`.

    Raises:
        UsageError: A role does not exist, or a share is out of range.
    """
    if split in {*SHARES, "official"}:
        return {}
    shares: dict[str, float] = {}
    for part in split.split(","):
        role, _, share = map(str.strip, part.partition(":"))
        if role not in ROLES:
            raise unknown_name(
                "role", role, [*ROLES, *SHARES, "official"], hint="as in --split methods:0.8,heldout:0.2"
            )
        if role in shares:
            raise UsageError(f"--split {split}: {role} stands twice, so write it once, with its whole share")
        try:
            shares[role] = float(share)
        except ValueError:
            shares[role] = -1.0
        if not 0 < shares[role] <= 1:
            raise UsageError(f"--split {split}: the share of {role} is a number above 0, up to 1, as in {role}:0.8")
    return shares


def assign_roles(
    split: np.ndarray, emotion: np.ndarray, group: np.ndarray, key: np.ndarray, wanted: Shares
) -> np.ndarray:
    """Assign a role to each image. A group of duplicates gets one role within each official split.

    Args:
        split: The official split of each image, names [N].
        emotion: The emotion of each image, integers [N].
        group: The group of duplicates of each image, integers [N].
        key: uint64 [N], which decides the order within an emotion.
        wanted: The share of each role in each official split.

    Returns:
        The role of each image as its index in `ROLES`, int8 [N].
    """
    roles = np.zeros(len(split), np.int8)
    for name, shares in wanted.items():
        inside = np.flatnonzero(split == name)
        order = inside[np.lexsort((key[inside], emotion[inside]))]
        _, first, member = np.unique(group[order], return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))[member]
        ends = np.cumsum([shares.get(role, 0.0) for role in ROLES])
        roles[order] = np.searchsorted(ends / ends[-1], (place + 0.5) * GOLDEN % 1, side="right")
    return roles


def sample_images(
    emotion: np.ndarray, strata: np.ndarray, key: np.ndarray, limit: int | None, each: int | None, balanced: bool
) -> np.ndarray:
    """Take a sample that is spread evenly over roles and scenes.

    Args:
        emotion: The emotion of each image, integers [N].
        strata: Sort keys [N, S], the first one outermost.
        key: uint64 [N], which decides the order among equal sort keys.
        limit: The largest number of images, if limited.
        each: The largest number of images of each emotion, if limited.
        balanced: Whether the emotions share a limit equally; otherwise in proportion to their numbers.

    Returns:
        The indices of the images taken [M], in ascending order.
    """
    names, counts = np.unique(emotion, return_counts=True)
    quotas = {}
    for label, count in zip(names.tolist(), counts.tolist(), strict=True):
        quotas[label] = min(count, each or count)
    if limit is not None and limit < sum(quotas.values()):
        if balanced:
            quotas = _equal_quotas(quotas, limit)
        else:
            quotas = _proportional_quotas(quotas, limit)
    taken = [np.zeros(0, int)]
    for turn, (name, quota) in enumerate(quotas.items()):
        inside = np.flatnonzero(emotion == name)
        order = inside[np.lexsort((key[inside], *strata[inside].T[::-1]))]
        offset = (turn + 0.5) * GOLDEN % 1
        taken.append(order[((np.arange(quota) + offset) * len(order) / max(quota, 1)).astype(int)])
    return np.sort(np.concatenate(taken))


def _proportional_quotas(quotas: Mapping[int, int], limit: int) -> dict[int, int]:
    """Largest remainders."""
    total = sum(quotas.values())
    exact = {}
    for name, quota in quotas.items():
        exact[name] = limit * quota / total
    given = {name: int(value) for name, value in exact.items()}
    late = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    for name in late[: limit - sum(given.values())]:
        given[name] += 1
    return given


def _equal_quotas(quotas: Mapping[int, int], limit: int) -> dict[int, int]:
    """As equal as what is there allows: the rare ones first, what they leave to the others."""
    given, left = {}, limit
    for done, name in enumerate(sorted(quotas, key=lambda name: (quotas[name], name))):
        given[name] = min(quotas[name], left // (len(quotas) - done))
        left -= given[name]
    return {name: given[name] for name in quotas}


def check_balanced(balanced: bool, source: str, deals: bool, limit: int | None) -> None:
    """Check that emotions can share a limit where that is asked.

    Args:
        balanced: Whether it is asked.
        source: The name of the source.
        deals: Whether the source deals its images to roles itself.
        limit: The number of images; None for all.

    Raises:
        UsageError: There is no limit, or it is how many images the source renders.
    """
    if balanced and deals:
        raise UsageError(f"balanced=true has no effect on {source}, whose limit is how many it makes: leave it out")
    if balanced and limit is None:
        raise UsageError(
            "balanced=true shares a --limit among the emotions: give --limit, or --per-emotion in its place"
        )
