"""Methods at the same emotion accuracy: interpolation by hand, draws that belong together, files of strangers."""

import json
from dataclasses import replace

import numpy as np
import pytest

from emoscene import reporting
from emoscene.core.file_reading import FileRefused
from emoscene.evaluation.matching import CurvePoint, collect_draws, find_crossings, interpolate_rows, match_accuracy
from emoscene.evaluation.metrics.base import Predictions, Value
from emoscene.evaluation.score_files import DRAWN, read_draws, save_draws
from emoscene.reporting.drawings import draw_front
from emoscene.reporting.evidence import matched_table
from emoscene.reporting.scores import load_entries
from test_reporting import figure, scored


def test_crossings_are_where_a_curve_first_reaches_its_height():
    accuracy = np.array([[0.1, 0.1, 0.6, 0.1, 0.5], [0.5, 0.2, 0.8, 0.9, 0.5], [0.9, 0.3, 0.9, 0.4, 0.5]])
    places = find_crossings(accuracy, np.array([0.7, 0.5, 0.5, 0.5, 0.5]))
    assert places == pytest.approx([1.5, np.nan, np.nan, 0.5, 0], nan_ok=True)
    values = np.array([[0, 0, 0, 0, 7], [10, 10, 10, 10, np.nan], [30, 30, 30, 30, 30.0]])
    assert interpolate_rows(values, places) == pytest.approx([20, np.nan, np.nan, 5, 7], nan_ok=True)


def points(spread, rng, draws=400):
    """Accuracy .125, .4, .8 and content 1, .9, .5 at scales 0, .5 and 1, with noise that all scales share."""
    noise = np.concatenate([[0], spread * rng.normal(size=draws)])
    made = []
    for scale, accuracy, content in ((0.5, 0.4, 0.9), (0.0, 0.125, 1.0), (1.0, 0.8, 0.5)):
        counts = {"frechet": 96 if scale == 0 else 768}
        drawn = {"emotion_accuracy judge": accuracy + noise, "scene_accuracy": np.full(1 + draws, content)}
        made.append(CurvePoint(scale, {**drawn, "frechet": np.full(1 + draws, 10 + 20 * scale)}, counts))
    return made, noise


def test_figures_are_interpolated_at_the_accuracy_of_another():
    made, noise = points(0.02, np.random.default_rng(0))
    found = match_accuracy(made, 0.6 + noise, 24, "judge")
    assert found["emotion_scale"].value == pytest.approx(0.75)
    assert found["scene_accuracy"].value == pytest.approx(0.7)
    assert found["frechet"].value == pytest.approx(25)
    assert np.isnan(found["scene_accuracy"].low)  # what all share cancels, and nothing is left to vary
    apart = match_accuracy(made, np.full(401, 0.6), 24, "judge")["scene_accuracy"]
    slope = 0.4 / 0.4  # content lost for each point of accuracy
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * 0.02 * slope, rel=0.25)
    low = match_accuracy(made, np.full(401, 0.3), 24, "judge")
    assert low["scene_accuracy"].value == pytest.approx(1 - 0.1 * (0.3 - 0.125) / 0.275)
    assert np.isnan(low["frechet"].value)  # between images of other numbers there is no distance
    never = match_accuracy(made, np.full(401, 0.95), 24, "judge")
    assert np.isnan([value.value for value in never.values()]).all()


def test_an_accuracy_that_few_draws_reach_has_no_interval():
    made, _ = points(0.0, np.random.default_rng(0))
    target = np.concatenate([[0.79], np.random.default_rng(1).normal(0.79, 0.05, 400)])
    found = match_accuracy(made, target, 24, "judge")["scene_accuracy"]
    assert (found.value, np.isnan(found.low)) == (pytest.approx(0.51), True)


def test_the_draws_of_all_figures_are_of_the_same_prompts():
    """A prompt whose images are all wrong and all without their scene: both figures sink in the same draws."""
    count, good = 256, np.arange(256) // 8 % 8 > 0
    asked = np.arange(count) % 8
    likely = np.eye(8)[np.where(good, asked, (asked + 1) % 8)]
    blank = np.zeros((count, 1))
    made = Predictions(np.arange(count) // 8 % 8, np.arange(count) // 64, asked, likely, blank, blank[:, 0], blank)
    made = replace(made, scene=np.eye(2)[np.where(good, 0, 1)], place=np.zeros(count, int))
    kept = Value(0.5, 0.4, 0.6, 3, "", np.arange(201.0))
    draws = collect_draws({"judge": made}, {"diversity": kept, "gradient": kept, "frechet": Value(1, 0, 2, 3)})
    assert set(draws) == {"emotion_accuracy judge", "scene_accuracy", "diversity"}
    assert draws["diversity"].tolist() == list(range(101))
    np.testing.assert_allclose(draws["emotion_accuracy judge"], draws["scene_accuracy"])
    assert draws["scene_accuracy"][0] == good.mean()
    assert draws["scene_accuracy"].std() > 0.05


def drawn(folder, accuracy, content):
    noise = np.random.default_rng(0).normal(0, 0.01, 100)
    rows = {"emotion_accuracy emotion": accuracy, "scene_accuracy": content}
    save_draws(folder / DRAWN, {name: np.concatenate([[value], value + noise]) for name, value in rows.items()})
    return folder


def test_the_report_brings_methods_to_the_accuracy_of_prompt(tmp_path):
    seeds = tuple(range(8))
    words = {"seeds": seeds}
    folders = [
        drawn(scored(tmp_path / "none", "none", 0.125, emotion_scale=1.0, **words), 0.125, 0.9),
        drawn(scored(tmp_path / "prompt", "prompt", 0.5, **words), 0.5, 0.8),
        drawn(scored(tmp_path / "half", right=0.25, emotion_scale=0.5, **words), 0.25, 0.85),
        drawn(scored(tmp_path / "one", right=0.75, **words), 0.75, 0.65),
    ]
    entries = load_entries(folders)
    head, rows = matched_table(entries)
    assert head == ["method", "emotion scale at prompt's accuracy", "scene kept", "Frechet distance"]
    assert [row[3] == "" for row in rows] == [False, True]  # of which no draws were kept
    assert [row[0] for row in rows] == ["prompt, which the others are brought to", "lora"]
    assert (rows[1][1].value, rows[1][2].value) == (0.75, 0.75)
    front = draw_front(entries)
    assert len(front.drawings) == 1
    assert str(front.drawings[0]).count("<title>") == 4
    out = reporting.report(folders, out=tmp_path / "r", on_message=print)
    text = (out / "report.md").read_text()
    assert "## At the same emotion accuracy" in text
    assert "emotion accuracy against scene kept" in (out / "index.html").read_text()
    few = load_entries(folders[:2] + folders[3:])
    assert matched_table(few) == ([], [])  # one emotion scale is no curve


def test_an_accuracy_out_of_reach_is_said(tmp_path):
    folders = [drawn(scored(tmp_path / "prompt", "prompt", 0.875), 0.875, 0.8)]
    for scale in (0.5, 1.0):
        folders.append(drawn(scored(tmp_path / f"{scale}", right=scale / 2, emotion_scale=scale), scale / 2, 0.7))
    _, rows = matched_table(load_entries(folders))
    assert rows[1][1] == "not between its emotion scales: evaluate smaller or larger ones"


def test_draws_of_strangers_are_read_with_care(tmp_path):
    assert read_draws(tmp_path) == {}
    file = tmp_path / DRAWN
    for bad in ({"a": np.zeros((2, 2))}, {"a": np.array(["text"])}, {"a": np.zeros(0)}, {"a": np.zeros(2**20)}):
        np.savez_compressed(file, **bad)
        with pytest.raises(FileRefused, match=r"draws\.npz is damaged .* evaluate into it again"):
            read_draws(tmp_path)
    np.savez(file, a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileRefused, match="damaged"):
        read_draws(tmp_path)
    file.write_bytes(b"PK no archive")
    with pytest.raises(FileRefused, match="damaged"):
        read_draws(tmp_path)
    save_draws(file, {"emotion_accuracy my judge": np.arange(3.0)})
    assert read_draws(tmp_path)["emotion_accuracy my judge"].tolist() == [0, 1, 2]


def test_shortcuts_are_rows_of_every_report_measured_or_not(tmp_path):
    known = {"six_numbers": {**figure(0.6), "by": "six numbers"}, "stereotypy": {**figure(0.25), "by": "six numbers"}}
    lora = scored(tmp_path / "lora", shortcuts=known)
    filtered = scored(tmp_path / "filter", "colour_filter", 0.25, needs={"stereotypy": "give --data with a folder"})
    text = (reporting.report([lora, filtered], out=tmp_path / "r", on_message=print) / "report.md").read_text()
    table = text.partition("## Shortcuts")[2].partition("##")[0]
    assert (
        "| none | not measured: emoscene evaluate --method none --out SCORES, with the other words of lora |" in table
    )
    assert "| best_of | not measured: emoscene evaluate --method best_of" in table
    assert "| colour_filter | 25.0% (15.0% to 35.0%) | 12.5% (2.5% to 22.5%) |  | give --data with a folder |" in table
    assert (
        "| lora | 75.0% (65.0% to 85.0%) | 12.5% (2.5% to 22.5%) | 60.0% (50.0% to 70.0%) | 0.25 (0.15 to 0.35) |"
        in table
    )
    assert "lora,six numbers,stereotypy,0.25" in (tmp_path / "r/scores.csv").read_text()


def test_what_is_above_the_ceiling_is_called_exaggeration(tmp_path):
    folders = []
    for method, right in (("prompt", 0.5), ("lora", 0.875)):
        folder = scored(tmp_path / method, method, right, needs={"votes_kl": "the data have no votes"})
        scores = json.loads((folder / "scores.json").read_text())
        above = {"value": right - 0.75, "low": right - 0.85, "high": right - 0.65, "n": 48, "by": "emotion"}
        scores["judges"]["emotion"] |= {"ceiling": figure(0.75), "above_ceiling": above}
        (folder / "scores.json").write_text(json.dumps(scores))
        folders.append(folder)
    text = (reporting.report(folders, out=tmp_path / "r", on_message=print) / "report.md").read_text()
    table = text.partition("## Beside real images")[2].partition("##")[0]
    assert "| method | emotion accuracy | ceiling | exaggeration | KL(votes, reading) |" in table
    assert "| none | the data have no votes |" in table.splitlines()[4]
    assert "| 0.125 (0.025 to 0.225) | the data have no votes |" in table.splitlines()[5]


def test_a_pair_is_ordered_or_tied(tmp_path):
    """Of eight prompts all agree, so p = 2 of 2^8 ways, twice for two questions: ordered; a half of each is tied."""
    found = []
    for method, right in (("lora", 0.75), ("prompt", 0.5), ("guidance", 0.75)):
        folder = scored(tmp_path / method, method, right)
        rows = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
        more = [{**row, "prompt": f"{row['prompt']} {number}", "kept": None} for row in rows for number in range(4)]
        (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
        found.append(folder)
    text = (reporting.report(found, out=tmp_path / "r", on_message=print) / "report.md").read_text()
    table = text.partition("## Differences")[2].partition("##")[0]
    assert "| p, Holm | order | images |" in table
    ordered = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[4] for line in table.splitlines() if "\u2212" in line
    }
    assert ordered == {
        "prompt \u2212 lora": "lora is higher",
        "guidance \u2212 lora": "tied",
        "guidance \u2212 prompt": "guidance is higher",
    }
