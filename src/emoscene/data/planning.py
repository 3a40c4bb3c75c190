"""The plan: which images are taken, and who may learn from each; a pure function of all notes and of the call.

Every process makes it for itself, after the first pass, and all make the same one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoscene.core.errors import EmosceneError
from emoscene.core.image_origin import count_images
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import duplicates, splits
from emoscene.data.contradictions import count_contradictions
from emoscene.data.notes import PANORAMA
from emoscene.data.records import ROLES

QUARANTINE = "quarantine.jsonl"
"""The images that are refused, in a prepared folder."""
KNOWN_SPLITS = {"", "train", "val", "test"}
NAMES = (*EMOTIONS, "none")
"""What each number of an emotion is called; -1 is the last."""


@dataclass(frozen=True)
class Plan:
    """The images taken: their numbers in the source [N], their roles [N], and the notes they come from.

    emotion: of each, -1 for none; groups: of all sound images the number of the group; sound: their places; expected:
    the roles that were to have images; unknown_splits: names of official splits that say
    nothing here.
    """

    notes: pa.Table
    numbers: np.ndarray
    roles: list[str]
    emotion: np.ndarray
    groups: np.ndarray
    sound: np.ndarray
    expected: Sequence[str]
    unknown_splits: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.numbers)

    def facts(self) -> dict[str, Any]:
        """Summarize the plan for the manifest.

        Returns:
            Numbers of images by property.
        """
        mended: Counter[str] = Counter()
        for some in self.notes["mended"].to_pylist():
            mended.update(some)
        worded = Counter(self.list_caption_sources().tolist())
        return {
            "found": len(self.notes),
            "refused": len(self.notes) - len(self.sound),
            "mended": dict(sorted(mended.items())),
            "contradictory": count_contradictions(self.notes),
            "duplicates": self.duplicates(),
            **count_classes(self.roles, self.emotion),
            "captions": dict(sorted(worded.items())),
            "rendered": int(self.find_rendered().sum()),
        }

    def find_rendered(self) -> np.ndarray:
        """Tell which of the images taken carry the mark of the rendered world.

        Returns:
            bool [N].
        """
        column: np.ndarray = self.notes["rendered"].to_numpy()[self.numbers]
        return column

    def list_caption_sources(self) -> np.ndarray:
        """Tell where the caption of each image taken comes from.

        Returns:
            `own`, `attributes` or `none` [N].
        """
        return _read_column(self.notes, "worded")[self.numbers]

    def report_lines(self) -> Iterator[str]:
        """Report what was grouped, assigned and taken, and which emotions have no image.

        Yields:
            Sentences.
        """
        alike, about = self.duplicates(), count_classes(self.roles, self.emotion)
        apart = format_count(alike["pairs across official splits"], "pair")
        several = format_count(alike["groups of several emotions"], "group")
        groups = format_count(alike["groups"], "group")
        yield f"duplicates: {groups}, {apart} across splits, {several} of several emotions"
        yield f"roles: {', '.join(f'{role} {count}' for role, count in about['roles'].items())}"
        if self.unknown_splits:
            yield (
                f"splits named {', '.join(self.unknown_splits)} are none of train, val and test, so that their images "
                "are dealt to all roles: rename them, or what was to be held out is learnt from"
            )
        panoramas = self.facts()["mended"].get(PANORAMA, 0)
        if panoramas:
            yield (
                f"{format_count(panoramas, 'image is a panorama', 'images are panoramas')}, and the cut to the middle "
                "takes more than half of each: "
                "buckets=true keeps up to 2:1, or cut them yourself"
            )
        weights = _read_weights(self.notes)[self.numbers]
        missing = [name for name, there in zip(EMOTIONS, weights.any(0), strict=True) if not there]
        if missing:
            yield f"no image shows {', '.join(missing)}: what learns from this set will not know it"
        gaps = list_gaps(self.roles, weights, self.expected)
        if gaps:
            yield format_gaps(gaps)

    def duplicates(self) -> dict[str, int]:
        """Count the duplicates.

        Returns:
            The number of groups of several images, of images beyond the first of each group, of pairs whose images are
            in different official splits, and of groups whose images have several emotions.
        """
        _, where, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        split, emotion = self._strings("split"), _strongest_emotion(self.notes)[self.sound]
        apart = several = 0
        for members in _group_places(self.groups, np.flatnonzero(sizes[where] > 1)):
            counts = np.unique(split[members], return_counts=True)[1]
            apart += int((counts.sum() ** 2 - (counts**2).sum()) // 2)
            several += len(np.unique(emotion[members])) > 1
        return {
            "groups": int((sizes > 1).sum()),
            "pictures": int((sizes - 1).sum()),
            "pairs across official splits": apart,
            "groups of several emotions": several,
        }

    def duplicate_rows(self) -> Iterator[dict[str, Any]]:
        """List the groups of several images.

        Yields:
            For each group the ids, the official splits and the strongest emotions of its images.
        """
        ids, split, emotion = self.notes["id"], self._strings("split"), _strongest_emotion(self.notes)
        _, where, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        for members in _group_places(self.groups, np.flatnonzero(sizes[where] > 1)):
            places = self.sound[members]
            yield {
                "ids": [ids[int(place)].as_py() for place in places],
                "splits": split[members].tolist(),
                "emotions": [NAMES[number] for number in emotion[places]],
            }

    def _strings(self, column: str) -> np.ndarray:
        return _read_column(self.notes, column)[self.sound]


def make_plan(
    notes: pa.Table,
    *,
    split: str = splits.DEFAULT,
    limit: int | None = None,
    each: int | None = None,
    balanced: bool = False,
    alike: int = 4,
    spoilt: float = 1.0,
) -> Plan:
    """Group duplicates, assign roles and take a sample.

    Args:
        notes: The notes of all images.
        split: How roles are assigned: see `splits.split_shares`.
        limit: The largest number of images, if limited.
        each: The largest number of images of each emotion, if limited.
        balanced: Whether the emotions share a limit equally.
        alike: Bits in which near duplicates may differ: see `duplicates.group_duplicates`.
        spoilt: The share of refused images, from 0 to 1, above which the job stops.

    Returns:
        The plan.

    Raises:
        UsageError: `split` is not understood.
        EmosceneError: No image is sound, or too many are refused.
    """
    good = pc.equal(notes["reason"], "").to_numpy()
    bad = len(notes) - int(good.sum())
    if bad == len(notes) or bad > spoilt * len(notes):
        raise EmosceneError(explain_refused(notes))
    sound = np.flatnonzero(good)
    ids = notes["id"].take(pa.array(sound)).to_pylist()
    key = np.array([_hash_text(id.encode()) for id in ids], np.uint64)
    digests = notes["digest"].take(pa.array(sound)).to_pylist()
    files = key.copy()
    for place, digest in enumerate(digests):
        if digest:
            files[place] = int.from_bytes(digest[:8], "big")
    looks = pc.list_flatten(notes["looks"]).to_numpy().reshape(-1, duplicates.HASHES)
    groups = duplicates.group_duplicates(files, looks[sound], alike)
    emotion = _strongest_emotion(notes)[sound]
    roles, expected = _assign_roles(notes, sound, emotion, groups, key, split)
    unknown: list[str] = []
    if split in splits.SHARES:
        unknown = sorted({name for name in pc.unique(notes["split"]).to_pylist() if name not in KNOWN_SPLITS})
    scene = np.unique(_read_column(notes, "scene")[sound], return_inverse=True)[1]
    taken = splits.sample_images(emotion, np.stack([roles, scene], 1), key, limit, each, balanced)
    return Plan(
        notes, sound[taken], [ROLES[role] for role in roles[taken]], emotion[taken], groups, sound, expected, unknown
    )


def count_classes(roles: Sequence[str], emotion: Sequence[int] | np.ndarray) -> dict[str, Any]:
    """Count the images of each role and of each emotion.

    Args:
        roles: The role of each image [N].
        emotion: The emotion of each image [N], -1 for none.

    Returns:
        The counts under `roles`, `emotions` and `without emotion`.
    """
    of_emotion, of_role = Counter(map(int, emotion)), Counter(roles)
    return {
        "roles": {role: of_role[role] for role in ROLES if of_role[role]},
        "emotions": {name: of_emotion[place] for place, name in enumerate(EMOTIONS)},
        "without emotion": of_emotion[-1],
    }


def explain_refused(notes: pa.Table) -> str:
    """Say that too many images are refused, and what can be done.

    Args:
        notes: The notes of all images, of which some are refused.

    Returns:
        A sentence.
    """
    refused, total = list_refused(notes), len(notes)
    such = f"such as {refused[0]['file']} ({refused[0]['reason']}): mend them and prepare into another folder"
    named = f"({QUARANTINE} names them all)"
    if len(refused) == total:
        return f"not one of {format_count(total, 'image')} is sound, {such} {named}"
    share = min(1.0, len(refused) / total + 0.01)
    return f"{count_images(len(refused), total)} refused, {such}, or allow more with spoilt={share:.2f} {named}"


def list_gaps(roles: Sequence[str], weights: np.ndarray, expected: Sequence[str]) -> dict[str, list[str]]:
    """List the roles that have no image of an emotion which other roles have images of.

    Args:
        roles: The role of each image [N].
        weights: The weights of its emotions [N, 8].
        expected: The roles that were to have images.

    Returns:
        For each such role the emotions; an empty list where it has no image at all.
    """
    known, role_of = weights.any(0), np.asarray(roles)
    gaps: dict[str, list[str]] = {}
    for role in expected:
        inside = role_of == role
        lacking = known & ~weights[inside].any(0)
        if not inside.any():
            gaps[role] = []
        elif lacking.any():
            gaps[role] = [name for name, lacks in zip(EMOTIONS, lacking, strict=True) if lacks]
    return gaps


def format_gaps(gaps: Mapping[str, Sequence[str]]) -> str:
    """Say which roles have no image of which emotions.

    Args:
        gaps: What `list_gaps` returns.

    Returns:
        A sentence.
    """
    parts = []
    for role, names in gaps.items():
        what = "at all"
        if names:
            what = f"of {', '.join(names)}"
        parts.append(f"{role} has no image {what}")
    return f"{'; '.join(parts)}: take more images, or other shares with --split, or nothing is learnt or measured there"


def list_refused(notes: pa.Table) -> list[dict[str, str]]:
    """List the images that are refused.

    Args:
        notes: The notes of all images.

    Returns:
        For each such image the file and the reason.
    """
    bad = notes.filter(pc.not_equal(notes["reason"], "")).select(["origin", "reason"]).to_pylist()
    return [{"file": row["origin"], "reason": row["reason"]} for row in bad]


def _assign_roles(
    notes: pa.Table, sound: np.ndarray, emotion: np.ndarray, groups: np.ndarray, key: np.ndarray, split: str
) -> tuple[np.ndarray, list[str]]:
    """The role of each sound image, as its index, and the roles that were to have images."""
    given = _read_column(notes, "role")[sound]
    if (given != "").all():
        return np.array(list(map(ROLES.index, given)), np.int8), [role for role in ROLES if role in given]
    own = _read_column(notes, "split")[sound]
    wanted = splits.split_shares(split, set(own.tolist()))
    expected = [role for role in ROLES if any(role in shares for shares in wanted.values())]
    return splits.assign_roles(own, emotion, groups, key, wanted), expected


def _strongest_emotion(notes: pa.Table) -> np.ndarray:
    """The strongest emotion of each image, -1 for none."""
    weights = _read_weights(notes)
    return np.where(weights.any(1), weights.argmax(1), -1)


def _read_weights(notes: pa.Table) -> np.ndarray:
    return pc.list_flatten(notes["weights"]).to_numpy().reshape(-1, len(EMOTIONS))


def _read_column(notes: pa.Table, name: str) -> np.ndarray:
    return np.array(notes[name].to_pylist(), dtype=str)


def _group_places(groups: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """The places of each group, the groups in order."""
    order = places[np.argsort(groups[places], kind="stable")]
    if len(order):
        return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return []


def _hash_text(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
