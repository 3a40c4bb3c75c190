import random

import pytest

from emoscene.emotions import AFFECT, EMOTIONS, NOTHING, describe, parse, weights
from emoscene.errors import Usage


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
    assert parse(text) == mixture


@pytest.mark.parametrize("text", ["aw", "awe:x", "awe:", "awe:nan", "awe:inf", "awe:0", "awe,awe:0.3", "awe,,fear", ""])
def test_what_cannot_be_meant_is_refused_in_one_sentence(text):
    with pytest.raises(Usage) as refusal:
        parse(text)
    assert "\n" not in str(refusal.value)


def test_every_way_of_saying_it_gives_the_same_eight_numbers():
    said = weights("awe:0.7,fear:-0.3")
    assert said == (0, 0.7, 0, 0, 0, 0, -0.3, 0)
    assert weights({"Awe": 0.7, "fear": -0.3}) == weights(list(said)) == weights(said) == said


@pytest.mark.parametrize("nothing", [None, "", "  ", {}, NOTHING])
def test_nothing_asked_is_nothing(nothing):
    assert weights(nothing) == NOTHING


@pytest.mark.parametrize("wrong", [{"joy": 1}, {"awe": float("nan")}, [1, 2], [float("inf")] * 8])
def test_wrong_weights_are_refused(wrong):
    with pytest.raises(Usage):
        weights(wrong)


def test_describing_reads_back_exactly():
    chance = random.Random(0)
    for _ in range(200):
        mixture = tuple(chance.choice([0.0, 1.0, -2.0, chance.uniform(-3, 3), 1e-9]) for _ in EMOTIONS)
        assert weights(describe(mixture)) == mixture


def test_descriptions_are_short():
    assert describe(NOTHING) == ""
    assert describe(weights("awe")) == "awe"
    assert describe(weights("awe:0.7,fear:-1")) == "awe:0.7,fear:-1"
