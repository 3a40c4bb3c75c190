"""The page itself: four tabs, each a few settings, one button, and what comes of it.

The same functions are there for programs, by Gradio's API: `/generate`, `/compare`, `/edit`, `/judge`, `/restore`.
One call is worked on at a time, and `QUEUE` may wait (fair_queue.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from emoscene.core.parameter import WEB
from emoscene.core.request import DEFAULT_STRENGTH, list_parameters
from emoscene.core.taxonomy import EMOTIONS
from emoscene.web import calls
from emoscene.web.affect_plane import affect_picker
from emoscene.web.fair_queue import FairQueue
from emoscene.web.form import PAIR
from emoscene.web.session import Session

STYLE = Path(__file__).with_name("page.css")
QUEUE = 64
KEPT = 3600  # seconds that a file of the page is kept
SANS = ["system-ui", "-apple-system", "Segoe UI", "Helvetica Neue", "Liberation Sans", "Arial", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Menlo", "Consolas", "Liberation Mono", "monospace"]
SHADES = (
    "#fbf1ec",
    "#f5ddd2",
    "#ebbfac",
    "#e0916f",
    "#c76a46",
    "#9c4a2f",
    "#863e27",
    "#6e3320",
    "#55281a",
    "#3c1c12",
    "#2a140d",
)
THEME = gr.themes.Base(
    primary_hue=gr.themes.Color(*SHADES, name="clay"), neutral_hue="stone", font=SANS, font_mono=MONO, radius_size="sm"
).set(
    body_background_fill="#faf8f4",
    body_background_fill_dark="#191816",
    body_text_color="#2b2a28",
    body_text_color_dark="#ebe6dc",
    body_text_color_subdued="#6d6860",
    body_text_color_subdued_dark="#a49d91",
    block_background_fill="transparent",
    block_background_fill_dark="transparent",
    block_border_width="0px",
    block_border_width_dark="0px",
    block_label_background_fill="transparent",
    block_label_background_fill_dark="transparent",
    block_label_text_color="#6d6860",
    block_label_text_color_dark="#a49d91",
    block_title_text_color="#2b2a28",
    block_title_text_color_dark="#ebe6dc",
    block_info_text_color="#6d6860",
    block_info_text_color_dark="#a49d91",
    block_padding="4px 0px",
    input_background_fill="#fffefb",
    input_background_fill_dark="#23211e",
    input_border_color="#dcd5c8",
    input_border_color_dark="#3a3732",
    border_color_primary="#dcd5c8",
    border_color_primary_dark="#3a3732",
    button_primary_background_fill="#9c4a2f",
    button_primary_background_fill_hover="#863e27",
    button_primary_background_fill_dark="#e0916f",
    button_primary_background_fill_hover_dark="#ebbfac",
    button_primary_text_color="#ffffff",
    button_primary_text_color_dark="#191816",
    button_secondary_background_fill="#f2eee6",
    button_secondary_background_fill_hover="#e8e1d3",
    button_secondary_background_fill_dark="#2c2925",
    button_secondary_background_fill_hover_dark="#3a3732",
    slider_color="#9c4a2f",
    slider_color_dark="#e0916f",
    layout_gap="14px",
    link_text_color="#9c4a2f",
    link_text_color_dark="#e0916f",
    button_secondary_text_color="#2b2a28",
    button_secondary_text_color_dark="#ebe6dc",
)
OPTIONS = list_parameters(WEB)
ONE = {"concurrency_id": "painter", "concurrency_limit": 1}
SCENE = "a village by a lake"
SHOW = """() => {
  if (innerWidth < 700) document.querySelector(".gallery")?.scrollIntoView({ behavior: "smooth", block: "center" });
}"""
"""On a narrow screen, what is painted comes into view."""


def build_page(studio: Session) -> gr.Blocks:
    """The page, not served yet."""
    with calls.PlainBlocks(title="emoscene", analytics_enabled=False, delete_cache=(KEPT // 4, KEPT)) as page:
        gr.HTML(calls.masthead_html(Path(studio.base.name).name, studio.remarks), apply_default_css=False)
        with gr.Tab("Generate"):
            generate_tab(studio)
        with gr.Tab("Compare"):
            compare_tab(studio)
        with gr.Tab("Edit emotion"):
            edit_tab(studio)
        with gr.Tab("Judge"):
            judge_tab(studio)
    page.queue(api_open=False)
    page._queue = FairQueue(
        live_updates=True,
        concurrency_count=page.max_threads,
        update_intervals=1,
        max_size=QUEUE,
        blocks=page,
        default_concurrency_limit=1,
    )
    return page


def generate_tab(studio: Session) -> None:
    """The tab that paints."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            fields: dict[str, Any] = {}
            fields["prompt"] = gr.Textbox(SCENE, label="Words", lines=2, max_lines=4)
            fields["emotion"] = affect_picker("awe", "paint")
            fields["emotion_scale"] = slider("emotion_scale", 0.05, label="Emotion scale")
            fields["method"] = method_choice(studio)
            with gr.Row(elem_classes="numbers"):
                fields["seed"] = number_field("seed", label="Seed")
                dice = gr.Button("Dice", min_width=60, scale=0, elem_classes="dice")
                fields["num_images_per_prompt"] = number_field("num_images_per_prompt", label="Pictures")
            with gr.Accordion("More settings", open=False):
                for name in calls.FIELDS:
                    if name not in fields:
                        fields[name] = any_field(name, studio)
        with gr.Column(scale=6, min_width=320):
            with gr.Row(elem_classes="doing"):
                go = gr.Button("Generate", variant="primary", elem_classes="go")
                stop = gr.Button("Stop", elem_classes="stop")
            state = status_panel()
            gallery = gr.Gallery(
                show_label=False,
                columns=1,
                object_fit="contain",
                height="auto",
                format="png",
                buttons=["download"],
                elem_classes="gallery",
                label="Pictures",
            )
            with gr.Accordion("Rows: what each picture is a function of", open=False):
                rows = gr.JSON(show_label=False)
            with gr.Accordion("Settings back from a picture", open=False):
                drop = file_drop("Drop a PNG that was painted here", single=True)
                lost = gr.HTML("", apply_default_css=False, label="What does not come back")
    words = [fields[name] for name in calls.FIELDS]
    run = {"fn": calls.make_generate(studio), "inputs": words, "outputs": [gallery, state, rows], **ONE}
    event = gr.on([go.click, fields["prompt"].submit], **run, api_name="generate", show_progress="hidden")
    stop_button(stop, state, event)
    go.click(None, js=SHOW, api_visibility="private")
    dice.click(None, None, fields["seed"], js="() => Math.floor(Math.random() * 4294967296)", api_visibility="private")
    drop.upload(calls.make_restore(studio), drop, [*words, lost], api_name="restore", show_progress="hidden")


def compare_tab(studio: Session) -> None:
    """The tab that lays methods, emotions and strengths side by side."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            prompt = gr.Textbox(SCENE, label="Words", lines=2)
            chosen = list(studio.methods[:2])
            lines = gr.CheckboxGroup(list(studio.methods), value=chosen, label="Methods, down")
            across = gr.CheckboxGroup(
                [*EMOTIONS, "none"], value=["awe", "contentment", "fear", "sadness"], label="Emotions, across"
            )
            strengths = gr.Textbox("1", label="Emotion scales, down", info="one, or several as in 0, 0.5, 1")
            with gr.Row(elem_classes="numbers"):
                seed = number_field("seed", label="Seed")
                steps = number_field("num_inference_steps", label="Steps")
        with gr.Column(scale=5, min_width=320):
            with gr.Row(elem_classes="doing"):
                go = gr.Button("Compare", variant="primary", elem_classes="go")
                stop = gr.Button("Stop", elem_classes="stop")
            state = status_panel()
            grid = gr.Image(
                show_label=False,
                format="png",
                type="filepath",
                interactive=False,
                label="Grid",
                buttons=["download", "fullscreen"],
                elem_classes="sheet",
            )
            with gr.Accordion("Rows: what each picture is a function of", open=False):
                rows = gr.JSON(show_label=False)
    words = [prompt, lines, across, strengths, seed, steps]
    event = go.click(
        calls.make_compare(studio), words, [grid, state, rows], api_name="compare", show_progress="hidden", **ONE
    )
    stop_button(stop, state, event)


def edit_tab(studio: Session) -> None:
    """The tab that gives a picture another emotion."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            file = file_drop("Drop a picture", single=True)
            prompt = gr.Textbox("", label="Words", info="what the picture shows; empty: its caption", placeholder=SCENE)
            emotion = affect_picker("sadness", "refeel")
            strength = slider("strength", 0.05, DEFAULT_STRENGTH, label="Strength")
            scale = slider("emotion_scale", 0.05, label="Emotion scale")
            method = method_choice(studio)
            seed = number_field("seed", label="Seed")
        with gr.Column(scale=6, min_width=320):
            with gr.Row(elem_classes="doing"):
                go = gr.Button("Edit emotion", variant="primary", elem_classes="go")
                stop = gr.Button("Stop", elem_classes="stop")
            state = status_panel()
            pair = gr.ImageSlider(
                show_label=False,
                label="Before and after",
                type="filepath",
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_classes="pair",
            )
            with gr.Accordion("Row: what the picture is a function of", open=False):
                rows = gr.JSON(show_label=False)
    words = [file, prompt, emotion, strength, scale, method, seed]
    event = go.click(
        calls.make_edit(studio), words, [pair, state, rows], api_name="edit", show_progress="hidden", **ONE
    )
    stop_button(stop, state, event)


def judge_tab(studio: Session) -> None:
    """The tab that reads pictures."""
    pictures = file_drop("Drop pictures, up to twelve", single=False)
    go = gr.Button("Judge", variant="primary", elem_classes="go")
    read = gr.HTML("", apply_default_css=False, label="What it reads")
    facts = gr.JSON(visible=False)
    go.click(calls.make_judge(studio), pictures, [read, facts], api_name="judge", show_progress="minimal", **ONE)


def slider(name: str, step: float, value: float | None = None, **words: Any) -> gr.Slider:
    """A slider over a parameter of a generation."""
    option = OPTIONS[name]
    low, high = option.slider or (option.span or (0, 1))[:2]
    return gr.Slider(
        low, high, option.default if value is None else value, step=step, info=option.help, buttons=[], **words
    )


def number_field(name: str, value: int | None = None, **words: Any) -> gr.Number:
    """A number that is a parameter of a generation; never an empty one, which Gradio's page would send as 0."""
    return gr.Number(OPTIONS[name].default if value is None else value, precision=0, min_width=90, **words)


LABELS = {"negative_prompt": "Not this", "num_inference_steps": "Steps", "guidance_scale": "Guidance"}
"""What the page calls a parameter, where that is not its name."""


def any_field(name: str, studio: Session) -> Any:
    """A component for any parameter of a generation, by its choices, range and type."""
    option = OPTIONS[name]
    label = LABELS.get(name, name.replace("_", " ").capitalize())
    owned = {"guidance_scale": studio.base.spec.guidance_scale}
    owned |= {"width": studio.base.default_size, "height": studio.base.default_size}
    value = owned.get(name, option.default)
    if option.choices:
        return gr.Dropdown(list(option.choices), value=value, label=label, info=option.help)
    if option.slider:
        return slider(name, 1 if option.type == "int" else 0.5, value, label=label)
    if option.type == "int":
        return number_field(name, value, label=label)
    return gr.Textbox(value, label=label, info=option.help)


def method_choice(studio: Session) -> gr.Dropdown:
    """One method, or two."""
    return gr.Dropdown(
        list(studio.methods),
        value=[studio.methods[0]],
        multiselect=True,
        max_choices=PAIR,
        label="Method",
        info=OPTIONS["method"].help,
    )


def file_drop(label: str, single: bool) -> gr.File:
    """Where pictures are dropped. Gradio does not open them: `pictures.open_image` is the only one that does."""
    return gr.File(
        label=label, file_count="single" if single else "multiple", file_types=["image"], type="filepath", height=120
    )


def status_panel() -> gr.HTML:
    """How far it is."""
    return gr.HTML("", apply_default_css=False, elem_classes="status", label="Progress")


def stop_button(stop: gr.Button, state: gr.HTML, event: Any) -> None:
    """The button that ends a call at its next step."""
    stop.click(lambda: calls.progress_html(0, "stopped"), None, state, cancels=[event], api_visibility="private")
