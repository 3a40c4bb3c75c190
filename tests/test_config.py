from dataclasses import FrozenInstanceError, dataclass, make_dataclass

import pytest

from emoscene.core import config
from emoscene.core.config import Option, option
from emoscene.core.errors import UsageError


@dataclass(frozen=True)
class Config:
    rank: int = option(8, "width of an update", span=(1, 256, "log"))
    lr: float = option(1e-5, "learning rate")
    blocks: tuple[str, ...] = option(("down", "up"), 'which "blocks"')
    sides: tuple[int, ...] = option((), "sizes")
    limit: int | None = option(None, "how many at most")
    flip: bool = option(False, "mirror half of them", runtime=True)
    shape: str = option("cosine", "of the schedule", choices=("cosine", "constant"))


def test_fields_say_all_that_was_said():
    first, *_ = config.list_options(Config)
    assert first == Option("rank", "int", 8, "width of an update", span=(1, 256, "log"))
    assert [each.name for each in config.list_options(Config()) if each.runtime] == ["flip"]


@pytest.mark.parametrize(
    ("key", "value", "held"),
    [
        ("rank", "16", 16),
        ("rank", 16.0, 16),
        ("lr", "3e-4", 3e-4),
        ("lr", 1, 1.0),
        ("blocks", "mid, up", ("mid", "up")),
        ("blocks", ["mid"], ("mid",)),
        ("blocks", "", ()),
        ("sides", "1,2", (1, 2)),
        ("limit", "none", None),
        ("limit", "5", 5),
        ("limit", None, None),
        ("flip", "yes", True),
        ("flip", "0", False),
        ("shape", "constant", "constant"),
    ],
)
def test_text_becomes_what_the_field_holds(key, value, held):
    found = getattr(config.replace_fields(Config(), {key: value}), key)
    assert found == held
    assert type(found) is type(held)


def test_pairs_are_parted_by_whose_they_are():
    other = make_dataclass("Other", [("seed", int, option(0, "of the dice"))], frozen=True)
    first, second = config.split_settings({"seed": "7", "rank": 16}, Config(lr=1.0), other())
    assert (first, second) == (Config(rank=16, lr=1.0), other(7))
    with pytest.raises(UsageError, match="no option 'sed': did you mean 'seed'"):
        config.split_settings({"sed": 7}, Config(), other())


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ({"rnk": 1}, "no option 'rnk': did you mean 'rank'?"),
        ({"rank": 0}, "rank=0 is out of range: it goes from 1 to 256"),
        ({"rank": "wide"}, "rank=wide is off: rank is int, such as 8"),
        ({"shape": "cosin"}, "no shape 'cosin': did you mean 'cosine'?"),
    ],
)
def test_a_wrong_word_is_one_sentence_with_its_remedy(pairs, sentence):
    with pytest.raises(UsageError) as refusal:
        config.replace_fields(Config(), pairs)
    assert str(refusal.value) == sentence


@pytest.mark.parametrize(
    "pairs", [{"rank": True}, {"rank": 1.5}, {"rank": "1.5"}, {"rank": None}, {"lr": "nan"}, {"flip": 3}, {"blocks": 3}]
)
def test_nothing_is_bent_to_fit(pairs):
    with pytest.raises(UsageError):
        config.replace_fields(Config(), pairs)


def test_toml_there_and_back(tmp_path):
    changed = config.replace_fields(Config(), {"blocks": ['a "quoted" é\n', "b"], "flip": True, "limit": 3})
    for number, each in enumerate([Config(), changed]):
        path = tmp_path / f"{number}.toml"
        path.write_text(config.to_toml(each), encoding="utf8")
        assert config.replace_fields(Config(), config.read_toml(path)) == each
    assert "rank = 8  # width of an update" in config.to_toml(Config())


@pytest.mark.parametrize("text", ["rank = ", "rnk = 3", None])
def test_a_wrong_file_is_told(tmp_path, text):
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError):
        config.replace_fields(Config(), config.read_toml(path))


def test_a_config_does_nothing():
    with pytest.raises(FrozenInstanceError):
        Config().rank = 3
    assert config.to_dict(Config())["blocks"] == ("down", "up")
