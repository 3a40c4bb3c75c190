"""Templates escape whatever comes in, and a name without a value is an error: on every page and in every drawing."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jinja2 import DictLoader, UndefinedError
from markupsafe import Markup
from PIL import Image

from emoscene.core import templates
from emoscene.core.taxonomy import EMOTIONS
from emoscene.data import card
from emoscene.evaluation.metrics.base import Value
from emoscene.evaluation.predictions import Sample
from emoscene.reporting import comparisons, figures, page, scores
from emoscene.reporting.html import Figure, ImageGrid, render_html
from emoscene_mini import demo_page

HOSTILE = "</h1></title><script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}"
PACKAGES = ("emoscene.data", "emoscene.reporting", "emoscene.web", "emoscene_mini")


class Page(HTMLParser):
    """Asserts that no tag and no attribute of the hostile name came through, and that all tags close in their order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert tag != "script"
        assert not {"onerror", "onload"} & dict(attrs).keys()
        if tag == "img":
            assert dict(attrs)["src"].startswith("data:image/webp;base64,")
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        self.words += [value or "" for _, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)

    def count(self):
        """How often the hostile name stands in text or in an attribute, letter by letter."""
        return sum(words.count(HOSTILE) for words in self.words)


def templates_of(package):
    return [file for file in files(package).joinpath("templates").iterdir() if file.name.endswith(".j2")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_environment_escapes_and_is_strict(package):
    environment = templates.load_environment(package)
    environment = environment.overlay(loader=DictLoader({"x": "{{ word }}"}))
    assert environment.get_template("x").render(word="<b>\"'&") == "&lt;b&gt;&#34;&#39;&amp;"
    with pytest.raises(UndefinedError, match="'word' is undefined"):
        environment.get_template("x").render()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_template_steps_out_of_escaping(package):
    found = templates_of(package)
    assert found
    for file in found:
        assert not re.search(r"\|\s*safe\b|autoescape|Markup", file.read_text(encoding="utf8")), file.name


def test_a_rendered_page_lacks_no_value():
    with pytest.raises(UndefinedError, match="'remarks' is undefined"):
        templates.render(("emoscene.web",), "remarks.html.j2")
    with pytest.raises(UndefinedError):
        render_html("demo.html.j2", "emoscene_mini", words="a sea")


def test_what_a_template_made_is_escaped_once():
    inner = templates.render(("emoscene.web",), "remarks.html.j2", remarks=["a < b"])
    assert isinstance(inner, Markup)
    assert inner == '<p class="note">a &lt; b</p>'
    assert inner + "<" == '<p class="note">a &lt; b</p>&lt;'


def test_a_demo_of_hostile_prompts_and_methods(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", 0, 7, 0, "", HOSTILE, None)
    samples = [Sample(tmp_path / "a.png", 0, 7, number, "", HOSTILE, None) for number in range(len(EMOTIONS))]
    value = Value(0.5, 0.25, 0.75, 8, HOSTILE)
    measured = {"emotion_accuracy": value, "scene_accuracy": value}
    shown = demo_page.MethodResults(HOSTILE, samples, {HOSTILE: [sample]}, 1.0, measured, {HOSTILE: [0.5]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_page, "describe_method", lambda name: name)
        html = demo_page.render_page([HOSTILE], [7], [1.0], {HOSTILE: shown}, shown, HOSTILE)
    assert Page(html).count() > 40  # under, above and beside the pictures
    assert html.count("<img src=") == 8 + 8 + 8 + 1


def entry():
    figure = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8, "by": HOSTILE}
    verdicts = {"emotion_accuracy": figure, "confusion": [[1] * 8] * 8, "reliability": [[0.5, 0.5, 8]]}
    verdicts["per_emotion"] = {name: {"f1": 0.5} for name in EMOTIONS}
    row = {"file": "../x", "prompt": HOSTILE, "seed": 0, "asked": "awe", "scene": "portrait", "kept": 1}
    row["seen"] = {HOSTILE: "awe"}
    metrics = dict.fromkeys(("scene_accuracy", "guide_accuracy", "guide_gap"), figure)
    told = {"judges": {HOSTILE: verdicts}, "metrics": metrics, "settings": {"scale": 2.0}, "images": 8}
    told |= {"judged_by": {HOSTILE: "abc"}, "cost": {"bytes": 1000}, "robustness": {HOSTILE: {HOSTILE: figure}}}
    told |= {"adapters": [HOSTILE], "cautions": [HOSTILE]}
    manifest = {"kind": HOSTILE, "config": {"name": HOSTILE}, "versions": {"torch": HOSTILE}}
    return scores.ScoreEntry(HOSTILE, Path("x") / HOSTILE, told, [row], manifest)


def test_a_report_of_hostile_scores():
    entries = [entry(), entry()]
    made = comparisons.compare_all(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "gallery", lambda entries: [ImageGrid([HOSTILE], [(HOSTILE, [FIGURE])], HOSTILE)])
        tables = page.make_tables(entries, made)
        html = page.render_page(entries, comparisons.comparison_remarks(entries), made, tables)
    assert set(tables) == {"headline", "differences", "guide", "portraits", "controls", "emotions", "provenance"}
    assert Page(html).count() > 40


FIGURE = Figure(Image.new("RGB", (4, 4)), HOSTILE, HOSTILE)


@pytest.mark.parametrize(
    "drawing",
    [
        figures.legend([HOSTILE]),
        figures.draw_scatter([figures.Point(HOSTILE, 1, 0.5, 0.4, 0.6)], [HOSTILE], HOSTILE, HOSTILE),
        figures.draw_lines({HOSTILE: [figures.Point(HOSTILE, 1, 0.5, 0.4, 0.6)]}, [HOSTILE], HOSTILE, HOSTILE),
        figures.draw_matrix([[1]], [HOSTILE], HOSTILE),
        card.plot_classes({role: [1] for role in card.ROLES}),
    ],
    ids=["legend", "scatter", "lines", "matrix", "card"],
)
def test_a_drawing_is_well_formed_whatever_it_is_called(drawing):
    root = ElementTree.fromstring(drawing)
    assert not [element for element in root.iter() if element.tag.endswith(("script", "img"))]
