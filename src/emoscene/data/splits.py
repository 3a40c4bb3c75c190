"""Who may learn from which picture, and which pictures are taken at all.

Methods and guide, selector, judges, and what is held out each get their own pictures, because a judge that saw what a
method learnt from is no judge. A data set's own split is kept: its test pictures are held out, its validation pictures
are the selector's, and its training pictures are shared by the rest, so that EmoSet's are halved between methods and
judges. Where there is no split, the same shares hold for all pictures. A group of duplicates goes to one role, as far
as an official split lets it.

A group's role is a function of its place among the groups, in the order of emotion and of a hash: the multiples of the
golden ratio, modulo 1, fill every interval evenly (Weyl 1916) on any run of consecutive numbers. So all emotions are
dealt in the same shares, without a random draw and without counting.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emoscene.core.errors import UsageError, unknown_name
from emoscene.data.records import ROLES

SHARES = {"methods": 0.4, "selector": 0.05, "judges": 0.4, "heldout": 0.15}
ROLE_OF = {"val": "selector", "test": "heldout"}
NAMES = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
GOLDEN = (5**0.5 - 1) / 2

Shares = dict[str, dict[str, float]]
"""For each official split (empty: none) the share of each role."""


def official_split(name: str) -> str:
    """A split's name as it is called here: train, val or test."""
    return NAMES.get(name.lower(), name.lower())


def split_shares(split: str, splits: set[str]) -> Shares:
    """What `--split` asks of a set with these splits of its own.

    `roles`, `official_split` (train to methods, val to selector, test held out), or `methods:0.8,heldout:0.2`, which deals
    all pictures anew. Raises Usage for anything else.
    """
    if split == "roles":
        claimed = {name: role for name, role in ROLE_OF.items() if name in splits}
        rest = {role: share for role, share in SHARES.items() if role not in claimed.values()}
        return {name: {claimed[name]: 1.0} if name in claimed else rest for name in splits}
    if split == "official":
        if splits - {"train"} == set() or not splits <= {"train", *ROLE_OF}:
            raise UsageError(
                "--split official needs pictures that their own lists call train and val or test: use roles"
            )
        return {name: {ROLE_OF.get(name, "methods"): 1.0} for name in splits}
    own = parse_shares(split)
    return dict.fromkeys(splits, own)


def parse_shares(split: str) -> dict[str, float]:
    """`methods:0.8,heldout:0.2` as shares; none for the words `roles` and `official_split`. Raises Usage."""
    if split in {"roles", "official"}:
        return {}
    found: dict[str, float] = {}
    for part in split.split(","):
        role, _, share = (piece.strip() for piece in part.partition(":"))
        if role not in ROLES:
            raise unknown_name(
                "role", role, [*ROLES, "roles", "official"], hint="as in --split methods:0.8,heldout:0.2"
            )
        try:
            found[role] = float(share)
        except ValueError:
            found[role] = -1.0
        if not 0 < found[role] <= 1:
            raise UsageError(f"--split {split}: the share of {role} is a number above 0, up to 1, as in {role}:0.8")
    return found


def assign_roles(
    split: np.ndarray, emotion: np.ndarray, group: np.ndarray, key: np.ndarray, wanted: Shares
) -> np.ndarray:
    """The role of each picture, as its place in `ROLES` [N].

    split: names [N]; emotion, group: numbers [N]; key: uint64 [N], which decides the order within an emotion.
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
    """The places [M] of the pictures taken, in order: every so-many-th of those sorted by role and scene.

    emotion: numbers [N]; strata: [N, S], the sort keys, the first the outermost; limit: at most so many; each: at most
    so many of an emotion; balanced: a limit is shared equally by the emotions, and not as they are found.
    """
    names, counts = np.unique(emotion, return_counts=True)
    there = {int(name): int(count) for name, count in zip(names, counts, strict=True)}
    quotas = {name: min(count, each or count) for name, count in there.items()}
    if limit is not None and limit < sum(quotas.values()):
        quotas = _equal_quotas(quotas, limit) if balanced else _proportional_quotas(quotas, limit)
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
    exact = {name: limit * quota / total for name, quota in quotas.items()}
    given = {name: int(value) for name, value in exact.items()}
    late = sorted(exact, key=lambda name: (given[name] - exact[name], name))
    return {name: given[name] + (name in late[: limit - sum(given.values())]) for name in quotas}


def _equal_quotas(quotas: Mapping[int, int], limit: int) -> dict[int, int]:
    """As equal as what is there allows: the rare ones first, what they leave to the others."""
    given, left = {}, limit
    for done, name in enumerate(sorted(quotas, key=lambda name: (quotas[name], name))):
        given[name] = min(quotas[name], left // (len(quotas) - done))
        left -= given[name]
    return {name: given[name] for name in quotas}
