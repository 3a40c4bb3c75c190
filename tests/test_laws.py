"""The laws: what decides whether one holds, and what each measures, on inputs whose answer is known."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from emoscene.evaluation.metrics.base import Value
from emoscene.methods.lora import LoRA
from emoscene.pipeline.generate import load
from emoscene_mini.laws import __main__ as command
from emoscene_mini.laws import guidance, mixing, sources, timing
from emoscene_mini.laws.law import Finding, law_holds
from emoscene_mini.laws.page import load_findings, save_findings, write_page
from emoscene_mini.laws.statistics import measure_rows
from emoscene_mini.laws.trajectories import make_prediction, mean_prediction, run_steps, start_steps


def finding(low, high, above=0.0):
    return Finding("a figure", Value((low + high) / 2, low, high, 8), above)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return load(str(tiny.make(tmp_path_factory.mktemp("base"))), method="none")


def test_a_finding_holds_where_its_whole_interval_is_above():
    assert finding(0.01, 0.2).holds
    assert not finding(-0.01, 0.2).holds
    assert not finding(0.01, 0.2, above=0.05).holds
    assert not Finding("without an interval", Value(1.0, float("nan"), float("nan"), 3)).holds
    assert law_holds([finding(0.1, 0.2), finding(0.3, 0.4)])
    assert not law_holds([finding(0.1, 0.2), finding(-0.3, 0.4)])


def test_rows_have_an_interval_of_their_groups():
    values = np.repeat(np.arange(8.0), 4)
    value = measure_rows(values, np.repeat(np.arange(8), 4))
    assert value.value == 3.5
    assert 0.5 < 3.5 - value.low < 3.5
    assert value.high - 3.5 > 0.5
    assert np.isnan(measure_rows(values[:28], np.repeat(np.arange(7), 4)).low)


def test_steps_in_parts_are_the_pipelines_own_trajectory(pipe):
    rows = pipe.plan("a dog", seed=3, num_inference_steps=6, guidance_scale=4.0, sampler="ddim")
    *_, whole = pipe.denoise(rows)
    scheduler, x = start_steps(pipe, rows)
    predict = make_prediction(pipe, rows)
    x = run_steps(pipe, scheduler, predict, x, 0, 2)
    x = run_steps(pipe, scheduler, predict, x, 2, 6)
    torch.testing.assert_close(x, whole, atol=1e-5, rtol=1e-5)


def test_the_mean_of_two_equal_predictions_is_either(pipe):
    rows = pipe.plan("a dog", seed=3)
    predict = make_prediction(pipe, rows)
    scheduler, x = start_steps(pipe, rows)
    t = scheduler.timesteps[0]
    torch.testing.assert_close(mean_prediction([predict, predict])(x, t), predict(x, t))
    half = mean_prediction([lambda x, t: x, lambda x, t: 3 * x])
    assert torch.equal(half(x, t), 2 * x)


def test_a_switch_after_no_step_is_the_second_prompt(pipe, monkeypatch):
    monkeypatch.setattr(timing, "SWITCHES", (0, 20))
    first, second, after_none, after_all = timing.generate_switched(pipe, "a dog", "a cat on a boat", 3)
    assert np.array_equal(np.asarray(after_none), np.asarray(second))
    assert np.array_equal(np.asarray(after_all), np.asarray(first))


def test_nearer_colours_are_counted():
    ends = np.zeros(6), np.full(6, 10.0)
    rows = np.array([[1.0] * 6, [9.0] * 6, [8.0] * 6, [7.0] * 6])
    assert timing.share_nearer(rows, to=ends[1], than=ends[0]) == 0.75


def test_merged_halves_are_the_mean_of_both_updates(pipe):
    torch.manual_seed(0)
    loras = [LoRA.from_scratch(LoRA.Config(rank=mixing.RANK), pipe.base) for _ in range(2)]
    for lora in loras:
        for _, pair in lora.layers:
            torch.nn.init.normal_(pair.lora_A.weight)
            torch.nn.init.normal_(pair.lora_B.weight)
        torch.nn.init.normal_(lora.tokens)
    merged = mixing.merge_halves(pipe.base, *loras, ("awe", "fear"))
    for (_, mixed), (_, one), (_, other) in zip(merged.layers, loras[0].layers, loras[1].layers, strict=True):
        torch.testing.assert_close(mixed.delta(), (one.delta() + other.delta()) / 2)
    assert torch.equal(merged.tokens[1], loras[0].tokens[1])
    assert torch.equal(merged.tokens[6], loras[1].tokens[6])


def test_the_lesser_of_both_probabilities_counts():
    likely = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    both = mixing.probability_of_both(likely, np.array([0, 1]), [(0, 1), (1, 2)])
    assert both.tolist() == [0.3, 0.1]


def test_clipped_values_are_counted(tmp_path):
    pixels = np.full((4, 4, 3), 100, np.uint8)
    pixels[0, 0] = (0, 255, 100)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    assert guidance.clipped_share(tmp_path / "one.png") == pytest.approx(2 / 48)


def test_other_sources_change_an_image_and_keep_what_it_shows():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 255, 64)[None, :, None] * np.ones((64, 1, 3))
    image = Image.fromarray((ramp + rng.normal(0, 3, ramp.shape)).clip(0, 255).astype(np.uint8))
    for change in sources.STYLES.values():
        changed = np.asarray(change(image), float)
        assert changed.shape == (64, 64, 3)
        assert np.abs(changed - np.asarray(image, float)).mean() > 5
        assert np.corrcoef(changed.mean(2).ravel(), ramp.mean(2).ravel())[0, 1] > 0.9
        assert np.array_equal(changed, np.asarray(change(image), float))


def test_findings_come_back_and_stand_on_the_page(tmp_path):
    known = {"recall": [finding(0.1, 0.2)], "mixing": [finding(-0.1, 0.2)]}
    save_findings(tmp_path / "laws.json", known)
    assert load_findings(tmp_path / "laws.json") == known
    assert load_findings(tmp_path / "nothing.json") == {}
    write_page(tmp_path / "laws.md", command.LAWS, known)
    page = (tmp_path / "laws.md").read_text()
    assert "1 of 2 hold." in page
    assert page.count("| holds |") == 1
    assert page.count("**does not hold**") == 1
    assert json.loads((tmp_path / "laws.json").read_text())["recall"][0]["value"]["value"] == pytest.approx(0.15)


def test_only_the_laws_asked_are_measured_and_the_others_kept(tmp_path):
    class Lab:
        out = tmp_path / "lab"
        on_message = print

    laws = command.measure_laws
    own = tuple(type(law)(law.name, "", "", "", lambda lab: [finding(1, 2)]) for law in command.LAWS)
    original, command.LAWS = command.LAWS, own
    try:
        assert list(laws(Lab(), ["timing"])) == ["timing"]
        assert sorted(laws(Lab(), ["recall"])) == ["recall", "timing"]
        assert len(laws(Lab())) == 7
    finally:
        command.LAWS = original
