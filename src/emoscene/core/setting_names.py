"""Names that settings had in version 0.1, and how what was written with them is read today.

A file of version 0.1 keeps the words that it was written with: nothing is written again, so its fingerprint stays. What
reads its settings passes them through `migrate_settings` first. A person who types an old word is told the new one.

A word is renamed only where the settings it is meant for have the new name and not the old one: `clip` is the largest
norm of a gradient in a training of 0.1, and to this day a folder in `prepare`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from emoscene.core.errors import UsageError, unknown_name

TRAINING = {
    "batch": "batch_size",
    "micro": "micro_batch_size",
    "decay": "weight_decay",
    "clip": "max_grad_norm",
    "average": "ema_decay",
    "readers": "num_workers",
    "keep": "checkpoints_total_limit",
    "validate": "validation_images",
    "pictures_every": "images_every",
    "tracker": "report_to",
}
METHODS = {
    "short": "short_caption_prob",
    "drop": "cond_drop_prob",
    "drop_both": "joint_drop_prob",
    "drop_emotion": "emotion_drop_prob",
    "gamma": "snr_gamma",
    "offset": "noise_offset",
    "pace": "token_lr_multiplier",
}
GUIDANCE = {
    "scale": "classifier_scale",
    "away": "suppression_scale",
    "low": "interval_start",
    "high": "interval_end",
}
RENAMED = {**TRAINING, **METHODS, **GUIDANCE}
"""Each name of 0.1 that is gone, and what it is called now."""


def migrate_settings(pairs: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Rename the settings of a file that version 0.1 wrote.

    Args:
        pairs: Settings by name, as the file has them; `method.name` for one of several methods.
        known: The names that these settings have today.

    Returns:
        The same values under today's names. A name that was never renamed is left as it is, known or not.
    """
    return {find_name(key, known) or key: value for key, value in pairs.items()}


def migrate_runtime_settings(pairs: Mapping[str, Any], alone: bool = True) -> dict[str, Any]:
    """Rename the settings of methods that an image, a call or scores of version 0.1 recorded.

    Args:
        pairs: Settings by name, as they were recorded.
        alone: Whether a name without its method may be guidance's; else only `guidance.name` is.

    Returns:
        The same values under today's names. Of what may change at use, only guidance's names changed.
    """
    today = [f"guidance.{name}" for name in GUIDANCE.values()]
    if alone:
        today += GUIDANCE.values()
    return migrate_settings(pairs, today)


def find_name(key: str, known: Collection[str]) -> str | None:
    """Find what a name of version 0.1 is called today.

    Args:
        key: A setting's name, or `method.name`.
        known: The names that there are today.

    Returns:
        Today's name; None where `key` is one itself, or never was one of these.
    """
    method, dot, name = key.rpartition(".")
    if key in known or name not in RENAMED:
        return None
    today = f"{method}{dot}{RENAMED[name]}"
    return today if today in known else None


def unknown_setting(kind: str, key: str, known: Collection[str], hint: str = "") -> UsageError:
    """Make the error for a setting that does not exist, which tells an old name's new one.

    Args:
        kind: What it is called in the sentence, such as "option".
        key: What somebody wrote.
        known: The names that there are.
        hint: A command that lists them.

    Returns:
        The error, to be raised.
    """
    today = find_name(key, known)
    if today is None:
        return unknown_name(kind, key, known, hint)
    return UsageError(f"the {kind} {key!r} is now called {today!r}" + (f" ({hint})" if hint else ""))
