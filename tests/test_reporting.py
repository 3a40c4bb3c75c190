"""The verb `report`: what compares is compared, what does not is said, and the page needs nothing but itself."""

import csv
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import tiny
from emoscene import reporting
from emoscene.cli.app import read_call
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.evaluate import evaluate
from emoscene.reporting import figures, tables
from emoscene.reporting.comparisons import compare_all, comparison_remarks
from emoscene.reporting.scores import accuracy_of, find_curves, load_entries

PROMPTS = ("a beach", "a park", "a portrait of a <person>")
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Every tag is closed in its order; whatever would be fetched is written down."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.tags = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open += [tag] if tag not in VOID else []
        self.fetched += [value for key, value in attrs if key in {"src", "href", "srcset"}]

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def figure(value):
    return {"value": value, "low": max(0.0, value - 0.1), "high": min(1.0, value + 0.1), "n": 48, "by": "emotion"}


def scored(folder, method="lora", right=0.75, judge="abc", seeds=(0, 1), **more):
    """Scores by hand: of every eight pictures, right x 8 are as asked."""
    opened = run_dir.RunDir.open(folder, "scores", {"method": method, **more}, parents=[PARENT])
    (folder / "pictures").mkdir()
    lines = []
    for prompt in PROMPTS:
        for seed in seeds:
            for number, name in enumerate(EMOTIONS):
                file = f"pictures/{prompt[-4:-1]}-{name}-{seed}.png"
                Image.new("RGB", (16, 16), (number * 30, seed, 0)).save(folder / file)
                seen = number if number < 8 * right else (number + 1) % 8
                row = {"file": file, "prompt": prompt, "seed": seed, "asked": name, "kept": 1 - seed}
                row |= {"scene": prompt.split()[1], "likely": {"emotion": np.eye(8)[seen].tolist()}}
                row |= {"seen": {"emotion": EMOTIONS[seen]}}
                lines.append(json.dumps(row) + "\n")
    (folder / "verdicts.jsonl").write_text("".join(lines))
    verdict = {name: figure(value) for name, value in (("emotion_accuracy", right), ("shuffled", 0.125))}
    each = {name: {"precision": right, "recall": right, "f1": right, "support": 6} for name in EMOTIONS}
    verdict |= {
        "per_emotion": each,
        "confusion": (np.eye(8) * 6).tolist(),
        "reliability": [[0.4, 0.3, 9], [0.9, 0.95, 9]],
    }
    scores = {
        "version": 3,
        "base": "tiny",
        "method": method,
        "adapters": [],
        "emotion_scale": 1.0,
        "guidance_scale": 5.0,
        "num_inference_steps": 2,
        "sampler": "dpm++",
    }
    scores |= {
        "settings": {},
        "prompts": PROMPTS,
        "seeds": seeds,
        "images": len(lines),
        "judged_by": {"emotion": judge},
    }
    scores |= {"judges": {"emotion": verdict}, "missing": {}, "judged_by": {"emotion": judge}}
    scores |= {"robustness": {"emotion": {"blur": figure(right / 2)}}}
    scores["metrics"] = {
        "scene_accuracy": figure(0.5),
        "frechet": figure(0.9),
        "diversity": {**figure(0), "value": None},
    }
    scores["cost"] = {"trainable": 1000, "bytes": 2_000_000, "training_images": 48, "seconds_per_image": 0.25}
    (folder / "scores.json").write_text(json.dumps(scores | more))
    opened.finish()
    return folder


PARENT = {"kind": "artifact", "config": {"name": "lora"}, "fingerprint": "f" * 64, "seed": 0, "parents": []}


def test_a_page_that_needs_nothing_but_itself(tmp_path):
    folders = [scored(tmp_path / "none", "none", 0.125), scored(tmp_path / "lora")]
    said = []
    out = reporting.report(folders, out=tmp_path / "report", on_message=said.append)
    text = (out / "index.html").read_text()
    page = Page(text)
    assert page.fetched
    assert all(value.startswith("data:image/webp;base64,") for value in page.fetched)
    assert not re.search(r"https?://|@import|url\(|<script|<person>", text)
    assert page.tags.count("img") == 3 * 2 * 8
    assert page.tags.count("rect") == 2 * 64
    for words in ("75%", "Faces and scenes", "artifact lora ffffffffffff", "2.00", "unknown"):
        assert words in text
    assert len(said) == 1
    assert run_dir.read_manifest(out, "report")["parents"][0]["config"]["method"] == "none"
    assert reporting.report(folders, out=out, on_message=said.append) == out
    with pytest.raises(UsageError, match="another call's"):
        reporting.report(folders[:1], out=out)


def test_the_same_as_markdown_and_csv(tmp_path):
    out = reporting.report(scored(tmp_path / "lora"), out=tmp_path / "report", on_message=print)
    text = (out / "report.md").read_text()
    assert "| lora | 75.0% (65.0% to 85.0%) | 50.0% (40.0% to 60.0%) | 0.9 (0.8 to 1) | 1,000 | 2.00 | 48 |" in text
    faces = text.partition("## Faces and scenes")[2].partition("##")[0]
    assert "| lora | 75.0% | 75.0% |" in faces  # of one prompt and of two there is no interval
    assert "## Is the guide being fooled?" not in text
    assert "## Differences" not in text
    with (out / "scores.csv").open() as file:
        rows = {(row["method"], row["by"], row["figure"]): row for row in csv.DictReader(file)}
    assert rows["lora", "emotion", "emotion_accuracy"]["low"] == "0.65"
    assert rows["lora", "cost", "bytes"]["value"] == "2000000.0"
    assert rows["lora", "emotion", "emotion_accuracy after blur"]["value"] == "0.375"


def test_differences_are_paired_and_corrected(tmp_path):
    found = load_entries([scored(tmp_path / "a", "lora", 0.75), scored(tmp_path / "b", "prompt", 0.5)])
    first, second = compare_all(found)
    assert (first.one, first.other, first.what) == ("prompt", "lora", "emotion accuracy")
    assert first.difference.value == pytest.approx(-0.25)
    assert np.isnan(first.difference.low)  # three prompts
    assert first.difference.n == 48
    assert first.difference.p == 0.25  # all three prompts agree: 2 of 2^3 ways are as far from 0
    assert first.p == 0.5  # two questions were asked
    assert second.difference.value == 0 == 1 - second.p


def test_every_judge_has_its_differences(tmp_path):
    """Of two judges, one called otherwise in the second folder: the weights tell, and Holm counts all questions."""
    folders = []
    for method, share, name in (("lora", 0.75, "clip"), ("prompt", 0.5, "words")):
        folder = scored(tmp_path / method, method, share)
        scores, rows = json.loads((folder / "scores.json").read_text()), (folder / "verdicts.jsonl").read_text()
        scores["judges"][name] = {**scores["judges"]["emotion"], "emotion_accuracy": figure(1.0)}
        scores["judges"][name]["not_judged"] = ["awe"]
        scores["judged_by"][name] = "xyz"
        scores["robustness"][name] = {"blur": figure(0.25)}
        lines = [json.loads(line) for line in rows.splitlines()]
        for line in lines:
            line["seen"][name] = line["asked"]
        (folder / "verdicts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "scores.json").write_text(json.dumps(scores))
        folders.append(folder)
    found = load_entries(folders)
    made = {one.what: (one.difference.value, one.difference.p, one.p) for one in compare_all(found)}
    assert made["emotion accuracy, by emotion"] == (pytest.approx(-0.25), 0.25, 0.75)  # one question of three
    assert made["emotion accuracy, by words"] == (0, 1, 1)
    assert list(made)[2:] == ["scene kept"]
    text = (reporting.report(folders, out=tmp_path / "r", on_message=print) / "report.md").read_text()
    controls = text.partition("## Controls")[2].partition("##")[0]
    assert "| lora, by clip | 100.0% (90.0% to 100.0%) | 12.5% (2.5% to 22.5%) | 25.0% (15.0% to 35.0%) |" in controls
    assert "| lora, by clip | 0.75 |  | 0.75 |" in text.partition("## Emotion by emotion")[2]


def test_distances_over_other_numbers_of_pictures_do_not_compare(tmp_path):
    few = {"frechet": {**figure(0.9), "n": 12}, "scene_accuracy": figure(0.5)}
    found = load_entries([scored(tmp_path / "a"), scored(tmp_path / "b", "none", metrics=few)])
    assert "The Frechet distances are over 12 and 48 images" in " ".join(comparison_remarks(found))
    assert "Frechet" not in " ".join(comparison_remarks(found[:1]))


def test_what_does_not_compare_is_said(tmp_path):
    one, other = scored(tmp_path / "a"), scored(tmp_path / "b", "prompt", judge="xyz", seeds=(1, 2), prompts=["a sea"])
    lost = scored(tmp_path / "c", "none", missing={"kernel": "the kernel distance needs 2 images"})
    (lost / "verdicts.jsonl").unlink()
    found = load_entries([one, other, lost])
    told = " ".join(comparison_remarks(found))
    for words in (
        "prompt: had other judges than lora",
        "prompt: generated other prompts than lora",
        "prompt: generated other seeds than lora",
        "none has no verdicts.jsonl",
        "none: the kernel distance needs 2 images.",
    ):
        assert words in told
    assert "none: had" not in told
    assert compare_all(found) == []
    text = (reporting.report([one, other, lost], out=tmp_path / "r", on_message=print) / "index.html").read_text()
    assert "had other judges" in text
    assert text.index("had other judges") < text.index("<table>")


def test_differences_are_taken_over_what_both_have(tmp_path):
    found = load_entries([scored(tmp_path / "a"), scored(tmp_path / "b", "prompt", seeds=(1, 2))])
    assert compare_all(found)[0].difference.n == 24


def test_scores_of_one_method_are_told_apart_and_make_a_curve(tmp_path):
    dial = [scored(tmp_path / str(s), right=r, emotion_scale=s) for s, r in ((1.5, 0.75), (0.5, 0.25), (1.0, 0.5))]
    scale = [scored(tmp_path / f"g{s}", "guidance", settings={"classifier_scale": s}) for s in (2.0, 8.0)]
    found = load_entries([*dial, *scale])
    assert found[0].name == "lora, emotion scale 1.5"
    assert found[3].name == "guidance, classifier scale 2"
    (name, turns), *rest = find_curves(found, "emotion_scale").items()
    assert (name, [x for x, _ in turns], rest) == ("lora", [0.5, 1.0, 1.5], [])
    assert list(find_curves(found, "classifier_scale")) == ["guidance"]
    text = (reporting.report([*dial, *scale], out=tmp_path / "r", on_message=print) / "index.html").read_text()
    assert "scene kept against emotion scale" in text
    assert "emotion accuracy against classifier scale" in text
    assert "lora, emotion scale 0.5 to 1.5: a beach" in text
    assert text.count("<img") == 5 * 3 * 8 + 2 * 3  # the grids, and a strip of three strengths in two emotions
    again = load_entries([scored(tmp_path / "x"), scored(tmp_path / "y")])
    assert [entry.name for entry in again] == ["lora (x)", "lora (y)"]


def test_the_guides_own_verdict_stands_beside_the_judges(tmp_path):
    folders = []
    for scale, own, judged in ((2.0, 0.5, 0.5), (8.0, 0.9, 0.6)):
        gap = {**figure(own - judged), "low": -0.05, "high": 0.4}
        metrics = {"guide_accuracy": figure(own), "guide_gap": gap}
        settings = {"classifier_scale": scale, "interval_start": 0.2}
        folders.append(scored(tmp_path / f"{scale}", "guidance", judged, settings=settings, metrics=metrics))
    out = reporting.report(folders, out=tmp_path / "r", on_message=print)
    assert (
        "| guidance, classifier scale 8 | 8 | 90.0% (80.0% to 100.0%) | 60.0% (50.0% to 70.0%) | 0.3 (-0.05 to 0.4) |"
        in (out / "report.md").read_text()
    )
    text = (out / "index.html").read_text()
    assert "guidance, by the guide itself" in text
    assert "guidance, by emotion" in text
    Page(text)


def test_what_was_not_judged_is_in_no_difference(tmp_path):
    folder = scored(tmp_path / "a")
    rows = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    for row in rows:
        if row["asked"] == "awe":
            del row["seen"]["emotion"]
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load_entries([folder, scored(tmp_path / "b", "prompt")])
    assert compare_all(found)[0].difference.n == 42
    assert accuracy_of(found[0].rows, "emotion").n == 42
    assert accuracy_of(found[0].rows, "nobody") is None


def test_folders_that_hold_no_scores(tmp_path):
    with pytest.raises(UsageError, match="is not there"):
        load_entries([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="needs SCORES"):
        load_entries([])
    run_dir.RunDir.open(tmp_path / "open", "scores", {})
    with pytest.raises(UsageError, match="not finished"):
        load_entries([tmp_path / "open"])
    folder = scored(tmp_path / "bad")
    (folder / "scores.json").write_text('{"method": "x", "judges": {}}')
    with pytest.raises(EmosceneError, match="damaged"):
        load_entries([folder])


def test_the_line_takes_several_folders():
    assert read_call("report", ["a", "b", "--out", "c"]).given == {"scores": ["a", "b"], "out": "c"}
    with pytest.raises(UsageError, match="report needs SCORES"):
        read_call("report", ["--out", "c"])


def test_ticks_are_round():
    assert figures.axis_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    for low, high in ((0, 0.003), (0.5, 1.5), (0, 123_456)):
        found = figures.axis_ticks(low, high)
        assert 3 <= len(found) <= 7
        assert low <= found[0] <= found[-1] <= high


def test_points_lie_where_they_should():
    frame = figures.Frame("x", "y", (0.0, 2.0))
    assert frame.place(0, 0) == (figures.LEFT, figures.HIGH - figures.BELOW)
    assert frame.place(2, 1) == (figures.WIDE - figures.RIGHT, figures.TOP)
    outside = figures.Point("a", 1.0, 0.9, -0.5, 1.5)
    bar = f"M{frame.place(1, 0)[0]} {figures.TOP}.0V{figures.HIGH - figures.BELOW}.0"
    assert figures.place_mark(frame, outside, 0).bars == bar
    curve = [figures.Point("a", x, 1, 1, 1) for x in (0, 2)]
    assert f'd="{bar}"' in figures.draw_lines({"a": [*curve, outside]}, ["a"], "x", "y")
    assert len({figures.draw_mark(number) for number in range(64)}) == 64


def test_a_history_is_told_down_to_the_raw_data():
    raw = {"kind": "prepared", "config": {"source": "emoset"}, "fingerprint": "a" * 64, "parents": []}
    told = tables.lineage({"kind": "scores", "config": {}, "parents": [{**PARENT, "parents": [raw]}]})
    assert told == ["scores", "artifact lora ffffffffffff", "prepared emoset aaaaaaaaaaaa"]


def test_reporting_needs_no_torch(tmp_path):
    folder = scored(tmp_path / "a")
    line = f"import sys; from emoscene import report; report({str(folder)!r}, out={str(tmp_path / 'r')!r}); "
    subprocess.run([sys.executable, "-c", line + "assert 'torch' not in sys.modules"], check=True, capture_output=True)


def test_real_scores_of_a_tiny_base(tmp_path):
    judges = tiny.judges(tmp_path)
    (tmp_path / "two.toml").write_text('prompt = [{ text = "a beach", scene = "beach" }, { text = "a park" }]')
    call = {
        "base": str(tiny.make(tmp_path / "base")),
        "judge": judges,
        "prompts": tmp_path / "two.toml",
        "num_inference_steps": 1,
    }
    made = [
        evaluate(out=tmp_path / name, method=name, seeds="0:2", robust=True, on_message=print, **call)
        for name in ("none", "prompt")
    ]
    out = reporting.report(made, out=tmp_path / "report", on_message=print)
    assert Page((out / "index.html").read_text()).tags.count("img") == 2 * 2 * 8
    assert "prompt" in (out / "report.md").read_text()
    assert len(compare_all(load_entries(made))) == 2


@pytest.mark.parametrize(
    "name", ["{secret}", "../secret.png", "pictures/../../secret.png", "link.png", "C:secret.png", "", 5]
)
def test_no_file_outside_of_the_scores_is_embedded(name, tmp_path):
    folder = scored(tmp_path / "scores")
    Image.new("RGB", (37, 23)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    said = name.format(secret=tmp_path / "secret.png") if isinstance(name, str) else name
    rows = [json.loads(line) | {"file": said} for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = []
    out = reporting.report(folder, out=tmp_path / "report", on_message=told.append)
    assert 'width="37"' not in (out / "index.html").read_text()
    assert f"lora: {len(rows)} of its images lie outside of {folder} and are not shown." in told


def test_a_verdict_that_is_none_is_said(tmp_path):
    folder = scored(tmp_path / "scores")
    for row in (
        {"file": "a.png"},
        {"file": "a", "prompt": 5, "seed": 0, "asked": "awe", "scene": "", "kept": 1, "seen": {}},
    ):
        (folder / "verdicts.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(EmosceneError, match="is damaged"):
            load_entries([folder])
    (folder / "scores.json").write_text('{"judges": NaN}')
    with pytest.raises(EmosceneError, match="is damaged"):
        load_entries([folder])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settings",), "<script>"),
        (("cost", "bytes"), "<script>"),
        (("cost",), "much"),
        (("peak_memory_mb",), "<script>"),
        (("judged_by",), ["abc"]),
        (("images",), "many"),
        (("missing", "kernel"), {"a": 1}),
        (("judges", "emotion", "emotion_accuracy", "low"), "<script>"),
        (("judges", "emotion", "emotion_accuracy", "value"), 10**400),
        (("judges", "emotion", "shuffled"), {"value": 0.5}),
        (("judges", "emotion", "per_emotion", "awe"), {}),
        (("judges", "emotion", "confusion"), [[1]]),
        (("judges", "emotion", "reliability"), [[0.4, "<script>", 9]]),
        (("robustness", "emotion"), 5),
        (("metrics", "scene_accuracy", "by"), None),
        (("metrics",), []),
    ],
)
def test_scores_of_another_shape_are_said(place, value, tmp_path):
    folder = scored(tmp_path / "scores")
    told = json.loads((folder / "scores.json").read_text())
    inner = told
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (folder / "scores.json").write_text(json.dumps(told))
    with pytest.raises(EmosceneError, match=r"scores.json.* is damaged \(.*\): delete the folder, and evaluate"):
        reporting.report(folder, out=tmp_path / "report", on_message=print)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", "<script>"), ("asked", "joy"), ("scene", {}), ("kept", "yes"), ("seen", {"emotion": []})],
)
def test_a_verdict_of_another_shape_is_said(name, value, tmp_path):
    folder = scored(tmp_path / "scores")
    first, *rest = (folder / "verdicts.jsonl").read_text().splitlines(keepends=True)
    row = json.loads(first) | {name: value}
    (folder / "verdicts.jsonl").write_text(json.dumps(row) + "\n" + "".join(rest))
    with pytest.raises(EmosceneError, match="is damaged"):
        load_entries([folder])


@pytest.mark.parametrize("name", ["scores.json", "verdicts.jsonl"])
def test_scores_are_read_in_their_folder_alone(name, tmp_path):
    folder = scored(tmp_path / "scores")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(EmosceneError, match="a link that leads out of its folder"):
        load_entries([folder])
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(EmosceneError, match="it is a folder"):
        load_entries([folder])


def test_a_folder_that_is_given_twice_is_compared_once(tmp_path, monkeypatch):
    """However it is spelt; with itself, it would have differences of zero."""
    monkeypatch.chdir(tmp_path)
    scored(tmp_path / "lora")
    scored(tmp_path / "none", method="none")
    told = []
    out = reporting.report(["lora", "none", "lora/", str(tmp_path / "none")], out="report", on_message=told.append)
    assert run_dir.read_manifest(out)["scores"] == 2
    assert [line for line in told if "given twice" in line] == [
        "lora/ is given twice, and is compared once",
        f"{tmp_path / 'none'} is given twice, and is compared once",
    ]
    assert reporting.report(["./lora", "none"], out="report", on_message=told.append) == out
