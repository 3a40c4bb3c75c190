"""The page: four tabs, each with a few settings, a button, and the result.

Programs call the same functions by Gradio's API: `/generate`, `/compare`, `/edit`, `/judge`, `/restore`. One call is
computed at a time, and `QUEUE` may wait (fair_queue.py). Labels, ranges and help come from `core/request.py`.
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
from emoscene.web.form import MAX_METHODS, UPLOADS
from emoscene.web.session import Session

STYLE = Path(__file__).with_name("page.css")
QUEUE = 64
SESSIONS = 128
"""Browsers, and calls of programs, whose state Gradio keeps: .2 MB each, as it copies every component's settings."""
FILE_SECONDS = 3600  # that a file of the page is kept
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
ONE_AT_A_TIME = {"concurrency_id": "generator", "concurrency_limit": 1}
PROMPT = "a village by a lake"
SHOW = """() => {
  if (innerWidth < 700) document.querySelector(".gallery")?.scrollIntoView({ behavior: "smooth", block: "center" });
}"""
"""On a narrow screen, the images come into view."""


def build_page(session: Session) -> gr.Blocks:
    """Build the page.

    Args:
        session: What generates and judges.

    Returns:
        The page, not served yet.
    """
    deletion = FILE_SECONDS // 4, FILE_SECONDS
    with calls.PlainBlocks(title="emoscene", analytics_enabled=False, delete_cache=deletion) as page:
        gr.HTML(calls.masthead_html(Path(session.base.name).name, session.remarks), apply_default_css=False)
        with gr.Tab("Generate"):
            add_generate_tab(session)
        with gr.Tab("Compare"):
            add_compare_tab(session)
        with gr.Tab("Edit emotion"):
            add_edit_tab(session)
        with gr.Tab("Judge"):
            add_judge_tab(session)
    page.state_session_capacity = SESSIONS
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


def add_generate_tab(session: Session) -> None:
    """Add the tab that generates images.

    Args:
        session: What generates.
    """
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=4, min_width=320):
            fields: dict[str, Any] = {}
            fields["prompt"] = gr.Textbox(PROMPT, label=label_of("prompt"), lines=2, max_lines=4)
            fields["emotion"] = affect_picker("awe", "generate")
            fields["emotion_scale"] = slider("emotion_scale", 0.05)
            fields["method"] = method_choice(session)
            with gr.Row(elem_classes="numbers"):
                fields["seed"] = number_field("seed")
                dice = gr.Button("Random", min_width=100, scale=0, elem_classes="dice")
                fields["num_images_per_prompt"] = number_field("num_images_per_prompt", label="Images")
            with gr.Accordion("More settings", open=False):
                for name in calls.FIELDS:
                    if name not in fields:
                        fields[name] = any_field(name, session)
        with gr.Column(scale=6, min_width=320):
            go, stop, status = action_row("Generate")
            gallery = gr.Gallery(
                show_label=False,
                columns=1,
                object_fit="contain",
                height="auto",
                format="png",
                buttons=["download"],
                elem_classes="gallery",
                label="Images",
            )
            rows = parameters_panel()
            with gr.Accordion("Restore settings from an image", open=False):
                drop = file_drop("Drop a PNG that was generated here", single=True)
                lost = gr.HTML("", apply_default_css=False, label="What cannot be restored")
    inputs = [fields[name] for name in calls.FIELDS]
    event = gr.on(
        [go.click, fields["prompt"].submit],
        calls.make_generate(session),
        inputs,
        [gallery, status, rows],
        api_name="generate",
        show_progress="hidden",
        **ONE_AT_A_TIME,
    )
    connect_stop(stop, status, event)
    go.click(None, js=SHOW, api_visibility="private")
    dice.click(None, None, fields["seed"], js="() => Math.floor(Math.random() * 4294967296)", api_visibility="private")
    drop.upload(calls.make_restore(session), drop, [*inputs, lost], api_name="restore", show_progress="hidden")


def add_compare_tab(session: Session) -> None:
    """Add the tab that compares methods, emotions and emotion scales.

    Args:
        session: What generates.
    """
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=2, min_width=300):
            prompt = gr.Textbox(PROMPT, label=label_of("prompt"), lines=2)
            methods = gr.CheckboxGroup(
                list(session.methods), value=list(session.methods[:2]), label="Methods, one a line"
            )
            emotions = gr.CheckboxGroup(
                [*EMOTIONS, "none"], value=["awe", "contentment", "fear", "sadness"], label="Emotions, one a column"
            )
            scales = gr.Textbox("1", label="Emotion scales, one a line", info="one, or several such as 0, 0.5, 1")
            with gr.Row(elem_classes="numbers"):
                seed = number_field("seed")
                steps = number_field("num_inference_steps")
        with gr.Column(scale=5, min_width=320):
            go, stop, status = action_row("Compare")
            grid = gr.Image(
                show_label=False,
                format="png",
                type="filepath",
                interactive=False,
                label="Grid",
                buttons=["download", "fullscreen"],
                elem_classes="sheet",
            )
            rows = parameters_panel()
    inputs, function = [prompt, methods, emotions, scales, seed, steps], calls.make_compare(session)
    outputs = [grid, status, rows]
    event = go.click(function, inputs, outputs, api_name="compare", show_progress="hidden", **ONE_AT_A_TIME)
    connect_stop(stop, status, event)


def add_edit_tab(session: Session) -> None:
    """Add the tab that gives an image another emotion.

    Args:
        session: What generates.
    """
    with gr.Row(equal_height=False, elem_classes="split"):
        with gr.Column(scale=4, min_width=320):
            file = file_drop("Drop an image", single=True)
            prompt = gr.Textbox(
                "",
                label=label_of("prompt"),
                info="what the image shows; left empty, its caption",
                placeholder=PROMPT,
            )
            emotion = affect_picker("sadness", "edit")
            strength = slider("strength", 0.05, DEFAULT_STRENGTH)
            scale = slider("emotion_scale", 0.05)
            method = method_choice(session)
            seed = number_field("seed")
        with gr.Column(scale=6, min_width=320):
            go, stop, status = action_row("Edit emotion")
            pair = gr.ImageSlider(
                show_label=False,
                label="Before and after",
                type="filepath",
                format="png",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_classes="pair",
            )
            rows = parameters_panel()
    inputs, function = [file, prompt, emotion, strength, scale, method, seed], calls.make_edit(session)
    outputs = [pair, status, rows]
    event = go.click(function, inputs, outputs, api_name="edit", show_progress="hidden", **ONE_AT_A_TIME)
    connect_stop(stop, status, event)


def add_judge_tab(session: Session) -> None:
    """Add the tab that judges images.

    Args:
        session: What judges.
    """
    images = file_drop(f"Drop images, up to {UPLOADS}", single=False)
    go = gr.Button("Judge", variant="primary", elem_classes="go")
    verdicts = gr.HTML("", apply_default_css=False, label="Verdicts")
    table = gr.JSON(visible=False)
    function, outputs = calls.make_judge(session), [verdicts, table]
    go.click(function, images, outputs, api_name="judge", show_progress="minimal", **ONE_AT_A_TIME)


def label_of(name: str) -> str:
    """Name a parameter of a generation as its field on the page.

    Args:
        name: In `OPTIONS`.

    Returns:
        The parameter's own label, or its name with spaces and a capital.
    """
    return OPTIONS[name].label or name.replace("_", " ").capitalize()


def slider(name: str, step: float, value: float | None = None) -> gr.Slider:
    """Make a slider of a parameter of a generation.

    Args:
        name: In `OPTIONS`.
        step: Between two positions.
        value: At first; the parameter's default, if left out.

    Returns:
        The component, over the parameter's range.
    """
    option = OPTIONS[name]
    low, high = option.slider or (option.span or (0, 1))[:2]
    if value is None:
        value = option.default
    return gr.Slider(low, high, value, step=step, info=option.help, label=label_of(name), buttons=[])


def number_field(name: str, value: int | None = None, label: str = "") -> gr.Number:
    """Make a field of a whole number; it is never empty, which Gradio's page would send as 0.

    Args:
        name: In `OPTIONS`.
        value: At first; the parameter's default, if left out.
        label: What the field is called, where that is not `label_of` it.

    Returns:
        The component.
    """
    if value is None:
        value = OPTIONS[name].default
    return gr.Number(value, precision=0, min_width=90, label=label or label_of(name))


def any_field(name: str, session: Session) -> Any:
    """Make the component that fits a parameter of a generation.

    Args:
        name: In `OPTIONS`.
        session: Its base has a size and a guidance scale of its own.

    Returns:
        A dropdown, a slider, a number or a text, as the parameter's choices, range and type say.
    """
    option, base = OPTIONS[name], session.base
    own = {"guidance_scale": base.spec.guidance_scale, "width": base.default_size, "height": base.default_size}
    value = own.get(name, option.default)
    if option.choices:
        return gr.Dropdown(list(option.choices), value=value, label=label_of(name), info=option.help)
    if option.slider:
        return slider(name, 1 if option.type == "int" else 0.5, value)
    if option.type == "int":
        return number_field(name, value)
    return gr.Textbox(value, label=label_of(name), info=option.help)


def method_choice(session: Session) -> gr.Dropdown:
    """Make the choice of one method, or two.

    Args:
        session: Its methods are offered.

    Returns:
        The component.
    """
    return gr.Dropdown(
        list(session.methods),
        value=[session.methods[0]],
        multiselect=True,
        max_choices=MAX_METHODS,
        label=label_of("method"),
        info=OPTIONS["method"].help,
    )


def file_drop(label: str, single: bool) -> gr.File:
    """Make a place to drop images. Gradio does not open them: `images.open_image` alone does.

    Args:
        label: What to drop.
        single: Whether one file is taken, or several.

    Returns:
        The component.
    """
    count = "single" if single else "multiple"
    return gr.File(label=label, file_count=count, file_types=["image"], type="filepath", height=120)


def action_row(action: str) -> tuple[gr.Button, gr.Button, gr.HTML]:
    """Make the buttons of a tab, and the status under them.

    Args:
        action: What the main button says.

    Returns:
        The main button, the button that stops, and the status.
    """
    with gr.Row(elem_classes="doing"):
        go = gr.Button(action, variant="primary", elem_classes="go")
        stop = gr.Button("Stop", elem_classes="stop")
    return go, stop, gr.HTML("", apply_default_css=False, elem_classes="status", label="Progress")


def parameters_panel() -> gr.JSON:
    """Make the panel with the parameters of the images.

    Returns:
        The component.
    """
    with gr.Accordion("Parameters of each image", open=False):
        return gr.JSON(show_label=False)


def connect_stop(stop: gr.Button, status: gr.HTML, event: Any) -> None:
    """Let a button end a call at its next step.

    Args:
        stop: The button.
        status: Where that is said.
        event: The call.
    """
    stop.click(lambda: calls.progress_html(0, "stopped"), None, status, cancels=[event], api_visibility="private")
