"""Studies with people: the page, the answers, and the figures that come of them."""

import contextlib
import json
import math
import os
import re
import shutil
import threading
from base64 import b64decode
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from shutil import which

import choix
import numpy as np
import pytest
from benchmarks import study as simulation
from fastapi.testclient import TestClient
from PIL import Image

import emoscene
from emoscene.cli.main import main
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.study import analysis, design, making, power, preferences
from emoscene.evaluation.study.agreement import krippendorff_alpha
from emoscene.evaluation.study.answers import DATABASE, check_answers, compute_checksum, read_answers
from emoscene.evaluation.study.making import Study, make_study, read_study
from emoscene.reporting.people import load_all
from emoscene.web import bind_socket, study_server
from emoscene.web.allowed_hosts import AllowedHosts
from emoscene.web.server import build_server
from test_reporting import scored

CHROMIUM = os.environ.get("CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="no browser")
PROMPTS = [f"a lake, number {number}" for number in range(10)]


def fill(folder: Path, shade: int, prompts: list[str] = PROMPTS, emotions: tuple[str, ...] = EMOTIONS) -> Path:
    """Images of a method, with what was asked of each."""
    for number, prompt in enumerate(prompts):
        for place, emotion in enumerate(emotions):
            row = GenerationParams(prompt=prompt, emotion=emotion, seed=1)
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", (24, 24), (25 * number, 30 * place, shade))
            save_image(image, folder / f"{emotion}-{number}.png", row)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("methods")
    return [fill(root / name, shade) for name, shade in (("plain", 0), ("lora", 99), ("guidance", 200))]


@pytest.fixture(scope="module")
def studies(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each design."""
    root, made = tmp_path_factory.mktemp("studies"), {}
    for name in design.DESIGNS:
        made[name] = make_study(folders, root / name, name, on_message=str)
    return made


def answer(study: Study, rater: int, chooser, passes: bool = True, block: int | None = None) -> dict:
    """What the page would save for a rater who answers by a function of the trial."""
    block = rater % len(study.blocks) if block is None else block
    given = []
    for name in study.blocks[block]:
        given.append({"trial": name, "value": chooser(study.trials[name]), "ms": 1500 + rater})
    for name, expected in study.checks.items():
        given.append({"trial": name, "value": expected if passes else "wrong", "ms": 900})
    table = {"study": study.id, "version": 1, "rater": f"{rater:016x}", "block": block, "began": "a", "ended": "b"}
    table |= {"screen": [360, 740], "answers": given}
    return {**table, "checksum": compute_checksum(table)}


def write(folder: Path, tables: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(tables):
        (folder / f"{number:03d}.json").write_text(json.dumps(table))
    return folder


# Numbers

OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
"""Four observers of twelve units, from Krippendorff 2011, Computing Krippendorff's alpha-reliability, part C."""


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(level, alpha):
    units, values = [], []
    for observer in OBSERVERS:
        assert len(observer) == 12
        for unit, value in enumerate(observer):
            if value != ".":
                units.append(unit)
                values.append(int(value))
    assert krippendorff_alpha(units, values, level) == pytest.approx(alpha, abs=0.0005)


def test_alpha_at_its_ends():
    assert krippendorff_alpha([0, 0, 1, 1], [1, 1, 2, 2]) == 1
    assert krippendorff_alpha([0, 0, 1, 1], [1, 2, 1, 2]) < 0
    assert np.isnan(krippendorff_alpha([0, 1], [1, 2])) and np.isnan(krippendorff_alpha([0, 0], [1, 1]))
    rng = np.random.default_rng(0)
    chance = krippendorff_alpha(np.repeat(np.arange(2000), 3).tolist(), rng.integers(0, 4, 6000).tolist())
    assert abs(chance) < 0.03


def simulate(rng: np.random.Generator, strengths: np.ndarray, raters: int = 10, prompts: int = 12):
    rows = []
    for rater in range(raters):
        for prompt in range(prompts):
            for one, other in combinations(range(len(strengths)), 2):
                first = rng.random() < 1 / (1 + np.exp(strengths[other] - strengths[one]))
                rows.append((one, other, rater, prompt) if first else (other, one, rater, prompt))
    winner, loser, rater, prompt = np.array(rows).T
    return preferences.Comparisons(winner, loser, rater, prompt, np.arange(len(rows)), len(strengths))


def test_the_draws_are_fitted_as_choix_fits_one_table():
    pairs = simulate(np.random.default_rng(0), np.array([0.0, 0.5, -0.7, 1.0]))
    weights = np.random.default_rng(1).integers(0, 4, (5, len(pairs.winner))).astype(float)
    together = preferences._fit_draws(pairs, weights)
    for row, table in zip(weights, together, strict=True):
        wins = np.zeros((4, 4))
        np.add.at(wins, (pairs.winner, pairs.loser), row)
        strengths = choix.ilsr_pairwise_dense(wins + 0.5 * (1 - np.eye(4)))
        assert np.allclose(table, 1 / (1 + np.exp(strengths[None, :] - strengths[:, None])), atol=1e-6)


def test_two_methods_have_the_share_of_wins_and_are_mirrors():
    pairs = simulate(np.random.default_rng(2), np.array([0.4, 0.0]))
    both, table, ends = preferences.measure_preferences(pairs, 200)
    won = int((pairs.winner == 0).sum())
    assert both[0].value == pytest.approx((won + 0.5) / (len(pairs.winner) + 1), abs=1e-6)
    assert both[0].value + both[1].value == pytest.approx(1)
    assert both[0].interval[0] < both[0].value < both[0].interval[1]
    assert both[0].interval[0] + both[1].interval[1] == pytest.approx(1, abs=1e-6)
    assert table[0, 1] == pytest.approx(both[0].value) and ends[0, 1, 0] == pytest.approx(both[0].interval[0])
    mirrored = replace(pairs, winner=pairs.loser, loser=pairs.winner)
    assert preferences.measure_preferences(mirrored, 200)[0][1].value == pytest.approx(both[0].value)


def test_noise_of_single_answers_counts_once():
    """Without effects of raters and prompts, the interval is about that of independent answers."""
    widths = []
    for seed in range(6):
        pairs = simulate(np.random.default_rng(seed), np.array([0.0, 0.0]), 20, 24)
        (one, _), _, _ = preferences.measure_preferences(pairs, 300, seed)
        widths.append(one.interval[1] - one.interval[0])
    independent = 2 * 2.09 * 0.5 / np.sqrt(480)  # Student's quantile with 19 degrees of freedom
    assert np.mean(widths) / independent == pytest.approx(1, abs=0.2)


def test_few_raters_have_no_interval():
    both, _, ends = preferences.measure_preferences(simulate(np.random.default_rng(0), np.array([0.4, 0.0]), 7, 30))
    assert np.isnan(both[0].interval).all() and np.isnan(ends).all()


def test_power_grows_with_raters_prompts_and_effect_and_shrinks_with_what_differs():
    plan = power.Plan(0.6, 20)
    start = power.compute_power(plan)
    assert 0.5 < start < 0.95
    for better in ({"raters": 60}, {"prompts": 60}, {"effect": 0.65}, {"rater_sd": 0.0}, {"prompt_sd": 0.0}):
        assert power.compute_power(replace(plan, **better)) > start
    raters = power.find_raters(plan, 0.8)
    assert power.compute_power(replace(plan, raters=raters)) >= 0.8
    assert power.compute_power(replace(plan, raters=raters - 1)) < 0.8


def test_power_without_effects_is_the_textbook_s():
    """No raters' or prompts' own taste, many of both: a z-test of a share against one half."""
    plan = power.Plan(0.55, 400, 2, 400, 0.0, 0.0)
    z = (np.log(0.55 / 0.45)) * np.sqrt(0.55 * 0.45 * 800)
    expected = 0.5 * (1 + math.erf((z - 1.96) / np.sqrt(2)))
    assert power.compute_power(plan) == pytest.approx(expected, abs=0.01)


# The folder of a study


def test_blocks_are_balanced_and_hold_each_trial_once(studies):
    study = read_study(studies["2afc"])
    assert len(study.trials) == 3 * 8 * 10
    assert sorted(name for block in study.blocks for name in block) == sorted(study.trials)
    assert {len(block) for block in study.blocks} == {40}
    for block in study.blocks:
        kinds = Counter()
        for name in block:
            trial = study.trials[name]
            kinds[(tuple(study.items[place].source for place in trial.items), trial.emotion)] += 1
        assert len(kinds) == 24 and set(kinds.values()) <= {1, 2}
    for trial in study.trials.values():
        one, other = (study.items[place] for place in trial.items)
        assert one.source != other.source
        assert (one.prompt, one.asked) == (other.prompt, other.asked) == (trial.prompt, trial.emotion)


@pytest.mark.parametrize("name", design.DESIGNS)
def test_the_page_is_small_and_keeps_the_secret(name, studies, folders):
    page = (studies[name] / "index.html").read_text()
    images = re.findall(r"data:image/webp;base64,[A-Za-z0-9+/=]+", page)
    assert len(page) - sum(map(len, images)) <= 200_000
    shown = b64decode(images[0].partition(",")[2])
    assert b"trainedAlgorithmicMedia" in shown
    for secret in ("plain", "lora", "guidance", "lake", str(folders[0])):
        assert secret not in re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", page)
        assert secret.encode() not in shown
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "default-src 'none'" in page


def test_a_study_is_the_same_again_and_its_text_cannot_break_out(folders, tmp_path):
    (tmp_path / "consent.txt").write_text("<script>alert(1)</script>\nI agree & more")
    made = make_study(folders[:2], tmp_path / "study", limit=24, consent=tmp_path / "consent.txt", on_message=str)
    page = (made / "index.html").read_bytes()
    assert b"<script>alert(1)" not in page and b"I agree &amp; more" in page
    again = make_study(folders[:2], tmp_path / "other", limit=24, consent=tmp_path / "consent.txt", on_message=str)
    assert (again / "index.html").read_bytes() == page and read_study(again).id == read_study(made).id
    assert len(read_study(made).trials) == 24
    other = make_study(folders[:2], tmp_path / "third", limit=23, on_message=str)
    assert read_study(other).id != read_study(made).id


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["make"], "study make needs folders"),
        (["make", "plain"], "study make needs --out"),
        (["make", "plain", "--out", "o"], "there is nothing to compare: give at least two folders"),
        (["make", "plain", "plain", "--out", "o"], "is given twice"),
        (["make", "nowhere", "--out", "o"], "it is not there"),
        (["make", "plain", "lora", "--out", "o", "--design", "3afc"], "did you mean '2afc'"),
        (["make", "plain", "--out", "o", "--port", "1"], "--port belongs to study serve, not to make"),
        (["mke", "plain"], "did you mean 'make'"),
        (["plan"], "study plan needs --effect"),
        (["plan", "--effect", "0.4"], "effect=0.4 is off"),
        (["plan", "--effect", "0.6", "--prompts", "4"], "prompts=4 is off: below 8"),
        (["plan", "--effect", "0.51", "--prompts", "8"], "no number of raters gives a power of 0.8 with 8 prompts"),
        (["serve"], "study serve needs one STUDY"),
        (["serve", "plain"], "plain"),
        (["analyse", "plain", "--out", "o"], "study analyse needs --study"),
    ],
)
def test_what_is_off_is_one_sentence(words, told, folders, monkeypatch, capsys):
    monkeypatch.chdir(folders[0].parent)
    assert main(["study", *words]) in {1, 2}
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1, error
    assert not Path("o").exists()


def test_plan_is_printed(capsys):
    assert main(["study", "plan", "--effect", "0.6", "--raters", "24"]) == 0
    assert re.search(r"24 raters x 40 pairs of 24 prompts: .* power of 0\.8\d", capsys.readouterr().out)
    assert main(["study", "plan", "--effect", "0.6", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["power"] >= 0.8 and facts["pairs"] == 40 * facts["raters"]


# Answers


def likes_lora(study: Study, rng: np.random.Generator):
    """A rater who mostly prefers the second method, then the third, and sees what was asked three times of four."""

    def choose(trial: design.Trial):
        strengths = [(0.0, 2.0, 1.0)[study.items[place].source] + rng.gumbel() for place in trial.items]
        if study.design == "label":
            return trial.emotion if rng.random() < 0.75 else "none"
        order = np.argsort(strengths)[::-1].tolist()
        return order if study.design == "rank" else order[0]

    return choose


def test_answers_that_cannot_be_used_are_told_and_the_others_count(studies, tmp_path):
    study = read_study(studies["2afc"])
    good = [answer(study, rater, lambda trial: 0) for rater in range(4)]
    edited = json.loads(json.dumps(good[3]))
    edited["answers"][5]["value"] = 1
    other = {**good[2], "study": "0" * 16}
    again, changed = dict(good[0]), answer(study, 1, lambda trial: 1)
    lacking = {**good[2], "answers": good[2]["answers"][:-1]}
    lacking["checksum"] = compute_checksum(lacking)
    odd = answer(study, 9, lambda trial: 7)
    folder = write(tmp_path / "answers", [*good[:3], edited, other, again, changed, lacking, odd])
    (folder / "999.json").write_text("{")
    told: list[str] = []
    read = read_answers([folder], study, told.append)
    assert [one.rater for one in read] == [table["rater"] for table in good[:3]]
    wanted = [
        "003.json was changed after the page saved it: ask the rater",
        "004.json is of another study",
        "005.json holds the same answers as",
        "006.json is by the same rater as",
        "007.json does not answer each question of its block once",
        "008.json answers .* with 7, which is no answer",
        "999.json is no JSON",
    ]
    assert len(told) == len(wanted)
    for sentence, pattern in zip(told, wanted, strict=True):
        assert re.search(pattern, sentence) and "\n" not in sentence
    with pytest.raises(UsageError, match="no answers can be used"):
        read_answers([write(tmp_path / "bad", [edited])], study, str)


@pytest.mark.parametrize("name", design.DESIGNS)
def test_answers_become_figures(name, studies, tmp_path, capsys):
    study, rng = read_study(studies[name]), np.random.default_rng(0)
    tables = [answer(study, rater, likes_lora(study, rng)) for rater in range(12)]
    tables.append(answer(study, 20, likes_lora(study, rng), passes=False))
    folder = write(tmp_path / "answers", tables)
    line = ["study", "analyse", str(folder), "--study", str(studies[name]), "--out", str(tmp_path / "people")]
    assert main(line) == 0
    assert "1 of 13 raters failed attention checks and was left out" in capsys.readouterr().err
    table = json.loads((tmp_path / "people/people.json").read_text())
    shown = sum(len(study.blocks[rater % len(study.blocks)]) for rater in range(12))
    assert (table["raters"], table["left_out"], table["answers"]) == (12, 1, shown)
    figures = [judged["figures"] for judged in table["judged"]]
    if name == "label":
        for one in figures:
            assert one["emotion_accuracy"]["low"] < 0.75 < one["emotion_accuracy"]["high"]
            assert one["none_of_these"]["value"] == pytest.approx(1 - one["emotion_accuracy"]["value"])
            right = one["emotion_accuracy"]["value"] * one["emotion_accuracy"]["n"]
            assert np.trace(one["confusion"]) == np.sum(one["confusion"]) == pytest.approx(right)
        assert set(table["judged"][1]["seen"].values()) <= set(EMOTIONS)
    else:
        values = [one["preference"]["value"] for one in figures]
        expected = np.array([0.0, 2.0, 1.0])
        truth = 1 / (1 + np.exp(expected[None, :] - expected[:, None]))
        assert values == pytest.approx(((truth.sum(1) - 0.5) / 2).tolist(), abs=0.08)
        assert figures[1]["preference"]["low"] > 0.5 > figures[0]["preference"]["high"]
        names = [(win["one"], win["other"]) for win in table["wins"]]
        assert names == [("plain", "lora"), ("plain", "guidance"), ("lora", "guidance")]
    text = (tmp_path / "people/report.md").read_text()
    for word in ("Krippendorff", "payment", "12, and 1 left out", "attention checks a rater"):
        assert word in text
    assert main(line) == 0
    assert main(["report", str(tmp_path / "people"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "people" in page and "12 raters gave" in page
    assert ("preferred (people)" in page) == (name != "label")


def test_few_raters_are_cautioned(studies, tmp_path):
    study, told = read_study(studies["2afc"]), list[str]()
    folder = write(tmp_path / "answers", [answer(study, rater, lambda trial: 0) for rater in range(3)])
    out = analysis.analyse_study([folder], studies["2afc"], tmp_path / "out", on_message=told.append)
    assert "no figure has an interval: 3 raters and 10 prompts" in told[-1]
    assert json.loads((out / "people.json").read_text())["wins"][0]["low"] is None


def test_people_are_a_judge_beside_the_others(tmp_path):
    """Scores with images, a study of them, and one report of both."""
    places = []
    for number, name in enumerate(("lora", "prompt")):
        scored(tmp_path / name, name)
        for file in (tmp_path / name / "pictures").iterdir():
            image = Image.open(file)
            image.putpixel((0, 0), (255, number, 0))
            image.save(file)
        places.append(str(tmp_path / name))
    assert main(["study", "make", *places, "--design", "label", "--out", str(tmp_path / "study")]) == 0
    study = read_study(tmp_path / "study")
    raters = range(len(study.blocks))
    folder = write(tmp_path / "answers", [answer(study, rater, lambda trial: trial.emotion) for rater in raters])
    emoscene.study("analyse", folder, study=tmp_path / "study", out=tmp_path / "people", on_message=str)
    entries = load_all([*places, tmp_path / "people"])
    assert [entry.name for entry in entries] == ["lora", "prompt"]
    for entry in entries:
        assert list(entry.scores["judges"]) == ["emotion", "people"]
        assert entry.figure_of_judge("emotion_accuracy", "people")["value"] == 1
        assert all(row["seen"]["people"] == row["asked"] for row in entry.rows)
    emoscene.report([*places, tmp_path / "people"], out=tmp_path / "report", on_message=str)
    assert "emotion accuracy (people)" in (tmp_path / "report/report.md").read_text()


def test_damaged_files_of_a_study_are_one_sentence(studies, tmp_path):
    copy = shutil.copytree(studies["2afc"], tmp_path / "study")
    text = json.loads((copy / "study.json").read_text())
    trial = {"id": "t0", "items": [999], "emotion": "awe", "prompt": "a"}
    for change in ({"trials": [trial]}, {"design": "x"}, {"items": 3}):
        (copy / "study.json").write_text(json.dumps({**text, **change}))
        with pytest.raises(EmosceneError, match=r"study\.json is damaged|study\.json.*make the study again"):
            read_study(copy)


# The server


@pytest.fixture
def served(studies, tmp_path):
    folder, clock = shutil.copytree(studies["2afc"], tmp_path / "study"), [0.0]
    app = study_server.build_app(folder, AllowedHosts(frozenset({"testserver"})), str, lambda: clock[0])
    with TestClient(app) as client:
        yield client, read_study(folder), folder, clock


def test_the_server_keeps_answers_once(served):
    client, study, folder, _ = served
    page = client.get("/")
    assert 'data-post="answers" data-block="0"' in page.text and 'data-block="1"' in client.get("/").text
    assert page.headers["cache-control"] == "no-store"
    table = answer(study, 5, lambda trial: 0)
    assert client.post("/answers", json=table).status_code == 200
    assert client.post("/answers", json=table).status_code == 200
    other = answer(study, 5, lambda trial: 1)
    refused = client.post("/answers", json=other)
    assert refused.status_code == 409 and "other answers before" in refused.json()["detail"]
    broken = client.post("/answers", json={**table, "study": "x" * 16})
    assert broken.status_code == 400 and "is of another study" in broken.json()["detail"]
    assert client.post("/answers", content=b"{").status_code == 400
    assert client.post("/answers", content=b"\xff").status_code == 400
    assert client.post("/answers", content=b"0" * 1_000_001).status_code == 413
    (read,) = read_answers([folder / DATABASE], study, str)
    assert read == check_answers(table, study, "it")
    assert analysis.analyse_study([folder], folder, folder.parent / "out", on_message=str).is_dir()


def test_the_server_serves_nothing_else(served):
    client, *_ = served
    names = ("study.json", "manifest.json", "answers", "answers.sqlite", "docs", "openapi.json", "../study.json")
    for path in [f"/{name}" for name in names]:
        assert client.get(path).status_code in {404, 405}
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert client.post("/answers", json={}, headers={"origin": "http://evil.example"}).status_code == 403


def test_the_server_bounds_how_often(served):
    client, study, _, clock = served
    codes = [client.post("/answers", json={}).status_code for _ in range(study_server.SENDINGS + 1)]
    assert codes == [400] * study_server.SENDINGS + [429]
    clock[0] += study_server.WINDOW + 1
    assert client.post("/answers", json=answer(study, 1, lambda trial: 0)).status_code == 200


def test_a_rate_limit_forgets_and_stays_small():
    limit = study_server.RateLimit(1, lambda: 0.0)
    for number in range(study_server.CLIENTS + 10):
        assert limit.allow(str(number))
    assert len(limit.times) <= study_server.CLIENTS + 1
    assert not limit.allow(str(study_server.CLIENTS + 9)) and limit.allow("0")


def test_blocks_are_handed_out_evenly(tmp_path):
    store = study_server.AnswerStore(tmp_path, 3)
    assert [store.choose_block() for _ in range(6)] == [0, 1, 2, 0, 1, 2]


# In a browser


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
    with driver.sync_playwright() as play:
        one = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield one
        one.close()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("name", design.DESIGNS)
@pytest.mark.parametrize("way", ["keyboard", "finger"])
def test_a_study_is_taken_to_its_end_on_a_phone(name, way, studies, browser, tmp_path):
    """360 px wide, from a file: no request, nothing wider than the screen, and the saved answers pass every check."""
    study = read_study(studies[name])
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, accept_downloads=True)
    page, requests, faults = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto((studies[name] / "index.html").as_uri() + "?block=1")
    assert "Taking part is voluntary" in page.inner_text("#consent")
    assert page.is_hidden("#trials")
    page.focus("#agree")
    page.keyboard.press("Enter")
    total = len(study.blocks[1]) + len(study.checks)
    for number in range(total):
        assert page.inner_text("#count") == f"{number + 1} of {total}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        buttons = "[...document.querySelectorAll('#trials button:not([hidden])')]"
        sizes = page.evaluate(f"{buttons}.map(button => button.getBoundingClientRect().height)")
        assert min(sizes) >= 44
        if number == 3:
            page.keyboard.press("Backspace")
            assert page.inner_text("#count") == f"3 of {total}"
            take(page, name, way)
        take(page, name, way)
    page.wait_for_selector("#end:not([hidden])")
    assert page.inner_text("#state") == "Save the file and send it to whoever asked you."
    with page.expect_download() as waiting:
        page.click("#save")
    waiting.value.save_as(tmp_path / "answers.json")
    (read,) = read_answers([tmp_path / "answers.json"], study, str)
    assert read.block == 1 and analysis.is_attentive(study, read)
    assert json.loads(page.input_value("#text"))["checksum"] == read.checksum
    assert not faults
    outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == [] and len([url for url in requests if url.startswith("file:")]) == 1
    context.close()


def take(page, name: str, way: str) -> None:
    """Answer the trial that is shown, an attention check as it says."""
    question = page.inner_text("#question")
    place = 1
    if "checks that you read" in question:
        if name == "2afc":
            place = 2 if "right" in question else 1
        elif name == "label":
            (word,) = re.findall("“(.*)”", question)
            place = EMOTIONS.index(word) + 1
        else:
            place = int(re.findall(r"image (\d)", question)[0])
    places = [place]
    if name == "rank":
        places += [other for other in (1, 2, 3) if other != place]
    for one in places:
        if way == "keyboard":
            page.keyboard.press(str(one))
        else:
            page.locator("#labels button" if name == "label" else "#images button").nth(one - 1).tap()


@pytest.mark.slow
@needs_browser
def test_served_answers_arrive_and_a_reload_goes_on(studies, browser, tmp_path):
    folder = shutil.copytree(studies["2afc"], tmp_path / "study")
    listener = bind_socket("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = build_server(study_server.build_app(folder, AllowedHosts(), str))
    listener.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    server.capture_signals = contextlib.nullcontext
    thread.start()
    try:
        context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
        page, requests = context.new_page(), []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/")
        page.tap("#agree")
        for _ in range(5):
            take(page, "2afc", "finger")
        page.reload()
        page.tap("#agree")
        assert page.inner_text("#count").startswith("6 of ")
        while page.is_visible("#trials"):
            take(page, "2afc", "keyboard")
        page.wait_for_function("document.getElementById('state').textContent.includes('are sent')")
        own = f"http://127.0.0.1:{port}/"
        assert {url for url in requests if not url.startswith("data:")} == {own, own + "answers"}
        (read,) = read_answers([folder / DATABASE], read_study(folder), str)
        assert analysis.is_attentive(read_study(folder), read)
        context.close()
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.slow
def test_intervals_cover_and_power_is_as_planned():
    """200 studies of two kinds and of one plan; `python -m benchmarks.study` simulates 2,000 of each."""
    for kind in (simulation.KINDS[2], simulation.KINDS[3]):
        covers, width = simulation.measure_coverage(kind, 200)
        assert 0.90 <= covers <= 0.99 and 0 < width < 0.3
    plan = simulation.PLANS[1]
    assert simulation.measure_power(plan, 200) == pytest.approx(power.compute_power(plan), abs=0.1)


def test_the_estimate_of_minutes_and_the_limits(folders, tmp_path):
    assert making._estimate_minutes(43) == 4
    (tmp_path / "empty.txt").write_text(" ")
    with pytest.raises(UsageError, match=r"is no consent text: give a text file of 1 to 20,000 characters"):
        make_study(folders, tmp_path / "study", consent=tmp_path / "empty.txt", on_message=str)
    assert not (tmp_path / "study").exists()
