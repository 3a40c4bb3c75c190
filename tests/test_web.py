"""The page without a browser: what it refuses, what it generates, which requests pass."""

import asyncio
import dataclasses
import json
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import emoscene
import tiny
from emoscene.core.errors import EmosceneError, UsageError, download_command
from emoscene.core.images import PAPER, read_params, save_image
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion import hub, loading
from emoscene.diffusion.base_spec import ModelSpec
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.judge import Judge
from emoscene.learning import learner as learners
from emoscene.pipeline.generate import load
from emoscene.web import form, read_password, session
from emoscene.web.form import check_budget, open_uploads
from emoscene.web.safety_filter import SafetyFilter
from emoscene.web.session import PREVIEW_SIDE, Session, Verdict

gr = pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'emoscene[web]'")
httpx = pytest.importorskip("httpx")

from emoscene.web import affect_plane, calls, page  # noqa: E402
from emoscene.web.request_filter import JSON_BYTES, RequestFilter, mount_page  # noqa: E402

WISH = GenerationRequest(
    prompt="a dog", emotion="awe", method="prompt", num_inference_steps=3, guidance_scale=2.0, seed=5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def studio(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("judge")
    config = Judge.Config(side=32, patch=8, width=32, layers=1, heads=2, labels=EMOTIONS)
    learners.save_learner(Judge.from_scratch(config, None), "judge", place, None)
    return Session(str(folder), judge=[str(place)])


@pytest.fixture(scope="module")
def built(studio):
    """The page, as it stands behind its door."""

    async def build():  # outside of a running loop, Gradio makes some and leaves them open
        return page.build_page(studio)

    one = asyncio.run(build())
    one.has_launched = True
    return one


def last(views):
    *_, view = views
    return view


def pixels(view):
    return [np.asarray(image) for _, image in view.finished]


def picture(path, wide=80, high=48):
    noise = np.random.default_rng(0).integers(0, 255, (6, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((wide, high)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ({"emotion_scale": 101}, "out of range"),
        ({"emotion_scale": "nan"}, "is off"),
        ({"guidance_scale": 10**400}, "is off"),
        ({"seed": -2}, "out of range"),
        ({"seed": 1.5}, "is off"),
        ({"num_images_per_prompt": 10**7}, "out of range"),
        ({"width": 10**7}, "out of range"),
        ({"sampler": "ddimm"}, "did you mean 'ddim'"),
        ({"emotion": "aw"}, "did you mean 'awe'"),
        ({"emotion": "all"}, "no emotion 'all'"),
        ({"method": "lora+lora"}, "two that differ"),
        ({"method": "a+b+c"}, "two that differ"),
        ({"prompt": "x" * 1001}, "longer than 1000"),
        ({"prompt": None}, "is off"),
        ({"promt": "a dog"}, "did you mean 'prompt'"),
    ],
)
def test_a_wish_that_is_off_is_refused_with_a_reason(pairs, sentence):
    with pytest.raises(UsageError, match=sentence):
        form.read_request(pairs)


def test_what_cannot_be_printed_is_no_word():
    assert form.read_request({"prompt": " a\x00dog\n\ud800 by\u202ea lake "}).prompt == "a dog   by a lake"


def test_the_work_of_a_wish_is_bounded(studio):
    row = GenerationParams(width=64, height=64, num_inference_steps=25)
    assert len(check_budget([row] * form.MAX_IMAGES, 64)) == form.MAX_IMAGES
    with pytest.raises(UsageError, match="fewer images"):
        check_budget([row] * (form.MAX_IMAGES + 1), 64)
    with pytest.raises(UsageError, match="the work of"):
        studio.generate(dataclasses.replace(WISH, num_images_per_prompt=16, width=512))


def test_pictures_that_are_given_are_few_and_small(tmp_path):
    with pytest.raises(UsageError, match="drop one first"):
        open_uploads([])
    with pytest.raises(UsageError, match="12 at once"):
        open_uploads(["a.png"] * 13)
    [large] = open_uploads([picture(tmp_path / "large.png", 3000, 1500)])
    assert large.size == (1024, 512)


def test_the_page_paints_what_the_pipe_paints(studio):
    views = list(studio.generate(dataclasses.replace(WISH, num_images_per_prompt=2)))
    pipe = load(studio.base, method="prompt")
    same = pipe.generate(
        pipe.plan("a dog", emotion="awe", num_inference_steps=3, guidance_scale=2.0, seed=5, num_images_per_prompt=2)
    )
    assert all(np.array_equal(a, np.asarray(b)) for a, (_, b) in zip(pixels(views[-1]), same, strict=True))
    assert [row.seed for row, _ in views[-1].finished] == [5, 6]
    assert [round(view.share, 2) for view in views] == [0.33, 0.67, 1.0, 1.0]
    assert len(views[0].previews) == 2 and not views[-1].previews


def test_who_stops_asking_stops_the_work(studio):
    whole = pixels(last(studio.generate(WISH)))
    begun = studio.generate(WISH)
    next(begun)
    begun.close()
    assert not studio.lock.locked() and studio.base.current_condition is None
    assert np.array_equal(pixels(last(studio.generate(WISH))), whole)


def test_two_askers_at_once_each_get_their_own(studio):
    other = dataclasses.replace(WISH, emotion="fear", seed=9)
    alone = [pixels(last(studio.generate(wish)))[0] for wish in (WISH, other)]
    both = [[], []]
    for pair in zip(studio.generate(WISH), studio.generate(other), strict=True):
        for seen, view in zip(both, pair, strict=True):
            seen.append(view)
    assert all(np.array_equal(pixels(seen[-1])[0], one) for seen, one in zip(both, alone, strict=True))
    assert not np.array_equal(*alone)


def test_a_preview_is_decoded_small(studio):
    [image] = studio._preview(studio.pipe(studio.methods[0]), torch.zeros(1, 4, 64, 64))
    assert image.size == (PREVIEW_SIDE * studio.base.vae_scale_factor,) * 2


def test_a_comparison_is_a_grid_with_names(studio):
    grid = studio.compare(WISH, ["prompt", "none"], ["awe", "", "fear"], [0.5, 1])
    finished = last(grid.views()).finished
    assert [(row.method, row.emotion_scale) for row, _ in finished[::3]] == grid.lines
    assert [row.emotion.index(1) if any(row.emotion) else None for row, _ in finished[:3]] == [1, None, 6]
    whole, begun = grid.sheet(finished), grid.sheet(finished[:1])
    assert whole.size == begun.size and not np.array_equal(whole, begun)
    with pytest.raises(UsageError, match="one emotion at least"):
        studio.compare(WISH, ["none"], [], [1])
    with pytest.raises(UsageError, match="is too large"):
        studio.compare(WISH, ["none"], ["awe"], range(10_000))


def test_a_picture_felt_anew_keeps_its_framing_and_is_let_go(studio, tmp_path):
    before, views = studio.edit(dataclasses.replace(WISH, strength=0.5), picture(tmp_path / "lake.png"))
    [(row, after)] = last(views).finished
    assert before.size == after.size == row.size and row.size[0] > row.size[1]
    assert row.strength == 0.5 and row.image.startswith("memory:")
    assert not studio.pipe("prompt").image_inputs.held
    with pytest.raises(UsageError, match="give a PROMPT"):
        studio.edit(dataclasses.replace(WISH, prompt=""), picture(tmp_path / "lake.png"))


def test_a_method_may_be_sent_as_text():
    assert calls.join_methods("lora") == "lora"
    assert calls.join_methods(["lora", "guidance"]) == "lora+guidance"
    assert calls.join_methods(None) == calls.join_methods([]) == "none"


def test_the_least_recently_used_pipeline_is_dropped(studio, monkeypatch):
    monkeypatch.setattr(session, "MAX_PIPELINES", 2)
    monkeypatch.setattr(studio, "pipes", {})
    monkeypatch.setattr(session, "load", lambda base, method, adapter: method)
    for method in ("none", "prompt", "none", "prompt+none"):
        assert studio.pipe(method) == method
    assert list(studio.pipes) == ["none", "prompt+none"]


def test_a_judge_reads_every_picture(studio, tmp_path):
    [read] = studio.judge([picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 40, 40)]).values()
    assert [sum(one.likely.values()) for one in read] == pytest.approx([1, 1], abs=1e-5)
    assert all(-1 <= number <= 1 for one in read for number in one.place)
    html = affect_plane.verdicts_html({"judge": read})
    assert html.count("<img") == 2 and html.count("</dd>") == 32


@pytest.mark.parametrize("several", [False, True])
def test_what_stands_in_the_page_is_escaped(several):
    hostile = "<b onclick='x'>\"&"
    verdict = Verdict(Image.new("RGB", (4, 4)), {hostile: 0.75, "awe": 0.25}, (0.5, -0.5), hostile)
    judges = {hostile: [verdict], **({"other": [verdict]} if several else {})}
    pieces = [
        (affect_plane.verdicts_html(judges), 7 if several else 3),  # a heading; an alt, a bar and a note each
        (calls.progress_html(0.5, hostile), 1),
        (calls.remarks_html([hostile, hostile]), 2),
        (calls.masthead_html(hostile, [hostile]), 2),
    ]
    for html, count in pieces:
        assert "<b " not in html
        assert html.count("&lt;b onclick=&#39;x&#39;&gt;&#34;&amp;") == count
        assert type(html) is str  # Gradio's own, not a template's


def screened(folder, tmp_path, near=None):
    """The base with a safety checker named; near: one lies there, which withholds all (1) or nothing (-1)."""
    import shutil

    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    copy = shutil.copytree(folder, tmp_path / "base")
    index = json.loads((copy / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (copy / "model_index.json").write_text(json.dumps(index))
    if near is not None:
        small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=small, projection_dim=16))
        torch.nn.init.constant_(checker.concept_embeds_weights, -2.0 * near)
        torch.nn.init.ones_(checker.special_care_embeds_weights)
        checker.save_pretrained(copy / "safety_checker")
    return str(copy)


@pytest.mark.parametrize(
    ("near", "wanted", "state"), [(None, True, "absent"), (-1, True, "on"), (1, True, "withheld"), (1, False, "off")]
)
def test_the_row_says_what_became_of_the_safety_checker(folder, tmp_path, near, wanted, state):
    studio = Session(screened(folder, tmp_path, near), screen=wanted)
    view = last(studio.generate(WISH))
    [(row, image)] = view.finished
    assert row.settings == {"safety_checker": state}
    assert (
        image.getcolors(1) is not None and image.getpixel((0, 0)) == Image.new("RGB", (1, 1), PAPER).getpixel((0, 0))
    ) == (state == "withheld")
    assert bool(studio.remarks) == (state in {"absent", "off"})


def test_a_base_in_one_file_has_no_checker_and_that_is_said(folder, tmp_path, monkeypatch):
    (file := tmp_path / "one.safetensors").write_bytes(b"weights")
    parts = loading.load_parts
    monkeypatch.setattr(loading, "load_parts", lambda place, dtype: parts(folder, dtype))
    monkeypatch.setattr("emoscene.web.session.check_call", lambda base, **given: None)
    studio = Session(str(file))
    [(row, _)] = last(studio.generate(WISH)).finished
    assert row.settings == {"safety_checker": "absent"}
    assert studio.remarks == ["one.safetensors is one file, with no safety checker in it, so images are not screened"]
    assert Session(str(file), screen=False).screen.state == "off"


def test_a_checker_of_the_hub_is_fetched_by_the_command_that_doctor_says(folder, tmp_path):
    base = DiffusionModel.load(screened(folder, tmp_path))
    for revision, pinned in ((None, ""), ("0123abc", " --revision 0123abc")):
        base.spec = ModelSpec("owner/name", revision)
        assert f": hf download owner/name{pinned} --include" in SafetyFilter(base).remark
        assert SafetyFilter(base).remark.endswith(download_command("owner/name", revision, hub.WEIGHTS))


def test_a_base_that_names_no_checker_says_nothing_of_one(studio):
    assert last(studio.generate(WISH)).finished[0][0].settings == {} and not studio.remarks


ASKED = ["a dog", "blurry", "awe:0.5,fear:0.25", ["prompt"], 0.75, 3, "ddim", 2.5, 7, 1, 64, 96]


def test_settings_come_back_from_the_picture(studio, tmp_path):
    *_, (kept, rows) = (
        (Path(pictures[0][0]).read_bytes(), rows)
        for pictures, _, rows in calls.make_generate(studio)(*ASKED)
        if isinstance(rows, list)
    )
    (tmp_path / "dog.png").write_bytes(kept)
    assert read_params(tmp_path / "dog.png").seed == rows[0]["seed"] == 7
    assert calls.make_restore(studio)(str(tmp_path / "dog.png")) == [*ASKED, ""]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"settings": {"safety_checker": "on"}}, ""),
        ({"width": 96}, ""),
        ({"guidance_interval": (0.2, 0.8)}, "guidance_interval 0.2, 0.8 (here 0.0, 1.0)"),
        ({"adapters": ("happy",), "loras": ("ink:0.5:12ab",)}, "adapters happy, loras ink:0.5:12ab"),
        ({"image": "/home/me/lake.png", "strength": 0.6}, "image lake.png, strength 0.6"),
        (
            {"emotion_image": "memory:12ab", "settings": {"guidance.classifier_scale": 9.0}},
            "emotion_image memory:12ab, guidance.classifier_scale 9.0",
        ),
        ({"settings": {"<b>": 1}}, "&lt;b&gt; 1"),
    ],
)
def test_what_does_not_come_back_is_said(studio, tmp_path, more, told):
    row = GenerationParams(
        **{"prompt": "a dog", "method": "prompt", "base": studio.base.name, "width": 64, "height": 64, **more}
    )
    save_image(Image.new("RGB", row.size), tmp_path / "dog.png", row)
    *words, note = calls.make_restore(studio)(str(tmp_path / "dog.png"))
    assert words[0] == "a dog" and tuple(words[-2:]) == row.size
    assert note == (f'<p class="note">this tab cannot take over {told}: emoscene generate can</p>' if told else "")


def test_the_size_of_an_edit_that_the_form_refuses_is_left_out(studio, tmp_path):
    """An edit comes back at its original's size, which the base need not be able to generate."""
    row = GenerationParams(prompt="a dog", method="prompt", base=studio.base.name, width=101, height=67)
    save_image(Image.new("RGB", row.size), tmp_path / "dog.png", row)
    *words, note = calls.make_restore(studio)(str(tmp_path / "dog.png"))
    assert words[-2:] == [None, None] and "cannot take over size 101x67: emoscene generate can" in note
    assert last(studio.generate(calls.read_form([*words[:5], 1, *words[6:]]))).finished


A1111 = """a castle, <b>dusk</b>
Negative prompt: blurry, low quality
Steps: 12, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4294967295, Size: 64x96, Model: "x, y: z", Clip skip: 2"""


def test_settings_that_a1111_wrote_come_back(studio, tmp_path):
    chunks = PngInfo()
    chunks.add_text("parameters", A1111)
    Image.new("RGB", (64, 96)).save(tmp_path / "a1111.png", pnginfo=chunks)
    *words, note = calls.make_restore(studio)(str(tmp_path / "a1111.png"))
    restored = dict(zip(calls.FIELDS, words, strict=True))
    assert restored["prompt"] == "a castle, <b>dusk</b>" and restored["negative_prompt"] == "blurry, low quality"
    assert (restored["num_inference_steps"], restored["sampler"], restored["guidance_scale"]) == (
        12,
        "dpm++_karras",
        6.5,
    )
    assert (restored["seed"], restored["width"], restored["height"]) == (4294967295, 64, 96)
    assert restored["method"] == [studio.methods[0]] and restored["emotion"] == ""
    assert "another program" in note and "Karras" not in note and "Clip skip 2" in note
    assert "Model &#34;x, y: z&#34;" in note


def test_what_is_ours_is_read_back_from_a1111_s_text(studio, tmp_path):
    """A program that keeps `parameters` alone, as many do, loses none of the tab's own settings."""
    made = [rows for _, _, rows in calls.make_generate(studio)(*ASKED) if isinstance(rows, list)][-1][0]
    row = GenerationParams.from_dict(made)
    assert calls.restore_a1111(studio, row.to_a1111_text())[:-1] == ASKED


@pytest.mark.parametrize(
    "line",
    [
        "Steps: 5000, Size: 10000000x3, CFG scale: nan, Seed: -1, Emotion: awe:1e39, Emotion scale: 1e39",
        "Steps: , Sampler: <svg onload=alert(1)>, Seed: 99999999999999999999, Size: 1x",
        'Steps: 3, Size: "\\ud800", Emotion method: ../../etc, Emotion scale: "x',
        "Steps: 3, Size: 65x65, Emotion: , " + "a: " * 5000,
    ],
)
def test_an_odd_text_of_a1111_is_told_and_not_taken(studio, line):
    *words, note = calls.restore_a1111(studio, f"a dog\n{line}")
    assert words[0] == "a dog" and "<svg" not in note
    request = calls.read_form(words)
    assert np.isfinite([request.emotion_scale, request.num_inference_steps]).all()
    with pytest.raises(UsageError, match="are not A1111's"):
        calls.restore_a1111(studio, "no settings")


@pytest.mark.parametrize("odd", [{"settings": 3}, {"width": ()}, {"height": "x"}, {"version": "two"}])
def test_a_row_that_is_damaged_is_no_mistake_of_ours(studio, tmp_path, odd, monkeypatch):
    sound = GenerationParams(base=studio.base.name)
    monkeypatch.setattr(GenerationParams, "to_dict", lambda row: {**dataclasses.asdict(row), **odd})
    save_image(Image.new("RGB", (64, 64)), tmp_path / "odd.png", sound)
    with pytest.raises(gr.Error, match=r"the row in odd\.png is damaged"):
        calls.make_restore(studio)(str(tmp_path / "odd.png"))


def test_an_adapter_of_the_same_method_that_is_another_is_said():
    assert calls.unrestored_text(GenerationParams(adapters=("happy",)), GenerationParams(adapters=("mini:lora",))) == [
        "adapters happy (here mini:lora)"
    ]
    assert (
        calls.unrestored_text(
            GenerationParams(settings={"guidance.classifier_scale": 9.0}),
            GenerationParams(settings={"guidance.classifier_scale": 9.0}),
        )
        == []
    )


def test_a_bad_file_is_named_without_its_folder(studio, tmp_path):
    bad, other = tmp_path / "secret" / "bad.png", picture(tmp_path / "other.png")
    bad.parent.mkdir()
    bad.write_text("no picture")
    for call in (lambda: calls.make_judge(studio)([str(bad)]), lambda: calls.make_restore(studio)(str(bad))):
        with pytest.raises(gr.Error, match=r"^'bad\.png cannot be read") as caught:
            call()
        assert "secret" not in str(caught.value)
    with pytest.raises(gr.Error, match="carries no row"):
        calls.make_restore(studio)(other)
    save_image(Image.new("RGB", (8, 8)), tmp_path / "mini.png", GenerationParams(base="mini"))
    with pytest.raises(gr.Error, match="this page has"):
        calls.make_restore(studio)(str(tmp_path / "mini.png"))


def test_strengths_are_read_from_text():
    assert calls.parse_scales("0, 0.5,1,") == [0, 0.5, 1]
    with pytest.raises(UsageError):
        calls.parse_scales("0, much")


def test_the_page_offers_its_functions_to_programs_and_one_works_at_a_time(built):
    public = {fn.api_name: fn for fn in built.fns.values() if fn.api_visibility == "public"}
    assert set(public) == {"generate", "compare", "edit", "judge", "restore"}
    painters = [fn for name, fn in public.items() if name != "restore"]
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in painters} == {("generator", 1)}
    assert built._queue.max_size == page.QUEUE and built.api_open is False and built.analytics_enabled is False


def asked(built, name, data):
    """What is said to a call that is refused, and whether its traceback goes to the log."""
    [call] = [fn for fn in built.fns.values() if fn.api_name == name]
    with pytest.raises(gr.Error) as caught:
        asyncio.run(built.process_api(call, data))
    return caught.value.message, caught.value.print_exception


def odd_generation(**odd):
    """The values of a call of `generate`, some of them odd."""
    return list((dict(zip(calls.FIELDS, ASKED, strict=True)) | odd).values())


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("generate", odd_generation(sampler=None), "sampler=None is off: it is text"),
        ("generate", odd_generation(sampler=[]), "sampler=[] is off: it is text"),
        ("generate", odd_generation(sampler=["dpm++"]), "sampler=['dpm++'] is off: it is text"),
        ("compare", ["a hill", ["none"], None, "1", 1, 1], "that is not what /compare takes"),
        ("compare", ["a hill", None, ["awe"], "1", 1, 1], "that is not what /compare takes"),
        ("compare", ["a hill", ["none"], ["awe"], None, 1, 1], "a comparison needs one emotion scale at least"),
        ("compare", ["a hill", ["none"], ["awe"]], "that is not what /compare takes"),
        ("compare", [None, ["none"], ["awe"], "1", 1, 1], "prompt=None is off"),
        ("compare", ["a hill", ["none"], ["awe"], "1", "many", 1], "that is not what /compare takes"),
        ("compare", ["a hill", [1], ["awe"], "1", 1, 1], "Value: 1 is not in the list of choices: ['prompt', 'none']"),
        ("judge", [[{"path": "/etc/secret.png", "meta": {"_type": "gradio.FileData"}}]], "was not uploaded"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_in_words(built, name, data, sentence):
    said, logged = asked(built, name, data)
    assert sentence in said and not logged


@pytest.mark.parametrize("field", calls.FIELDS)
def test_a_value_of_any_kind_is_taken_or_refused_and_is_no_mistake_of_ours(built, field):
    [call] = [fn for fn in built.fns.values() if fn.api_name == "generate"]
    mistakes = []
    for odd in (None, True, -1, 1e308, "", "x", [], ["awe"], ["dpm++"], [None], {}, {"awe": 1}):
        try:
            asyncio.run(built.process_api(call, odd_generation(**{field: odd})))
        except gr.Error as refused:
            if refused.print_exception:
                mistakes.append(odd)
    assert not mistakes


def test_a_mistake_of_ours_is_owned_and_logged(built, monkeypatch):
    monkeypatch.setattr(form, "read_request", lambda pairs: pairs.nothing)
    said, logged = asked(built, "compare", ["a hill", ["none"], ["awe"], "1", 1, 1])
    assert "a mistake of the page's own" in said and "attribute" not in said and logged


def test_the_picker_is_safe_from_templates_and_knows_every_emotion():
    template = affect_plane.affect_picker().html_template
    assert not {"${", "{{", "`", "\\"} & {template[i : i + n] for i in range(len(template)) for n in (1, 2)}
    assert all(template.count(f'data-name="{name}"') == 5 for name in EMOTIONS)


def luminance(colour):
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["", "_dark"])
def test_words_stand_out_from_their_ground(mode):
    colour = {
        key: getattr(page.THEME, f"{key}{mode}")
        for key in (
            "body_text_color",
            "body_text_color_subdued",
            "link_text_color",
            "button_secondary_text_color",
            "button_primary_text_color",
        )
    }
    grounds = [
        getattr(page.THEME, f"{key}{mode}")
        for key in ("body_background_fill", "input_background_fill", "button_secondary_background_fill")
    ]
    primary = colour.pop("button_primary_text_color")
    assert min(contrast(word, ground) for word in colour.values() for ground in grounds) >= 4.5
    assert contrast(primary, getattr(page.THEME, f"button_primary_background_fill{mode}")) >= 4.5


async def _echo(scope, receive, send):
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def through(method, path, **words):
    async def ask():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(RequestFilter(_echo, [0, 1])), base_url="http://127.0.0.1"
        ) as client:
            return await client.request(method, path, **words)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("method", "path", "words", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/gradio_api/file=/tmp/a.png", {}, 200),
        ("GET", "/gradio_api/file=http://example.com/a.png", {}, 404),
        ("GET", "/gradio_api/proxy=http://example.com/a.png", {}, 404),
        ("GET", "/monitoring", {}, 404),
        ("GET", "/gradio_api/call/paint/1", {}, 404),
        ("PUT", "/", {}, 405),
        ("POST", "/gradio_api/call/generate", {"json": {"data": []}}, 200),
        ("POST", "/gradio_api/run/generate", {"json": {"data": []}}, 404),
        ("POST", "/gradio_api/component_server", {"json": {}}, 404),
        ("POST", "/gradio_api/queue/join", {"json": {"fn_index": 1}}, 200),
        ("POST", "/gradio_api/queue/join", {"json": {"fn_index": [1]}}, 400),
        ("POST", "/gradio_api/call/judge", {"content": b"{"}, 400),
        ("POST", "/gradio_api/call/judge", {"content": b"[" * 60000}, 400),
        ("POST", "/gradio_api/call/judge", {"json": [1]}, 400),
        ("POST", "/gradio_api/call/judge", {"json": {"data": [{"path": "http://example.com/a.png"}]}}, 400),
        ("POST", "/gradio_api/call/judge", {"content": b'{"data": [{"\\u0070ath": "\\u0068ttp://a"}]}'}, 400),
        ("POST", "/gradio_api/call/generate", {"json": {"data": ['"path": "http://a"']}}, 200),
        ("POST", "/gradio_api/call/generate", {"content": b" " * (JSON_BYTES + 1)}, 413),
        ("POST", "/gradio_api/upload", {"content": b"x", "headers": {"content-length": "99999999999"}}, 413),
        ("POST", "/gradio_api/upload", {"content": b"x", "headers": {"content-length": ""}}, 411),
    ],
)
def test_the_door_lets_through_what_the_page_needs(method, path, words, status):
    answer = through(method, path, **words)
    assert answer.status_code == status
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    if status == 200:
        assert answer.content == (answer.request.content if method == "POST" else b"")
    else:
        assert len(answer.json()["detail"]) > 20


def test_a_missing_extra_and_a_taken_port_are_said(monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UsageError, match="give another --port"):
            emoscene.web(port=other.getsockname()[1])
    monkeypatch.setattr("emoscene.web.find_spec", lambda name: None)
    with pytest.raises(EmosceneError, match=r"pip install 'emoscene\[web\]'"):
        emoscene.web(port=0)


def test_a_password_may_stand_in_a_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("correct horse\n# of the page\n", encoding="utf8")
    assert read_password(None, file) == "correct horse"
    assert (read_password("staple", None), read_password(None, None)) == ("staple", None)
    file.write_text("\n", encoding="utf8")
    for words, sentence in (
        (("staple", file), "--password and --password-file"),
        ((None, file), "password is empty, and would"),
        ((None, tmp_path / "nowhere"), "cannot be read"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_password(*words)


def test_a_password_stands_before_the_page_and_its_calls(studio):
    """Nobody reads the settings, calls or uploads before the right word; the wrong one opens nothing."""

    async def person():
        door = httpx.ASGITransport(mount_page(studio, "a long secret"))
        async with httpx.AsyncClient(transport=door, base_url="http://127.0.0.1") as client:
            told = [(await client.get("/config")).status_code]
            told.append((await client.post("/gradio_api/call/generate", json={"data": []})).status_code)
            told.append((await client.post("/gradio_api/upload", files={"files": ("a.png", b"")})).status_code)
            for word in ("guessed", "a long secret"):
                entered = await client.post("/login", data={"username": "emoscene", "password": word})
                told += [entered.status_code, (await client.get("/config")).status_code]
            return told

    assert asyncio.run(person()) == [401, 401, 401, 400, 401, 200, 200]
