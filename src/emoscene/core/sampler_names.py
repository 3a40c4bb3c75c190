"""A sampler by any name that its users know: `dpm++_karras`, A1111's `DPM++ 2M Karras`, ComfyUI's `dpmpp_2m`.

Each sampler's table has A1111's name as `label`, and others in `aliases`. Case, spaces, `-` and `_` do not count.
"""

from emoscene.core import registry
from emoscene.core.errors import unknown_name


def match_sampler(name: str) -> str | None:
    """Find a sampler by any of its names.

    Args:
        name: Its own name, or what A1111 or another program calls it.

    Returns:
        Its own name, as `emoscene ls samplers` lists it; None where no sampler is called so.
    """
    known = registry.list_names("samplers")
    if name in known:
        return name
    wanted = _fold(name)
    for own in known:
        table = registry.load_table("samplers", own)
        spellings = [own, table["label"], *table.get("aliases", ())]
        if wanted in map(_fold, spellings):
            return own
    return None


def find_sampler(name: str) -> str:
    """Find a sampler that must be there.

    Args:
        name: Its own name, or what A1111 or another program calls it.

    Returns:
        Its own name.

    Raises:
        UsageError: No sampler is called so.
    """
    own = match_sampler(name)
    if own is None:
        raise unknown_name("sampler", name, registry.list_names("samplers"), hint="emoscene ls samplers")
    return own


def _fold(name: str) -> str:
    """A name without what people write differently."""
    kept = [letter for letter in name.lower() if letter not in " _-"]
    return "".join(kept)
