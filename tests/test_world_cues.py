"""The chances of the cues, the exact reading and the votes, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from emoscene.core.taxonomy import EMOTIONS
from emoscene_mini.world import SCENES, cues, plan
from emoscene_mini.world.moods import GROUPS, MOODS, NEUTRAL, Group, Mood
from emoscene_mini.world.plan import read_cues
from emoscene_mini.world.votes import VIEWERS, cast_votes, exact_posterior


def test_chance_to_follow_grows_evenly_with_intensity() -> None:
    group = Group(0.4, 0.75, 0.5)
    assert group.follow(0.3) == pytest.approx(0.4) and group.follow(1.0) == pytest.approx(0.75)
    assert group.follow(0.65) == pytest.approx(0.575)
    assert group.follow(0.0) == pytest.approx(0.25) and Group(0.1, 0.9, 0).follow(0.0) == 0


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("group", [*GROUPS, "face"])
def test_every_row_and_every_likelihood_sums_to_one(group: str, scene: str) -> None:
    table = cues.cue_table(group, scene)
    assert len(set(table.outcomes)) == len(table.outcomes)
    assert np.allclose(table.rows.sum(1), 1) and np.allclose(table.likelihood.sum(2), 1)


def test_things_are_drawn_without_replacement() -> None:
    mood = Mood(NEUTRAL.palettes, {}, {"aurora": 1, "comet": 3}, {}, {}, {}, {})
    chances = cues._outcome_chances("things", "beach", mood)
    assert chances == pytest.approx({("aurora",): 1 / 8, ("comet",): 3 / 8, ("aurora", "comet"): 1 / 2})
    sparse = Mood(NEUTRAL.palettes, {}, {"": 1, "comet": 3}, {}, {}, {}, {})
    assert cues._outcome_chances("things", "beach", sparse) == pytest.approx({(): 1 / 4, ("comet",): 3 / 4})


def test_a_room_and_a_portrait_leave_out_what_cannot_be() -> None:
    room, portrait = cues.cue_table("things", "room"), cues.cue_table("things", "portrait")
    assert not any("bare_trees" in outcome or "comet" in outcome for outcome in room.outcomes)
    assert not any("flames" in outcome or "aurora" in outcome for outcome in portrait.outcomes)
    views = cues.cue_table("composition", "portrait")
    plain, weights = views.outcomes.index("plain"), MOODS["awe"].compositions
    assert "vast" not in views.outcomes
    assert views.rows[1, plain] == pytest.approx(weights["vast"] / sum(weights.values()))
    assert cues.cue_table("event", "portrait").outcomes == ("",)
    assert "seesaw" not in cues.cue_table("event", "room").outcomes
    assert "seesaw" in cues.cue_table("event", "beach").outcomes


def test_bearing_is_the_face_of_the_pose_or_a_face_of_its_own() -> None:
    mood = Mood({}, {}, {}, {}, {}, {"anger": 3, "neutral": 1}, {"charging": 1})
    chances = cues._outcome_chances("bearing", "beach", mood)
    assert chances == pytest.approx({("charging", "anger"): 0.875, ("charging", "neutral"): 0.125})
    assert cues._outcome_chances("face", "beach", mood) == pytest.approx({"anger": 0.875, "neutral": 0.125})


def test_likelihood_is_the_formula() -> None:
    table = cues.cue_table("weather", "beach")
    place = table.outcomes.index("fog")
    rows = [*MOODS.values(), NEUTRAL]
    fog = []
    for mood in rows:
        fog.append(mood.weathers.get("fog", 0) / sum(mood.weathers.values()))
    group, fear = GROUPS["weather"], EMOTIONS.index("fear")
    intensity = cues.INTENSITIES[3]
    follow = group.low + (group.high - group.low) * (intensity - 0.3) / 0.7
    others = (sum(fog[:8]) - fog[fear]) / 7
    expected = follow * fog[fear] + (1 - follow) * (group.counter * others + (1 - group.counter) * fog[8])
    assert table.likelihood[3, fear, place] == pytest.approx(expected)
    assert table.read("fog")[3, fear] == pytest.approx(expected)


def test_draws_have_the_chances_of_the_row() -> None:
    table, rng = cues.cue_table("composition", "beach"), np.random.default_rng(0)
    drawn = [table.draw(2, rng) for _ in range(4000)]
    for outcome, chance in zip(table.outcomes, table.rows[2], strict=True):
        assert drawn.count(outcome) / 4000 == pytest.approx(chance, abs=0.025)


@pytest.mark.slow
def test_plans_have_the_chances_of_the_tables() -> None:
    plans = [plan(seed, emotion="any", scene="castle", object="statue", intensity=0.65) for seed in range(6000)]
    fears = [drawn for drawn in plans if drawn.intended == "fear"]
    table = cues.cue_table("event", "castle")
    row = EMOTIONS.index("fear")
    middle = table.likelihood[[3, 4], row].mean(0)
    for outcome, chance in zip(table.outcomes, middle, strict=True):
        share = np.mean([drawn.event == outcome for drawn in fears])
        assert share == pytest.approx(chance, abs=0.05)


def test_exact_posterior_integrates_the_intensity() -> None:
    one = np.full((2, 8), 0.1)
    one[0, 1], one[1, 1] = 0.9, 0.1
    other = np.full((2, 8), 0.2)
    other[0, 1], other[1, 1] = 0.4, 0.6
    found = exact_posterior({"event": one, "things": other})
    own = (0.9 * 0.4 + 0.1 * 0.6) / 2
    assert found[1] == pytest.approx(own / (own + 7 * 0.02)) and found[0] == pytest.approx(0.02 / (own + 7 * 0.02))
    assert exact_posterior({}) == pytest.approx(np.full(8, 0.125))


def test_viewers_agree_on_what_is_plain_and_differ_on_what_is_not() -> None:
    plain = np.full((1, 8), 1e-6)
    plain[0, 4] = 1.0
    votes = cast_votes({"event": plain, "things": plain, "weather": plain}, np.random.default_rng(0))
    assert votes[4] >= 0.9
    torn = {"event": np.full((1, 8), 0.1), "things": np.full((1, 8), 0.1)}
    torn["event"][0, 1] = torn["things"][0, 6] = 0.9
    seen = np.mean([cast_votes(torn, np.random.default_rng(seed)) for seed in range(60)], axis=0)
    assert seen[1] > 0.3 and seen[6] > 0.3 and seen[[0, 2, 3, 4, 5, 7]].max() < 0.1
    unsure = np.mean([cast_votes({}, np.random.default_rng(seed)) for seed in range(200)], axis=0)
    assert unsure == pytest.approx(np.full(8, 0.125), abs=0.03)


def test_votes_have_one_winner() -> None:
    for seed in range(100):
        votes = np.round(VIEWERS * np.array(cast_votes({}, np.random.default_rng(seed))))
        assert votes.sum() == VIEWERS and (votes == votes.max()).sum() == 1


def test_a_pose_that_nobody_shows_is_not_read() -> None:
    for seed in range(300):
        drawn = plan(seed)
        seen = read_cues(drawn)
        assert set(seen) == set(GROUPS) - ({"weather"} if drawn.scene == "room" else set())
        if drawn.scene == "portrait":
            expected = cues.cue_table("face", "portrait").read(drawn.expression)
            assert np.array_equal(seen["bearing"], expected)
