"""The demo on a tiny base, and the page that it writes."""

import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

import tiny
from emoscene import reporting
from emoscene.core.templates import load_environment
from emoscene_mini import demo

VOID = {"meta", "img", "path", "ellipse"}


class Checker(HTMLParser):
    """Every tag is closed in its order; whatever would be fetched is written down."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.alts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in VOID else []
        self.fetched += [value for key, value in attrs if key in {"src", "href", "srcset"}]
        self.alts += [dict(attrs)["alt"]] if tag == "img" else []

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    said = []
    call = {"base": str(tiny.make(folder / "base")), "judge": tiny.judges(folder), "steps": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SCENES", ("village", "forest"))
        patch.setattr(demo, "SEEDS", (7,))
        patch.setattr(demo, "DIAL", (0.0, 0.5, 1.0, 1.5))
        out = demo.demo(out=folder / "out", on_message=said.append, **call)
        again = []
        assert demo.demo(out=folder / "out", on_message=again.append, **call) == out
    assert said
    assert not again
    return out


def test_it_leaves_what_it_says(made):
    names = ["demo.json", "index.html", "manifest.json", "pictures", "scenes.png", "sheet.png", "strength.png"]
    assert sorted(path.name for path in made.iterdir()) == names
    assert len(list((made / "pictures/none").glob("*.png"))) == 2
    assert len(list((made / "pictures/prompt").glob("*.png"))) == 2 * 8 + 2 * 2
    assert json.loads((made / "manifest.json").read_text())["state"] == "done"


def test_the_figures_are_shares_and_two_prompts_give_no_interval(made):
    methods = json.loads((made / "demo.json").read_text())["methods"]
    assert list(methods) == ["none", "prompt"]
    for figures in methods.values():
        for name in ("emotion_accuracy", "scene_accuracy", "probability"):
            assert 0 <= figures[name]["value"] <= 1
            assert figures[name]["low"] is None is figures[name]["high"]
            assert figures[name]["n"] == 16
    assert methods["none"]["emotion_accuracy"]["value"] == pytest.approx(1 / 8)
    assert {len(likely) for likely in methods["prompt"]["dial"].values()} == {4}


def test_the_page_needs_nothing_else(made):
    text = (made / "index.html").read_text()
    page = Checker(text)
    assert not page.open
    assert page.fetched
    assert all(value.startswith("data:image/") for value in page.fetched)
    assert all(page.alts)
    assert not re.search(r"https?://|@import|url\(|<script", text)
    assert "$" not in text


def test_what_comes_into_a_page_is_escaped():
    plate = reporting.Figure(Image.new("RGB", (4, 4)), 'a "<b>"', "<i>")
    grid = reporting.ImageGrid(["<c>"], [("<r>", [plate])], "<u>")
    environment = load_environment("emoscene.reporting")
    blocks = environment.get_template("blocks.html.j2").module
    text = blocks.wall([plate], "<u>") + blocks.grid(grid) + blocks.table((["<h>"], [["<t>", "<l>"]]), "<f>")
    assert not Checker(text).open
    assert not re.search(r"<(b|i|u|r|c|t|l|h|f)>", text)
    assert text.count("&lt;u&gt;") == 2


def test_the_best_is_never_the_base_alone():
    base, words = (demo.MethodResults(name, [], {}, 0.0, {}, {}) for name in ("none", "prompt"))
    assert demo.best_method([base, words]) is words
    assert demo.best_method([base]) is base


def test_every_strength_hangs_its_own_picture(made):
    page = Checker((made / "index.html").read_text())
    pairs = zip(page.fetched, page.alts, strict=True)
    hung = [source for source, alt in pairs if re.search(r"awe by prompt at emotion scale", alt)]
    assert len(set(hung)) == len(hung) == 4
