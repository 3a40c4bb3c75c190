"""The plan: which pictures are taken, and who may learn from each; a pure function of all notes and of the call.

Every process makes it for itself, after the first pass, and all make the same one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import duplicates, splits
from emoscene.data.records import ROLES


@dataclass(frozen=True)
class Plan:
    """The pictures taken: their numbers in the source [N], their roles [N], and the notes they come from.

    emotion: of each, -1 for none; groups: of all sound pictures the number of the group; sound: their places.
    """

    notes: pa.Table
    numbers: np.ndarray
    roles: list[str]
    emotion: np.ndarray
    groups: np.ndarray
    sound: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def facts(self) -> dict[str, Any]:
        """What the manifest says of it."""
        mended = Counter(one for some in self.notes["mended"].to_pylist() for one in some)
        worded = Counter(self.worded().tolist())
        return {
            "found": len(self.notes),
            "refused": len(self.notes) - len(self.sound),
            "mended": dict(sorted(mended.items())),
            "duplicates": self.duplicates(),
            **count_classes(self.roles, self.emotion),
            "captions": dict(sorted(worded.items())),
            "rendered": int(self.rendered().sum()),
        }

    def rendered(self) -> np.ndarray:
        """Which of the pictures taken carry the miniature world's mark [N]."""
        column: np.ndarray = self.notes["rendered"].to_numpy()[self.numbers]
        return column

    def worded(self) -> np.ndarray:
        """Where each picture taken has its caption from: own, attributes or none [N]."""
        return _read_column(self.notes, "worded")[self.numbers]

    def report_lines(self) -> Iterator[str]:
        """What was grouped, dealt and taken, in sentences; and the emotions that have no picture."""
        alike, about = self.duplicates(), count_classes(self.roles, self.emotion)
        yield f"duplicates: {alike['groups']} groups, {alike['pairs across official splits']} pairs across splits"
        yield f"roles: {', '.join(f'{role} {count}' for role, count in about['roles'].items())}"
        felt = _read_weights(self.notes)[self.numbers].any(0)
        if missing := [name for name, there in zip(EMOTIONS, felt, strict=True) if not there]:
            yield f"no picture shows {', '.join(missing)}: what learns from this set will not know it"

    def duplicates(self) -> dict[str, int]:
        """Groups of more than one picture, what is in them beyond the first, and pairs that an official split parts."""
        _, where, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        split = self._strings("split")
        apart = 0
        for members in _group_places(self.groups, np.flatnonzero(sizes[where] > 1)):
            counts = np.unique(split[members], return_counts=True)[1]
            apart += int((counts.sum() ** 2 - (counts**2).sum()) // 2)
        return {
            "groups": int((sizes > 1).sum()),
            "pictures": int((sizes - 1).sum()),
            "pairs across official splits": apart,
        }

    def duplicate_rows(self) -> Iterator[dict[str, Any]]:
        """The groups of more than one picture, as rows of a report."""
        ids, split = self.notes["id"], self._strings("split")
        _, where, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        for members in _group_places(self.groups, np.flatnonzero(sizes[where] > 1)):
            places = self.sound[members]
            yield {"ids": [ids[int(place)].as_py() for place in places], "splits": split[members].tolist()}

    def _strings(self, column: str) -> np.ndarray:
        return _read_column(self.notes, column)[self.sound]


def make_plan(
    notes: pa.Table,
    *,
    split: str = "roles",
    limit: int | None = None,
    each: int | None = None,
    balanced: bool = False,
    alike: int = 4,
    spoilt: float = 1.0,
) -> Plan:
    """Group, deal and sample. Raises Failure where too many pictures are refused, Usage where none is left.

    split: see `splits.split_shares`; limit, each, balanced: see `splits.sample_images`; alike: see `duplicates.group_duplicates`; spoilt:
    the share of refused pictures above which the job stops.
    """
    good = pc.equal(notes["reason"], "").to_numpy()
    if (bad := len(notes) - int(good.sum())) > spoilt * len(notes):
        first = list_refused(notes)[0]
        raise EmosceneError(
            f"{bad} of {len(notes)} pictures are refused, such as {first['file']} ({first['reason']}): mend them and "
            f"prepare into another folder, or allow more with spoilt={min(1.0, bad / len(notes) + 0.01):.2f} "
            "(quarantine.jsonl names them all)"
        )
    sound = np.flatnonzero(good)
    if not len(sound):
        raise UsageError("not one picture is sound: quarantine.jsonl says why")
    ids = notes["id"].take(pa.array(sound)).to_pylist()
    key = np.fromiter((_hash_text(id.encode()) for id in ids), np.uint64, len(ids))
    digests = notes["digest"].take(pa.array(sound)).to_pylist()
    files = np.fromiter(
        (int.from_bytes(d[:8], "big") if d else k for d, k in zip(digests, key.tolist(), strict=True)),
        np.uint64,
        len(ids),
    )
    groups = duplicates.group_duplicates(files, notes["look"].to_numpy()[sound], alike)
    emotion = _strongest_emotion(notes)[sound]
    roles = _assign_roles(notes, sound, emotion, groups, key, split)
    scene = np.unique(_read_column(notes, "scene")[sound], return_inverse=True)[1]
    taken = splits.sample_images(emotion, np.stack([roles, scene], 1), key, limit, each, balanced)
    return Plan(notes, sound[taken], [ROLES[role] for role in roles[taken]], emotion[taken], groups, sound)


def count_classes(roles: Sequence[str], emotion: Sequence[int] | np.ndarray) -> dict[str, Any]:
    """How many pictures each role and each emotion has."""
    found, dealt = Counter(int(number) for number in emotion), Counter(roles)
    return {
        "roles": {role: count for role in ROLES if (count := dealt[role])},
        "emotions": {name: found[place] for place, name in enumerate(EMOTIONS)},
        "without emotion": found[-1],
    }


def list_refused(notes: pa.Table) -> list[dict[str, str]]:
    """The quarantine: each file that was not let in, and why."""
    bad = notes.filter(pc.not_equal(notes["reason"], "")).select(["origin", "reason"]).to_pylist()
    return [{"file": row["origin"], "reason": row["reason"]} for row in bad]


def _assign_roles(
    notes: pa.Table, sound: np.ndarray, emotion: np.ndarray, groups: np.ndarray, key: np.ndarray, split: str
) -> np.ndarray:
    given = _read_column(notes, "role")[sound]
    if (given != "").all():
        return np.array([ROLES.index(role) for role in given], np.int8)
    own = _read_column(notes, "split")[sound]
    return splits.assign_roles(own, emotion, groups, key, splits.split_shares(split, set(own.tolist())))


def _strongest_emotion(notes: pa.Table) -> np.ndarray:
    """The strongest emotion of each picture, -1 for none."""
    weights = _read_weights(notes)
    return np.where(weights.any(1), weights.argmax(1), -1)


def _read_weights(notes: pa.Table) -> np.ndarray:
    return pc.list_flatten(notes["weights"]).to_numpy().reshape(-1, len(EMOTIONS))


def _read_column(notes: pa.Table, name: str) -> np.ndarray:
    return np.array(notes[name].to_pylist(), dtype=str)


def _group_places(groups: np.ndarray, places: np.ndarray) -> list[np.ndarray]:
    """The places of each group, the groups in order."""
    order = places[np.argsort(groups[places], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(order) else []


def _hash_text(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
