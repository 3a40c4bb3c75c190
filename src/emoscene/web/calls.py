"""The functions behind the page's buttons and Gradio's API.

Each reads values of components as a `GenerationRequest`, asks the session, and returns values of components; nothing is
decided here. A refusal is shown as the page's own message, and no other error's text is. The functions that generate
are generators: a call that is stopped, or whose client has left, is closed at its next step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from inspect import Parameter, Signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError
from PIL import Image

from emoscene.core.a1111_text import parse_a1111_text
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import open_image, read_params, read_texts, save_image
from emoscene.core.params import GenerationParams
from emoscene.core.plain_text import format_count
from emoscene.core.request import GenerationRequest, read_number
from emoscene.core.run_dir import as_list
from emoscene.core.taxonomy import EMOTIONS, format_emotion
from emoscene.core.templates import render
from emoscene.web import form
from emoscene.web.affect_plane import PACKAGE, verdicts_html
from emoscene.web.form import MAX_CHARACTERS
from emoscene.web.session import FinishedImage, Session, Verdict, View

FIELDS = tuple(name for name in form.FIELDS if name != "strength")
"""The fields of the tab *Generate*, in order."""
NOT_RESTORED = ("adapters", "loras", "image", "strength", "emotion_image", "guidance_interval")
"""What an image is a function of beside its base, its settings and `FIELDS`."""
TYPE = re.compile(r" \(type: <class '.*?'>\)")


class PlainBlocks(gr.Blocks):
    """Gradio's page, with errors in plain sentences instead of Python's words."""

    async def preprocess_data(self, block_fn: Any, *inputs: Any, **more: Any) -> Any:
        """Convert what was sent into what a function takes.

        Args:
            block_fn: The function.
            inputs: As Gradio has them.
            more: As Gradio has them.

        Returns:
            The function's arguments.

        Raises:
            gradio.Error: For what does not fit.
        """
        try:
            return await super().preprocess_data(block_fn, *inputs, **more)
        except Exception as error:
            sentence = _explain_mismatch(error, block_fn.api_name)
            raise gr.Error(sentence, title="Not so", print_exception=False) from error

    async def process_api(self, *inputs: Any, **more: Any) -> Any:
        """Compute the next answer of a call.

        Args:
            inputs: As Gradio has them.
            more: As Gradio has them.

        Returns:
            The answer.

        Raises:
            gradio.Error: For a refusal, and for any other error, whose traceback Gradio prints.
        """
        try:
            return await super().process_api(*inputs, **more)
        except gr.Error:
            raise
        except Exception as error:
            sentence = "this went wrong by a mistake of the page's own: its log, where `emoscene web` runs, says which"
            raise gr.Error(sentence, title="Our mistake") from error


@contextmanager
def plain_errors(*files: str | None) -> Iterator[None]:
    """Turn the errors of a call into messages of the page.

    Args:
        files: Paths that the user sent; a message has their names alone.

    Yields:
        Nothing.

    Raises:
        gradio.Error: In place of UsageError and EmosceneError.
    """
    try:
        yield
    except (UsageError, EmosceneError) as error:
        sentence = str(error)
        for file in files:
            if file:
                sentence = sentence.replace(file, Path(file).name)
        raise gr.Error(sentence, title="Not so", print_exception=False, duration=12) from error


def read_form(values: Sequence[Any]) -> GenerationRequest:
    """Read the fields of the tab *Generate* as a request.

    Args:
        values: In the order of `FIELDS`.

    Returns:
        The request.

    Raises:
        UsageError: For the first value that is off.
    """
    fields = dict(zip(FIELDS, values, strict=True))
    return form.read_request(fields | {"method": join_methods(fields["method"])})


def join_methods(names: str | Sequence[str] | None) -> str:
    """Write chosen methods as one word.

    Args:
        names: One, two, or none; a program may send one as text.

    Returns:
        Such as `lora+guidance`; `none` for none.
    """
    return "+".join(as_list(names)) or "none"


def progress_html(share: float, words: str) -> str:
    """Draw a progress bar.

    Args:
        share: From 0 to 1.
        words: What stands under it.

    Returns:
        HTML.
    """
    return str(render((PACKAGE,), "progress.html.j2", share=share, words=words))


def remarks_html(remarks: Sequence[str]) -> str:
    """Draw remarks.

    Args:
        remarks: A sentence each.

    Returns:
        HTML.
    """
    return str(render((PACKAGE,), "remarks.html.j2", remarks=remarks))


def masthead_html(base: str, remarks: Sequence[str]) -> str:
    """Draw the head of the page.

    Args:
        base: The base's name.
        remarks: A sentence each, under it.

    Returns:
        HTML.
    """
    return str(render((PACKAGE,), "masthead.html.j2", base=base, remarks=remarks))


def result_text(finished: Sequence[FinishedImage]) -> str:
    """Say how many images are finished, and what became of them.

    Args:
        finished: The images and their parameters.

    Returns:
        Such as `2 images in 3.1 s; 1 withheld by the safety checker`.
    """
    seconds, withheld = 0.0, 0
    for row, _ in finished:
        seconds += row.seconds or 0
        withheld += row.settings.get("safety_checker") == "withheld"
    noun = "image" if len(finished) == 1 else "images"
    text = f"{len(finished)} {noun} in {seconds:.1f} s"
    if withheld:
        text += f"; {withheld} withheld by the safety checker"
    return text


def save_files(finished: Sequence[FinishedImage], folder: str) -> list[tuple[str, str]]:
    """Save images as PNGs that carry their parameters.

    Args:
        finished: The images and their parameters.
        folder: Where to save them.

    Returns:
        The path and the caption of each.
    """
    files = []
    for row, image in finished:
        path = Path(folder) / row.file
        save_image(image, path, row)
        files.append((str(path), caption_of(row)))
    return files


def caption_of(row: GenerationParams) -> str:
    """Write an image's caption.

    Args:
        row: The image's parameters.

    Returns:
        Its seed and its emotions, the strongest first, without those whose weight is below 0.05.
    """
    weights = dict(zip(EMOTIONS, row.emotion, strict=True))
    emotions = []
    for name in sorted(EMOTIONS, key=lambda name: -weights[name]):
        if weights[name] == 1:
            emotions.append(name)
        elif abs(weights[name]) >= 0.05:
            emotions.append(f"{name} {weights[name]:.2g}")
    return f"seed {row.seed} · {', '.join(emotions) or 'no emotion'}"


def make_generate(session: Session) -> Callable[..., Iterator[Any]]:
    """Make the function of the tab *Generate*.

    Args:
        session: What generates.

    Returns:
        A function of the values of `FIELDS`; it yields the gallery, the status and the parameters.
    """

    def generate(*values: Any) -> Iterator[Any]:
        with plain_errors():
            request = read_form(values)
            notes = remarks_html(_list_remarks(session, request))
            num = request.num_images_per_prompt
            yield gr.Gallery(columns=min(2, num)), progress_html(0, "starting") + notes, gr.skip()
            with TemporaryDirectory(prefix="emoscene-") as folder:
                for view in session.generate(request):
                    images, rows, status = gr.skip(), gr.skip(), f"{view.share:.0%}"
                    if view.previews:
                        previews = [(image, "in progress") for image in view.previews]
                        images = [*save_files(view.finished, folder), *previews]
                    if view.share == 1 and len(view.finished) == num:
                        images = save_files(view.finished, folder)
                        rows, status = _list_rows(view), result_text(view.finished)
                    yield images, progress_html(view.share, status) + notes, rows

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in FIELDS]
    generate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # the names that the API shows
    return generate


def _list_remarks(session: Session, request: GenerationRequest) -> list[str]:
    """What a user should know about a request, a sentence each."""
    return [*session.pipe(request.method or "none").row_remarks(session.plan(request)), *session.remarks]


def _list_rows(view: View) -> list[dict[str, Any]]:
    """The parameters of the finished images, as the page and the API show them."""
    return [row.to_dict() for row, _ in view.finished]


def make_compare(session: Session) -> Callable[..., Iterator[Any]]:
    """Make the function of the tab *Compare*.

    Args:
        session: What generates.

    Returns:
        A function that yields the grid, the status and the parameters.
    """

    def compare(
        prompt: str,
        methods: list[str] | None,
        emotions: list[str] | None,
        emotion_scales: str | None,
        seed: float,
        steps: float,
    ) -> Iterator[Any]:
        with plain_errors():
            request = form.read_request({"prompt": prompt, "seed": seed, "num_inference_steps": steps})
            chosen = ["" if name == "none" else name for name in emotions or []]
            grid = session.compare(request, methods or [], chosen, parse_scales(emotion_scales or ""))
            notes = remarks_html(session.pipe(grid.rows[0].method).row_remarks(grid.rows[:1]))
            with TemporaryDirectory(prefix="emoscene-") as folder:
                shown = 0
                for view in grid.views():
                    image, rows, done = gr.skip(), gr.skip(), len(view.finished)
                    if done > shown:
                        shown, image = done, str(Path(folder) / f"compare-{done}.png")
                        _save_sheet(grid.sheet(view.finished), image)
                    if done == len(grid.rows):
                        rows = _list_rows(view)
                    status = progress_html(view.share, f"{done} of {format_count(len(grid.rows), 'image')}")
                    yield image, status + notes, rows

    return compare


def _save_sheet(sheet: Image.Image, file: str) -> None:
    sheet.save(file, **encode_mark(sheet))


def make_edit(session: Session) -> Callable[..., Iterator[Any]]:
    """Make the function of the tab *Edit emotion*.

    Args:
        session: What generates.

    Returns:
        A function that yields the image before and after, the status and the parameters.
    """

    def edit(
        file: str,
        prompt: str,
        emotion: str,
        strength: float,
        emotion_scale: float,
        method: str | list[str] | None,
        seed: float,
    ) -> Iterator[Any]:
        with plain_errors(file):
            fields = {"prompt": prompt, "emotion": emotion, "emotion_scale": emotion_scale, "strength": strength}
            fields |= {"seed": seed, "method": join_methods(method)}
            before, views = session.edit(form.read_request(fields), file)
            with TemporaryDirectory(prefix="emoscene-") as folder:
                for view in views:
                    pair, rows, status = gr.skip(), gr.skip(), f"{view.share:.0%}"
                    if view.previews:
                        pair = before, view.previews[0]
                    if view.finished:
                        [(path, _)] = save_files(view.finished, folder)
                        pair, rows, status = (before, path), _list_rows(view), result_text(view.finished)
                    yield pair, progress_html(view.share, status) + remarks_html(view.cautions), rows

    return edit


def make_judge(session: Session) -> Callable[..., Any]:
    """Make the function of the tab *Judge*.

    Args:
        session: What judges.

    Returns:
        A function of uploaded files; it returns HTML, and the verdicts as the API gives them.
    """

    def judge(images: list[str] | None) -> tuple[str, Any]:
        files = images or []
        with plain_errors(*files):
            verdicts = session.judge(files)
            tables = {}
            for name, mine in verdicts.items():
                tables[name] = [verdict_table(verdict) for verdict in mine]
            return verdicts_html(verdicts), tables

    return judge


def verdict_table(verdict: Verdict) -> dict[str, Any]:
    """Write a verdict as the API gives it.

    Args:
        verdict: The verdict.

    Returns:
        `likely`, `place`, and `caution` if there is one.
    """
    table = {"likely": verdict.likely, "place": verdict.place, "caution": verdict.caution}
    if not verdict.caution:
        del table["caution"]
    return table


def make_restore(session: Session) -> Callable[[str | None], Any]:
    """Make the function that reads the settings out of an image of this page.

    Args:
        session: What generates.

    Returns:
        A function of an uploaded file; it returns the values of `FIELDS`, and HTML that says what is lost.
    """

    def restore(file: str | None) -> list[Any]:
        with plain_errors(file):
            if not file:
                raise UsageError("there is no image yet: drop one first")
            image = open_image(file)
            texts = read_texts(image)
            if "emoscene" not in texts and "parameters" in texts:
                return restore_a1111(session, texts["parameters"])
            row = read_params(file)
            if row.base != session.base.name:
                own = Path(session.base.name).name  # a client need not know where the base lies
                raise UsageError(f"{file} was generated on {row.base}, and this page has {own}: emoscene web --base")
            changed = {"emotion": format_emotion(row.emotion), "num_images_per_prompt": 1}
            fields = {name: getattr(row, name) for name in FIELDS if name not in changed}
            request = form.read_request(fields | changed)
            [planned] = session.pipe(row.method).plan()
            lost = unrestored_text(row, planned)
            request, size = fit_size(session, request)
            remarks = []
            if lost + size:
                remarks.append(f"this tab cannot take over {', '.join(lost + size)}: emoscene generate can")
            return [*fill_form(request), remarks_html(remarks)]

    return restore


def restore_a1111(session: Session, text: str) -> list[Any]:
    """Read the settings that another program wrote into an image.

    Args:
        session: What generates.
        text: In A1111's words.

    Returns:
        The values of `FIELDS`, and HTML that says what is lost.

    Raises:
        UsageError: The text is not A1111's, or too long.
    """
    settings = parse_a1111_text(text)
    rest = dict(settings.rest)
    fields = {name: value for name, value in settings.fields.items() if name in FIELDS}
    fields["num_images_per_prompt"] = 1
    method = fields.pop("method", session.methods[0])
    if set(method.split("+")) <= set(session.methods):
        fields["method"] = method
    else:
        fields["method"] = session.methods[0]
        rest["Emotion method"] = method
    request, size = fit_size(session, form.read_request(fields))
    remarks = ["these are the settings of another program: the same seed makes another image here"]
    lost = [f"{key} {value}" for key, value in rest.items()] + size
    if lost:
        remarks.append(f"this tab cannot take over {', '.join(lost)[:MAX_CHARACTERS]}")
    return [*fill_form(request), remarks_html(remarks)]


def fit_size(session: Session, request: GenerationRequest) -> tuple[GenerationRequest, list[str]]:
    """Leave out a size that the page would refuse, as that of an edit may be.

    Args:
        session: What generates.
        request: The request.

    Returns:
        The request, of the base's own size where its own is refused; and what was left out, in words.

    Raises:
        UsageError: The request is refused for something else.
    """
    try:
        session.plan(request)
    except UsageError:
        plain = replace(request, width=None, height=None)
        session.plan(plain)
        return plain, [f"size {request.width}x{request.height}"]
    return request, []


def fill_form(request: GenerationRequest) -> list[Any]:
    """Write a request as the values of the form's fields.

    Args:
        request: The request.

    Returns:
        The values, in the order of `FIELDS`.
    """
    values = asdict(request)
    values["method"] = (request.method or "none").split("+")
    values["emotion"] = request.emotion or ""
    return [values[name] for name in FIELDS]


def unrestored_text(row: GenerationParams, own: GenerationParams) -> list[str]:
    """List what an image is a function of and the page does not set as the image has it.

    Args:
        row: The image's parameters.
        own: The parameters of an image of the page.

    Returns:
        A name with its value, and the page's own value if it has one.
    """
    ours = _list_unrestored(own)
    lost = []
    for name, value in _list_unrestored(row).items():
        here = ours.get(name)
        if name == "safety_checker" or value == here:
            continue
        text = f"{name} {_format_value(name, value)}"
        if here not in (None, ()):
            text += f" (here {_format_value(name, here)})"
        lost.append(text)
    return lost


def _list_unrestored(row: GenerationParams) -> dict[str, Any]:
    return {name: getattr(row, name) for name in NOT_RESTORED} | dict(row.settings)


def parse_scales(text: str) -> list[float]:
    """Read emotion scales.

    Args:
        text: Numbers with commas between them, such as `0, 0.5, 1`.

    Returns:
        The numbers.

    Raises:
        UsageError: For what is no number, or out of range.
    """
    return [read_number("emotion_scale", part) for part in text.split(",") if part.strip()]


def _explain_mismatch(error: Exception, call: str) -> str:
    """The message where Gradio could not read what was sent to a call."""
    if isinstance(error, gr.Error):
        return TYPE.sub("", error.message)
    if isinstance(error, InvalidPathError):
        return "a file that was not uploaded is not read: send it to /gradio_api/upload first"
    return f"that is not what /{call} takes: /gradio_api/info lists its words and their kinds"


def _format_value(name: str, value: Any) -> str:
    """A parameter's value in words; a file by its name alone."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if name in ("image", "emotion_image"):
        return Path(str(value)).name
    return str(value)
