"""Taxonomies: the default is what it was, others come from files, and one is read in another by stated rules."""

import pytest

from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import (
    AFFECT,
    EKMAN,
    EMOTIONS,
    MIKELS8,
    NO_EMOTION,
    build_taxonomy,
    load_taxonomy,
    map_label,
)

OWN = """
[[emotion]]
name = "Cosy"
valence = 0.8
arousal = -0.7
synonyms = ["homely"]
words = "warm light, a blanket"

[[emotion]]
name = "eerie"
valence = -0.4
arousal = 0.3

[mappings.mikels8]
contentment = "cosy"
fear = "eerie"
awe = ""
"""


def write(tmp_path, text=OWN):
    file = tmp_path / "own.toml"
    file.write_text(text)
    return file


def test_the_default_is_mikels_eight_in_emosets_order():
    assert EMOTIONS == ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
    assert NO_EMOTION == (0.0,) * 8
    assert AFFECT["contentment"] == (0.8, -0.6)
    assert [round(10 * sum(place)) for place in AFFECT.values()] == [11, 10, 2, 14, 2, -3, 6, -12]
    assert list(EKMAN.items()) == [
        ("surprise", ""),
        ("fear", "fear"),
        ("disgust", "disgust"),
        ("happiness", "amusement:0.5,contentment:0.5"),
        ("sadness", "sadness"),
        ("anger", "anger"),
        ("neutral", ""),
    ]
    assert MIKELS8.chance == 0.125


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("Happy", "amusement:0.5,contentment:0.5"),
        ("joy", "amusement:0.5,contentment:0.5"),
        ("mad", "anger"),
        ("scared", "fear"),
        ("surprised", None),
        ("neutral", None),
        ("trust", None),
        ("calm", None),
    ],
)
def test_labels_of_classifiers_are_read_as_before(label, expected):
    assert map_label(label) == (MIKELS8.weights(expected) if expected else None)


@pytest.mark.parametrize(("name", "count"), [("mikels8", 8), ("ekman7", 7), ("plutchik8", 8)])
def test_each_shipped_taxonomy_reads_back_what_it_writes_and_reads_every_other(name, count):
    taxonomy = load_taxonomy(name)
    assert len(taxonomy) == count
    assert taxonomy.chance == 1 / count
    for number, label in enumerate(taxonomy.labels):
        weights = taxonomy.weights(label)
        assert [place for place, weight in enumerate(weights) if weight] == [number]
        assert taxonomy.format(weights) == label
        assert taxonomy.weights_at(*taxonomy.places[label])[number] >= 0.5
    for other in ("mikels8", "ekman7", "plutchik8"):
        mapped = taxonomy.map_taxonomy(load_taxonomy(other))
        for weights in mapped:
            assert weights is None or sum(weights) == pytest.approx(1)
        if other == name:
            assert mapped == [taxonomy.weights(label) for label in taxonomy.labels]


def test_ekmans_neutral_is_a_label_at_the_origin():
    ekman = load_taxonomy("ekman7")
    assert ekman.format(ekman.weights_at(0.0, 0.0)) == "neutral"
    assert MIKELS8.weights_at(0.0, 0.0) == NO_EMOTION


def test_a_file_of_ones_own(tmp_path):
    own = load_taxonomy(write(tmp_path))
    assert own.name == "own"
    assert own.labels == ("cosy", "eerie")
    assert own.words == {"cosy": "warm light, a blanket"}
    assert own.weights("cosy:0.7,eerie:-0.3") == (0.7, -0.3)
    assert own.map_label("homely", []) == (1.0, 0.0)
    assert own.map_label("contented", ["mikels8"]) == (1.0, 0.0)
    assert own.map_label("awe", ["mikels8"]) is None
    assert own.fingerprint != MIKELS8.fingerprint
    with pytest.raises(UsageError, match="does not say what 'amusement' of mikels8 becomes"):
        own.map_taxonomy(MIKELS8)


def test_labels_without_places_have_no_plane(tmp_path):
    plain = load_taxonomy(write(tmp_path, '[[emotion]]\nname = "a"\n[[emotion]]\nname = "b"\n'))
    assert plain.weights("b") == (0.0, 1.0)
    with pytest.raises(UsageError, match="no valence and arousal"):
        plain.weights_at(0.1, 0.2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "eerie"', 'name = "COSY"', "'cosy' stands twice"),
        ('name = "eerie"', 'name = ""', "is no label"),
        ('name = "eerie"', 'name = "a,b"', "is no label"),
        ('name = "eerie"', 'name = "all"', "cannot be a label"),
        ('name = "eerie"', "name = 7", "is no taxonomy"),
        ("arousal = 0.3", "", "arousal of eerie"),
        ("arousal = 0.3", "arousal = 3.0", "each go from -1 to 1"),
        ("valence = -0.4\narousal = 0.3", "", "give them to all labels or to none"),
        ('fear = "eerie"', 'fear = "eery"', "what 'fear' of mikels8 becomes in own is off"),
    ],
)
def test_a_file_that_is_off_is_refused_with_the_place(tmp_path, old, new, words):
    file = write(tmp_path, OWN.replace(old, new))
    with pytest.raises(UsageError, match=words):
        load_taxonomy(file)


def test_too_few_labels_and_unknown_names():
    with pytest.raises(UsageError, match="from 2 to 64"):
        build_taxonomy("one", {"emotion": [{"name": "a"}]})
    with pytest.raises(UsageError, match=r"ekman7"):
        load_taxonomy("ekmann7")
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_taxonomy("nowhere.toml")
