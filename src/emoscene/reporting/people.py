"""The results of a study with people, as those of a judge named `people`.

`study analyse` says which folders its images were from, by the fingerprints of their scores. Where such scores are in
the report, the judge joins them: its figures stand beside the other judges', and what most raters saw in an image
beside what they saw. Images that nobody scored get an entry that has the people alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.core.file_reading import check_value, read_json
from emoscene.evaluation.score_files import check_judge
from emoscene.reporting.scores import ScoreEntry, load_entries, name_entries
from emoscene.reporting.study_files import JUDGE, KIND, RESULT, PeopleResult

AGAIN = "analyse the answers again"


@dataclass(frozen=True)
class People:
    """What one study found.

    Attributes:
        folder: What `study analyse` wrote.
        table: The content of its file.
        manifest: Its manifest.
    """

    folder: Path
    table: Mapping[str, Any]
    manifest: Mapping[str, Any]


def load_all(folders: Iterable[str | Path]) -> list[ScoreEntry]:
    """Load scores and the results of studies.

    Args:
        folders: What `evaluate` or `study analyse` made.

    Returns:
        An entry for each method; the judge `people` where a study asked about its images.

    Raises:
        UsageError: A folder holds neither, or two studies asked about the same scores.
        EmosceneError: A file is damaged.
    """
    scored, studies = [], []
    for folder in dict.fromkeys(map(Path, folders)):
        manifest = run_dir.read_manifest(folder)
        if manifest["kind"] == KIND:
            studies.append(_read_people(folder, manifest))
        else:
            scored.append(folder)
    entries: list[ScoreEntry] = []
    if scored or not studies:
        entries = load_entries(scored)
    for people in studies:
        entries = _join(entries, people)
    return name_entries(entries) if not scored else entries


def _read_people(folder: Path, manifest: Mapping[str, Any]) -> People:
    if manifest["state"] != "done":
        raise UsageError(f"{folder} is not finished: call `emoscene study analyse` again as before")
    table = read_json(folder / RESULT, remedy=AGAIN)
    check_value(table, PeopleResult, folder / RESULT, AGAIN)
    if len(table["sources"]) != len(table["judged"]):
        raise UsageError(f"{folder / RESULT} is damaged (it judges other sources than it names): {AGAIN}")
    for source, judged in zip(table["sources"], table["judged"], strict=True):
        check_judge(judged["figures"], f"{folder / RESULT}, {source['name']!r},", AGAIN)
    return People(folder, table, manifest)


def _join(entries: Sequence[ScoreEntry], people: People) -> list[ScoreEntry]:
    """The entries with what a study says of them, and new ones for what nobody scored."""
    joined = list(entries)
    for source, judged in zip(people.table["sources"], people.table["judged"], strict=True):
        if not judged["figures"]:
            continue
        for place, entry in enumerate(joined):
            if source["fingerprint"] and entry.manifest.get("fingerprint") == source["fingerprint"]:
                joined[place] = _add_judge(entry, people, judged)
                break
        else:
            joined.append(_make_entry(people, source, judged))
    return joined


def _add_judge(entry: ScoreEntry, people: People, judged: Mapping[str, Any]) -> ScoreEntry:
    if JUDGE in entry.scores["judges"]:
        raise UsageError(f"two studies asked about {entry.folder}: report them apart, one is {people.folder}")
    judges = {**entry.scores["judges"], JUDGE: judged["figures"]}
    marks = {**entry.scores.get("judged_by", {}), JUDGE: people.manifest.get("fingerprint")}
    rows = []
    for row in entry.rows:
        seen = judged["seen"].get(row["file"])
        if seen is not None:
            row = {**row, "seen": {**row["seen"], JUDGE: seen}}
        rows.append(row)
    return replace(entry, scores={**entry.scores, "judges": judges, "judged_by": marks}, rows=rows)


def _make_entry(people: People, source: Mapping[str, Any], judged: Mapping[str, Any]) -> ScoreEntry:
    """An entry of images that were not scored: all that is known of them is what people said."""
    scores = {
        "images": len(judged["seen"]),
        "judges": {JUDGE: judged["figures"]},
        "judged_by": {JUDGE: people.manifest.get("fingerprint")},
        "metrics": {},
        "from": source["folder"],
    }
    return ScoreEntry(str(source["name"]), people.folder, scores, [], people.manifest)


def list_findings(folders: Iterable[str | Path]) -> list[str]:
    """List what must be known about the studies among these folders.

    Args:
        folders: What `evaluate` or `study analyse` made.

    Returns:
        A sentence each: how many people answered, how much they agree, and every caution.
    """
    sentences = []
    for folder in dict.fromkeys(map(Path, folders)):
        manifest = run_dir.read_manifest(folder)
        if manifest["kind"] != KIND:
            continue
        table = _read_people(folder, manifest).table
        agreement = "not defined"
        if table["alpha"] is not None:
            agreement = f"{table['alpha']:.2f}"
        sentences.append(
            f"{JUDGE}: {table['raters']} raters gave {table['answers']} answers ({table['design']}), "
            f"{table['left_out']} left out by attention checks; Krippendorff's alpha is {agreement}"
        )
        sentences += table["cautions"]
    return sentences
