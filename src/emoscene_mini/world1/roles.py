"""Which seeds of the world belong to whom.

A seed is a picture, so ranges that never meet are pictures that never meet: the base, the methods, whatever picks
checkpoints, and the judges each learn from their own, and what is reported is measured on the held-out ones. Seeds
below ten million belong to nobody; `emoscene mini --seed` is there for them.
"""

from __future__ import annotations

from emoscene.core.errors import unknown_name

ROLES: dict[str, range] = {
    "base": range(10_000_000, 20_000_000),
    "methods": range(20_000_000, 30_000_000),
    "selector": range(30_000_000, 40_000_000),
    "judges": range(40_000_000, 50_000_000),
    "heldout": range(50_000_000, 60_000_000),
}


def role_seeds(role: str, count: int, start: int = 0) -> range:
    """`count` seeds of a role, from its `start`-th on."""
    if role not in ROLES:
        raise unknown_name("role", role, ROLES)
    return ROLES[role][start : start + count]


def role_of_seed(seed: int) -> str:
    """Whose picture this is; nobody's is "free"."""
    return next((name for name, seeds in ROLES.items() if seed in seeds), "free")
