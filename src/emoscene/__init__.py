"""emoscene: words and an emotion in, pictures out.

    import emoscene

    pipe = emoscene.load("mini", method="lora")
    pipe("a village by a lake", emotion="awe", seed=7).images[0].save("awe.png")

Every verb of the command line is a function here, with the same name and arguments. Each is looked up when it is first
used, so that importing the package (and `emoscene --help`) costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

VERBS = {
    "load": "sampling",
    "generate": "sampling",
    "train": "artifacts",
    "evaluate": "evaluation",
    "tune": "tuning",
    "report": "reporting",
    "export": "formats",
    "prepare": "data.preparation",
    "mini": "mini",
    "demo": "mini.demo",
    "doctor": "health",
    "web": "web",
}
"""Where each verb lives. `mini` and `web` are packages as well, and callable: the room itself is the verb."""

__all__ = ["__version__", *VERBS]


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module 'emoscene' has no attribute {name!r}")
    room = import_module(f"emoscene.{VERBS[name]}")
    return room if VERBS[name] == name else getattr(room, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *VERBS})
