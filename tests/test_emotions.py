import itertools
import random

import pytest

from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import (
    AFFECT,
    EMOTIONS,
    NO_EMOTION,
    check_one_source,
    emotion_weights,
    format_emotion,
    parse_emotion,
    weights_at,
)


def test_the_order_is_emosets_and_not_the_alphabets():
    assert EMOTIONS == ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


def test_the_first_four_are_pleasant_and_the_last_four_are_not():
    assert list(AFFECT) == list(EMOTIONS)
    assert [valence > 0 for valence, _ in AFFECT.values()] == [True] * 4 + [False] * 4
    assert all(-1 <= number <= 1 for pair in AFFECT.values() for number in pair)


@pytest.mark.parametrize(
    ("text", "mixture"),
    [
        ("awe", {"awe": 1.0}),
        (" Awe : 0.7 , fear:-0.3", {"awe": 0.7, "fear": -0.3}),
        ("awe,fear", {"awe": 0.5, "fear": 0.5}),
        ("awe:2,fear,anger", {"awe": 2.0, "fear": 0.5, "anger": 0.5}),
    ],
)
def test_weights_are_as_written_and_bare_names_share_one(text, mixture):
    assert parse_emotion(text) == mixture


@pytest.mark.parametrize("text", ["aw", "awe:x", "awe:", "awe:nan", "awe:inf", "awe:0", "awe,awe:0.3", "awe,,fear", ""])
def test_what_cannot_be_meant_is_refused_in_one_sentence(text):
    with pytest.raises(UsageError) as refusal:
        parse_emotion(text)
    assert "\n" not in str(refusal.value)


def test_every_way_of_saying_it_gives_the_same_eight_numbers():
    said = emotion_weights("awe:0.7,fear:-0.3")
    assert said == (0, 0.7, 0, 0, 0, 0, -0.3, 0)
    assert emotion_weights({"Awe": 0.7, "fear": -0.3}) == emotion_weights(list(said)) == emotion_weights(said) == said


@pytest.mark.parametrize("nothing", [None, "", "  ", {}, NO_EMOTION])
def test_nothing_asked_is_nothing(nothing):
    assert emotion_weights(nothing) == NO_EMOTION


@pytest.mark.parametrize("name", EMOTIONS)
def test_an_emotions_own_place_is_that_emotion_alone(name):
    assert weights_at(*AFFECT[name]) == emotion_weights(name)
    valence, arousal = AFFECT[name]
    assert max(zip(weights_at(valence * 0.95, arousal * 0.95), EMOTIONS, strict=True))[1] == name


def test_every_place_is_a_mixture_and_nothing_jumps():
    assert weights_at(0, 0) == NO_EMOTION
    assert sum(weights_at(0.05, -0.05)) < 0.01
    steps = [round(-1 + 0.1 * n, 2) for n in range(21)]
    for valence, arousal in itertools.product(steps, steps):
        here = weights_at(valence, arousal)
        assert min(here) >= 0
        assert sum(here) <= 1.005
        beside = weights_at(max(-1, valence - 0.01), arousal)
        assert max(abs(a - b) for a, b in zip(here, beside, strict=True)) < 0.12
    pleasant, unpleasant = weights_at(0.8, 0.1), weights_at(-0.8, 0.1)
    assert sum(pleasant[:4]) > 0.9
    assert sum(unpleasant[4:]) > 0.9


@pytest.mark.parametrize("place", [(1.01, 0), (0, -1.01), (float("nan"), 0), (float("inf"), 0)])
def test_a_place_off_the_circumplex_is_refused(place):
    with pytest.raises(UsageError, match="it goes from -1 to 1"):
        weights_at(*place)


def test_an_emotion_is_said_in_one_way():
    for said in ({}, {"emotion": "awe"}, {"valence": 0, "arousal": 0}, {"image": "a.png"}):
        check_one_source(**said)
    for said in ({"emotion": "awe", "image": "a.png"}, {"valence": 0}, {"valence": 0, "arousal": 0, "image": "a.png"}):
        with pytest.raises(UsageError):
            check_one_source(**said)


@pytest.mark.parametrize(
    "wrong", [{"awe": 0, "fear": 0.0}, {"joy": 1}, {"awe": float("nan")}, [1, 2], [float("inf")] * 8]
)
def test_wrong_weights_are_refused(wrong):
    with pytest.raises(UsageError):
        emotion_weights(wrong)


def test_describing_reads_back_exactly():
    chance = random.Random(0)
    for _ in range(200):
        mixture = tuple(chance.choice([0.0, 1.0, -2.0, chance.uniform(-3, 3), 1e-9]) for _ in EMOTIONS)
        assert emotion_weights(format_emotion(mixture)) == mixture


def test_descriptions_are_short():
    assert format_emotion(NO_EMOTION) == ""
    assert format_emotion(emotion_weights("awe")) == "awe"
    assert format_emotion(emotion_weights("awe:0.7,fear:-1")) == "awe:0.7,fear:-1"
