import sys
from importlib.metadata import EntryPoint
from textwrap import dedent

import pytest

from emoscene.core import config, registry
from emoscene.core.errors import EmosceneError, UsageError

KINDS = (
    *("baselines", "bases", "encoders", "families", "formats", "lexicons", "methods", "metrics"),
    *("optimizers", "prompts", "recipes", "samplers", "sources", "taxonomies"),
)
WRITTEN = [(kind, name) for kind in KINDS for name in registry.list_names(kind)]
CODE = [(kind, name) for kind, name in WRITTEN if registry.source_file(kind, name).suffix == ".py"]
TABLES = [pair for pair in WRITTEN if pair not in CODE]


@pytest.fixture
def method(monkeypatch, tmp_path):
    """Writes a plug-in from outside, and returns its name."""

    def write(text, thing="GreyScale"):
        (tmp_path / "grey_scale.py").write_text(dedent(text))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "grey_scale", raising=False)
        point = EntryPoint("grey-scale", f"grey_scale:{thing}", "emoscene.methods")
        monkeypatch.setattr(
            registry, "_list_entry_points", lambda kind: {"grey_scale": point} if kind == "methods" else {}
        )
        registry._parse_file.cache_clear()
        return "grey-scale"

    return write


def test_the_kinds_are_those_of_the_interface():
    assert tuple(sorted(registry.KINDS)) == KINDS


@pytest.mark.parametrize(("kind", "name"), WRITTEN)
def test_every_plugin_says_in_one_sentence_what_it_is(kind, name):
    assert 10 < len(registry.describe_plugin(kind, name)) <= 120


@pytest.mark.parametrize(("kind", "name"), CODE)
def test_what_is_read_as_text_is_what_is_imported(kind, name):
    found = registry.load_plugin(kind, name)
    imported = config.list_options(found.Config) if hasattr(found, "Config") else []
    assert registry.list_options(kind, name) == imported
    assert all(option.help for option in imported)
    assert all(option.read(option.default) == option.default for option in imported)


@pytest.mark.parametrize(("kind", "name"), TABLES)
def test_every_table_opens(kind, name):
    assert registry.load_table(kind, name)


@pytest.mark.parametrize(("kind", "name"), [("methods", "loraa"), ("colours", "x")])
def test_an_unknown_name_is_refused(kind, name):
    with pytest.raises(UsageError):
        registry.load_plugin(kind, name)


def test_the_contract_is_no_plugin():
    assert not {"base", "__init__"} & {name for _, name in WRITTEN}


def test_a_plugin_from_outside_is_one_like_the_others(method):
    name = method('''
        """Takes the colour out."""

        from dataclasses import dataclass

        from emoscene.core.config import option

        class Base:
            @dataclass(frozen=True)
            class Config:
                depth: int = option(
                    3, "how deep, "
                    "and so on", span=(1, 9)
                )
                plain: float = -2.0

        class GreyScale(Base):
            @dataclass(frozen=True)
            class Config(Base.Config):
                soft: "str | None" = option(None, "a word", choices=("a", "b"), runtime=True)
    ''')
    assert "grey_scale" in registry.list_names("methods")
    assert registry.describe_plugin("methods", name) == "Takes the colour out."
    options = registry.list_options("methods", name)
    assert "grey_scale" not in sys.modules
    assert [option.name for option in options] == ["depth", "plain", "soft"]
    assert options[0] == config.Option("depth", "int", 3, "how deep, and so on", span=(1, 9))
    assert options[2].runtime
    assert registry.load_plugin("methods", name).__name__ == "GreyScale"


@pytest.mark.parametrize("config_line", ["Config = Settings", "pass"])
def test_a_config_may_be_written_beside_its_class(method, config_line):
    text = """
        class Settings:
            depth: int = 3

        Config = None

        class GreyScale:
            CONFIG
    """
    names = [option.name for option in registry.list_options("methods", method(text.replace("CONFIG", config_line)))]
    assert names == (["depth"] if "=" in config_line else [])


def test_an_option_that_is_no_literal_is_told_with_its_line(method):
    name = method("""
        class GreyScale:
            class Config:
                depth: int = max(3, 4)
    """)
    with pytest.raises(EmosceneError, match=r"grey_scale.py:4: the option depth"):
        registry.list_options("methods", name)


def test_a_table_has_no_options():
    assert TABLES
    assert all(registry.list_options(kind, name) == [] for kind, name in TABLES)
