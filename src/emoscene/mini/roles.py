"""The miniature's seeds table is the world's: `from emoscene.world.roles import ROLES, seeds`."""

from emoscene.world.roles import ROLES, role, seeds

__all__ = ["ROLES", "role", "seeds"]
