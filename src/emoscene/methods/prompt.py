"""The emotion written into the words: the baseline that needs no training.

Each emotion has a line in `lexicons/*.toml`, in words that the base knows, to read and to edit (`lexicon=FILE`). The
line is appended to the prompt, and the emotion scale acts as in any other method: text = E0 + sum_i a_i (E_i - E0).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from torch import Tensor

from emoscene.core import registry
from emoscene.core.config import option, read_toml
from emoscene.core.errors import UsageError, unknown_name
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.methods.base import ConditioningShare, Method, interpolate_embeds


@final
class Prompt(Method):
    """Appends an emotion's words to the prompt."""

    columns = ()

    @dataclass(frozen=True)
    class Config(ConditioningShare):
        """Which words."""

        lexicon: str = option("", "TOML file with a line of words an emotion; empty: the base's own", runtime=True)

    def __init__(self, config: Config, base: DiffusionModel) -> None:
        super().__init__(config, base)
        self.lines = read_lexicon(config.lexicon or registry.source_file("lexicons", base.spec.lexicon))

    @property
    def num_tokens(self) -> int:
        """The longest line's tokens."""
        lengths = [len(self.base.tokenize(f", {line}")) for line in self.lines.values()]
        return max(lengths)

    def condition(self, plain: Condition) -> Condition:
        """Move the text towards the prompts with the asked emotions' words."""
        return interpolate_embeds(plain, self._encode_with_words)

    def _encode_with_words(self, prompts: list[str], emotions: Tensor) -> TextEncoding:
        """The text of each prompt with an emotion's words after it, R rows; emotions: their numbers [R]."""
        endings = []
        for prompt, number in zip(prompts, emotions.tolist(), strict=True):
            line = self.lines[EMOTIONS[number]]
            if prompt:
                line = f", {line}"
            endings.append(line)
        return self.base.encode_prompt(prompts, endings=endings)


def read_lexicon(file: str | Path) -> dict[str, str]:
    """Read a lexicon.

    Args:
        file: A TOML file with a line of words for each emotion.

    Returns:
        The words by emotion.

    Raises:
        UsageError: The file cannot be read, lacks an emotion, or names another.
    """
    lines = {str(key): str(value) for key, value in read_toml(file).items()}
    for name in lines:
        if name not in EMOTIONS:
            raise unknown_name("emotion", name, EMOTIONS, hint=str(file))
    if missing := [name for name in EMOTIONS if name not in lines]:
        raise UsageError(f"{file} has no words for {', '.join(missing)}")
    return lines
