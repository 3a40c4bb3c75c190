"""What the page's buttons and Gradio's API call: words in, a `GenerationRequest`, what the studio answers, components'
values out.

Nothing is decided here. A sentence of refusal becomes the page's own, and no other error is shown. Those that paint are
generators: a call that is stopped, or whose asker has gone, is closed at its next step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from inspect import Parameter, Signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.exceptions import InvalidPathError

from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import read_params, save_image
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest, read_number
from emoscene.core.taxonomy import EMOTIONS, format_emotion
from emoscene.core.templates import render
from emoscene.web import form
from emoscene.web.affect_plane import PACKAGE, verdicts_html
from emoscene.web.session import Painted, Session, Verdict

FIELDS = tuple(name for name in form.FIELDS if name != "strength")
"""The words of the tab *Generate*, in their order."""
APART = ("adapters", "loras", "image", "strength", "emotion_image", "guidance_interval")
"""What else a picture is a function of, besides its base and its settings."""

TYPE = re.compile(r" \(type: <class '.*?'>\)")


class PlainBlocks(gr.Blocks):
    """Gradio's page, except that nobody who asks is answered in Python's words."""

    async def preprocess_data(self, block_fn: Any, *asked: Any, **more: Any) -> Any:
        """What was sent, as the function takes it; what does not fit is refused."""
        try:
            return await super().preprocess_data(block_fn, *asked, **more)
        except Exception as error:
            raise gr.Error(
                _explain_mismatch(error, block_fn.api_name), title="Not so", print_exception=False
            ) from error

    async def process_api(self, *asked: Any, **more: Any) -> Any:
        """A call's next answer; a mistake of ours is owned, and Gradio prints its traceback."""
        try:
            return await super().process_api(*asked, **more)
        except gr.Error:
            raise
        except Exception as error:
            sentence = "this went wrong by a mistake of the page's own: its log, where `emoscene web` runs, says which"
            raise gr.Error(sentence, title="Our mistake") from error


@contextmanager
def plain_errors(*files: str) -> Iterator[None]:
    """What a call got wrong becomes the page's own sentence, files by their names alone."""
    try:
        yield
    except (UsageError, EmosceneError) as error:
        sentence = str(error)
        for file in files:
            sentence = sentence.replace(file, Path(file).name)
        raise gr.Error(sentence, title="Not so", print_exception=False, duration=12) from error


def read_form(words: Sequence[Any]) -> GenerationRequest:
    """The request in a tab's words, which stand in the order of `FIELDS`."""
    pairs = dict(zip(FIELDS, words, strict=True))
    pairs["method"] = "+".join(pairs["method"] or []) or "none"
    return form.read_request(pairs)


def progress_html(share: float, words: str) -> str:
    """How far it is, as HTML."""
    return str(render((PACKAGE,), "progress.html.j2", share=share, words=words))


def remarks_html(remarks: Sequence[str]) -> str:
    """Remarks, as HTML."""
    return str(render((PACKAGE,), "remarks.html.j2", remarks=remarks))


def masthead_html(base: str, remarks: Sequence[str]) -> str:
    """The head of the page, as HTML: the base's name, and remarks under it."""
    return str(render((PACKAGE,), "masthead.html.j2", base=base, remarks=remarks))


def result_text(rows: Sequence[GenerationParams]) -> str:
    """What to say of pictures that are made."""
    seconds = sum(row.seconds or 0 for row in rows)
    withheld = sum(row.settings.get("safety_checker") == "withheld" for row in rows)
    kept = f"; {withheld} withheld by the safety checker" if withheld else ""
    return f"{len(rows)} picture{'s' * (len(rows) > 1)} in {seconds:.1f} s{kept}"


def save_files(finished: Sequence[Painted], folder: str) -> list[tuple[str, str]]:
    """The pictures as PNGs that carry their rows, and a caption each."""
    for row, image in finished:
        save_image(image, Path(folder) / row.file, row)
    return [(str(Path(folder) / row.file), caption_of(row)) for row, _ in finished]


def caption_of(row: GenerationParams) -> str:
    """A picture's seed, and the emotions that count in it."""
    weights = {name: weight for name, weight in zip(EMOTIONS, row.emotion, strict=True) if abs(weight) >= 0.05}
    felt = [
        name if weights[name] == 1 else f"{name} {weights[name]:.2g}"
        for name in sorted(weights, key=lambda name: -weights[name])
    ]
    return f"seed {row.seed} · {', '.join(felt) or 'no emotion'}"


def make_generate(studio: Session) -> Callable[..., Iterator[Any]]:
    """The function of the tab *Generate*."""

    def generate(*words: Any) -> Iterator[Any]:
        with plain_errors():
            request = read_form(words)
            method, num = request.method or "none", request.num_images_per_prompt
            remarks = [*studio.pipe(method).remarks(str(request.prompt)), *studio.remarks]
            if request.emotion and method == "none":
                remarks.append("the base alone hears no emotion: choose a method")
            notes = remarks_html(remarks)
            across = min(2, num)
            yield gr.Gallery(columns=across), progress_html(0, "beginning") + notes, gr.skip()
            with TemporaryDirectory(prefix="emoscene-") as folder:
                for view in studio.generate(request):
                    rows = [row.to_dict() for row, _ in view.finished]
                    last = view.share == 1 and len(rows) == num
                    news = result_text([row for row, _ in view.finished]) if last else f"{view.share:.0%}"
                    shown = last or view.previews
                    pictures = [
                        *save_files(view.finished, folder),
                        *((image, "in the making") for image in view.previews),
                    ]
                    yield (
                        pictures if shown else gr.skip(),
                        progress_html(view.share, news) + notes,
                        rows if last else gr.skip(),
                    )

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in FIELDS]
    generate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # by which programs call it
    return generate


def make_compare(studio: Session) -> Callable[..., Iterator[Any]]:
    """The function of the tab *Compare*."""

    def compare(
        prompt: str,
        methods: list[str] | None,
        emotions: list[str] | None,
        strengths: str | None,
        seed: float,
        steps: float,
    ) -> Iterator[Any]:
        with plain_errors():
            request = form.read_request({"prompt": prompt, "seed": seed, "num_inference_steps": steps})
            chosen = ["" if name == "none" else name for name in emotions or []]
            grid = studio.compare(request, methods or [], chosen, parse_scales(strengths or ""))
            with TemporaryDirectory(prefix="emoscene-") as folder:
                made = 0
                for view in grid.views():
                    fresh, made = len(view.finished) > made, len(view.finished)
                    words = f"{made} of {len(grid.rows)} pictures"
                    image = gr.skip()
                    if fresh:
                        image = str(Path(folder) / f"compare-{made}.png")
                        grid.sheet(view.finished).save(image)
                    rows = [row.to_dict() for row, _ in view.finished]
                    yield image, progress_html(view.share, words), rows if made == len(grid.rows) else gr.skip()

    return compare


def make_edit(studio: Session) -> Callable[..., Iterator[Any]]:
    """The function of the tab *Edit emotion*."""

    def edit(
        file: str, prompt: str, emotion: str, strength: float, emotion_scale: float, method: list[str], seed: float
    ) -> Iterator[Any]:
        with plain_errors(*[file] if file else []):
            asked = {"prompt": prompt, "emotion": emotion, "emotion_scale": emotion_scale, "strength": strength}
            asked |= {"seed": seed, "method": "+".join(method or []) or "none"}
            before, views = studio.edit(form.read_request(asked), file)
            with TemporaryDirectory(prefix="emoscene-") as folder:
                for view in views:
                    after = [path for path, _ in save_files(view.finished, folder)] or view.previews
                    rows = [row.to_dict() for row, _ in view.finished]
                    words = result_text([row for row, _ in view.finished]) if rows else f"{view.share:.0%}"
                    news = progress_html(view.share, words) + remarks_html(view.cautions)
                    yield (before, after[0]) if after else gr.skip(), news, rows or gr.skip()

    return edit


def make_judge(studio: Session) -> Callable[..., Any]:
    """The function of the tab *Judge*."""

    def judge(pictures: list[str] | None) -> tuple[str, Any]:
        with plain_errors(*pictures or []):
            found = studio.judge(pictures or [])
            read = {name: [cautions_html(one) for one in many] for name, many in found.items()}
            return verdicts_html(found), read

    return judge


def cautions_html(verdict: Verdict) -> dict[str, Any]:
    """A verdict as the API gives it; with its caution, where there is one."""
    caution = {"caution": verdict.caution} if verdict.caution else {}
    return {"likely": verdict.likely, "place": verdict.place, **caution}


def make_restore(studio: Session) -> Callable[[str | None], Any]:
    """Reads the settings out of a picture that was painted here."""

    def restore(file: str | None) -> list[Any]:
        with plain_errors(*[file] if file else []):
            if not file:
                raise UsageError("there is no picture yet: drop one first")
            row = read_params(file)
            if row.base != studio.base.name:
                mine = Path(studio.base.name).name  # whoever asks need not know where the base lies
                raise UsageError(f"{file} was painted on {row.base}, and this page has {mine}: emoscene web --base")
            alone = {"emotion": format_emotion(row.emotion), "num_images_per_prompt": 1}
            own = {name: getattr(row, name) for name in FIELDS if name not in alone}
            request = form.read_request(own | alone)
            methods = row.method.split("+")
            for name in methods:
                studio.pipe(name)
            [here] = studio.pipe(row.method).plan()
            gone = unrestored_text(row, here)
            remarks = [f"this tab cannot take over {', '.join(gone)}: emoscene generate can"] if gone else []
            back = asdict(request) | {"method": methods, "emotion": alone["emotion"]}
            return [*(back[name] for name in FIELDS), remarks_html(remarks)]

    return restore


def unrestored_text(row: GenerationParams, own: GenerationParams) -> list[str]:
    """What made a picture and does not make one here, in words; own: a row of the page's."""
    theirs, ours = ({**{name: getattr(one, name) for name in APART}, **one.settings} for one in (row, own))
    gone = {name: value for name, value in theirs.items() if name != "safety_checker" and value != ours.get(name)}
    here = {name: f" (here {_format_value(name, ours[name])})" for name in gone if ours.get(name) not in (None, ())}
    return [f"{name} {_format_value(name, value)}{here.get(name, '')}" for name, value in gone.items()]


def parse_scales(text: str) -> list[float]:
    """Emotion scales as they are written: `0, 0.5, 1`. Raises Usage for what is no number."""
    return [read_number("emotion_scale", part) for part in text.split(",") if part.strip()]


def _explain_mismatch(error: Exception, call: str) -> str:
    """What to say where Gradio could not read what was sent to a call."""
    if isinstance(error, gr.Error):
        return TYPE.sub("", error.message)
    if isinstance(error, InvalidPathError):
        return "a file that was not uploaded is not read: send it to /gradio_api/upload first"
    return f"that is not what /{call} takes: /gradio_api/info lists its words and their kinds"


def _format_value(name: str, value: Any) -> str:
    """A row's value in words; a file by its name alone."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return Path(str(value)).name if name in ("image", "emotion_image") else str(value)
