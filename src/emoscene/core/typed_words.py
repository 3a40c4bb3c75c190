"""Write the classes of keywords in `request.py`, for editors: `python -m emoscene.core.typed_words`."""

from __future__ import annotations

from pathlib import Path

from emoscene.core import request
from emoscene.core.parameter import CALL, EVALUATE

WRITTEN = "# both written by `python -m emoscene.core.typed_words`\n"
TYPED = {
    "EvaluationWords": (EVALUATE, "What `evaluate` takes beside its own arguments: fields of `GenerationRequest`."),
    "GenerationWords": (
        CALL,
        "What `EmotionPipeline` and `generate` take beside the prompt: fields of `GenerationRequest`.",
    ),
}
"""The classes of keywords: the parameters of each, and its sentence."""


def typed_words() -> str:
    """Write the classes of keywords, for editors and type checkers.

    Returns:
        Their text, as `request.py` has it.
    """
    classes = []
    for name, (scope, sentence) in TYPED.items():
        lines = [f"class {name}(TypedDict, total=False):", f'    """{sentence}"""', ""]
        for key, one in request.list_parameters(scope).items():
            lines.append(f"    {key}: {one.annotation}")
        classes.append("\n".join(lines))
    return "\n\n\n".join(classes) + "\n"


def write_typed_words(file: Path) -> None:
    """Bring the classes of keywords in a file to what the request has.

    Args:
        file: The file, `request.py`.
    """
    before, _, after = file.read_text(encoding="utf8").partition(f"\n{WRITTEN}")
    _, following, rest = after.partition("\n\n\ndef list_parameters")
    text = f"{before}\n{WRITTEN}{typed_words()}{following[1:]}{rest}"
    file.write_text(text, encoding="utf8", newline="\n")


if __name__ == "__main__":
    write_typed_words(Path(request.__file__))
