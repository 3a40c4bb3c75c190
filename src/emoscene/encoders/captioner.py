"""A captioner: BLIP (Li et al. 2022), a vision transformer whose patches a small text decoder looks at while it writes.

    captioner.caption(images) -> ["a village by a lake with a dog in front", ...]

It says what an image shows, so that the image can be generated again with other emotions. It learns from a prepared
set's images and their short captions, which name scene and object and no mood; any mood in the caption would be kept
beside the one that is asked for. Its words are those of its data, one token each, in BERT's notation (WordPiece).

Its folder is an ordinary one: `BlipForConditionalGeneration.from_pretrained` loads it with tokenizer and processor.
The other way round, `blip=FOLDER` starts from anybody's BLIP, such as `Salesforce/blip-image-captioning-base`; its
sizes and its words then stand in this one's own settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, BertTokenizer, BlipConfig, BlipForConditionalGeneration

from emoscene.core.config import option
from emoscene.core.errors import UsageError
from emoscene.diffusion.model import DiffusionModel
from emoscene.diffusion.transfer import move_to_device
from emoscene.encoders.base import UNPADDED, PixelFormat, load_pretrained, load_tokenizer
from emoscene.learning.learner import Batch, Learner

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[DEC]", "[SEP]"
MARKS = (PAD, UNKNOWN, "[CLS]", END, "[MASK]", START)
TIED = BlipForConditionalGeneration._tied_weights_keys  # saved once: name -> the name it is saved under
PROVEN = 512  # images of `validate`


@final
class Captioner(Learner):
    """Says in words what an image shows."""

    @dataclass(frozen=True)
    class Config:
        """The sizes of its vision encoder and its text decoder, and the words it knows."""

        blip: str = option("", "a BLIP to start from, a folder or a hub id; empty: a new one of the sizes below")
        words: tuple[str, ...] = option((), "its tokens in their order; empty: the words of its data's captions")
        side: int = option(128, "images are brought to this side, in pixels", span=(16, 1024))
        patch: int = option(16, "side of a patch, in pixels", span=(4, 64))
        width: int = option(144, "vision encoder: size of the hidden state", span=(16, 4096))
        layers: int = option(6, "vision encoder: transformer blocks", span=(1, 48))
        heads: int = option(4, "vision encoder: attention heads", span=(1, 64))
        text_width: int = option(144, "text decoder: size of the hidden state", span=(16, 4096))
        text_layers: int = option(3, "text decoder: transformer blocks", span=(1, 48))
        text_heads: int = option(4, "text decoder: attention heads", span=(1, 64))
        positions: int = option(64, "text decoder: tokens of the longest caption", span=(4, 4096))
        length: int = option(30, "new tokens at most when it writes", span=(1, 512), runtime=True)
        beams: int = option(3, "beginnings of a caption followed at once; 1 is greedy", span=(1, 64), runtime=True)

    config: Config
    columns: ClassVar[tuple[str, ...]] = ("image", "caption")
    files: ClassVar[dict[str, tuple[str, str]]] = {"model.safetensors": ("model.", "")}
    borrows: ClassVar[str] = "blip"

    def __init__(self, config: Config, model: BlipForConditionalGeneration | None = None) -> None:
        super().__init__(config)
        self.model = model or BlipForConditionalGeneration(model_config(config))
        self.tokenizer, self.pixels = make_tokenizer(config.words), PixelFormat.for_clip(config.side)
        self.register_state_dict_post_hook(_drop_tied_weights)
        self.register_load_state_dict_pre_hook(_restore_tied_weights)

    @classmethod
    def from_scratch(cls, config: Config, base: DiffusionModel | None, data: Any = None) -> Self:
        """A new captioner, or one that goes on from `config.blip`. Raises UsageError where there is no such BLIP."""
        if config.words:
            return cls(config)
        if config.blip:
            return cls(*load_borrowed(config))
        if data is None:
            raise UsageError(
                "a captioner has no words to start with: give it a BLIP (blip=FOLDER), or data with captions"
            )
        return cls(replace(config, words=build_vocabulary(data.column("caption"))))

    def compute_loss(self, batch: Batch) -> Tensor:
        """Cross entropy of each caption's tokens, their mean [B]; an image is mirrored every other time."""
        images = torch.where(batch.uniform("mirror", 1, 1, 1) < 0.5, batch["image"], batch["image"].flip(-1))
        tokens, mask = self._tokens(batch["caption"])
        seen = self.model.vision_model(pixel_values=self.pixels.transform(images)).last_hidden_state
        output = self.model.text_decoder(tokens, attention_mask=mask, encoder_hidden_states=seen, use_cache=False)
        wrong = F.cross_entropy(output.logits[:, :-1].float().mT, tokens[:, 1:], reduction="none")
        return (wrong * mask[:, 1:]).sum(1) / mask[:, 1:].sum(1)

    @torch.no_grad()
    def caption(self, images: Tensor) -> list[str]:
        """Generate a caption for each image, by beam search.

        Args:
            images: Images [B, 3, H, W] in [-1, 1], of any size.

        Returns:
            B captions.
        """
        tokens = self.model.generate(
            self.pixels.transform(images),
            max_new_tokens=self.config.length,
            num_beams=self.config.beams,
            do_sample=False,
        )
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def validate(self, data: Any) -> dict[str, Any]:
        """Shares of unseen captions: those said word for word (`exact`), and of their words those said (`words`)."""
        self.eval()
        device, scores = next(self.parameters()).device, []
        for first in range(0, min(len(data), PROVEN), 32):
            rows = data.read(range(first, min(first + 32, len(data), PROVEN)), ["image", "caption"])
            for written, expected in zip(self.caption(rows["image"].to(device)), rows["caption"], strict=True):
                scores.append(caption_agreement(written, expected))
        exact = sum(score[0] for score in scores) / len(scores)
        words = sum(score[1] for score in scores) / len(scores)
        return {"exact": round(exact, 4), "words": round(words, 4), "pictures": len(scores)}

    def extra_files(self) -> dict[str, dict[str, Any]]:
        """What transformers needs beside the weights."""
        side = self.config.side
        processor = {
            "image_processor_type": "BlipImageProcessor",
            "processor_class": "BlipProcessor",
            "size": {"height": side, "width": side},
            "image_mean": self.pixels.mean,
            "image_std": self.pixels.deviation,
        }
        words = {
            "tokenizer_class": "BertTokenizer",
            "processor_class": "BlipProcessor",
            "model_max_length": self.config.positions,
            "bos_token": START,
        }
        about = self.model.config.to_dict() | {"architectures": ["BlipForConditionalGeneration"], "dtype": "float32"}
        return {
            "config.json": about,
            "preprocessor_config.json": processor,
            "tokenizer.json": json.loads(self.tokenizer.backend_tokenizer.to_str()) | UNPADDED,
            "tokenizer_config.json": words,
        }

    def _tokens(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions as tokens [B, L] between start and end, and where there are any [B, L]."""
        room, device = self.config.positions - 2, next(self.parameters()).device
        ids = self.tokenizer(list(captions), add_special_tokens=False, verbose=False)["input_ids"]
        start = torch.tensor([self.tokenizer.convert_tokens_to_ids(START)])
        end = torch.tensor([self.tokenizer.convert_tokens_to_ids(END)])
        rows = []
        for row in ids:
            rows.append(torch.cat([start, torch.tensor(row[:room], dtype=torch.long), end]))
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        padding = self.tokenizer.convert_tokens_to_ids(PAD)
        tokens = nn.utils.rnn.pad_sequence(rows, True, padding)
        return move_to_device(tokens, device), move_to_device(mask, device)


def build_vocabulary(captions: Iterable[str]) -> tuple[str, ...]:
    """Collect the tokens of captions.

    Args:
        captions: The captions.

    Returns:
        The special tokens, followed by all words and signs in alphabetical order.
    """
    bert = BertTokenizer().backend_tokenizer
    words: set[str] = set()
    for caption in captions:
        text = bert.normalizer.normalize_str(caption)
        for word, _ in bert.pre_tokenizer.pre_tokenize_str(text):
            words.add(word)
    return (*MARKS, *sorted(words))


def make_tokenizer(words: Sequence[str]) -> BertTokenizer:
    """Make BERT's tokenizer with a vocabulary of its own.

    Args:
        words: The tokens, in order.

    Returns:
        The tokenizer.
    """
    return BertTokenizer(vocab={word: number for number, word in enumerate(words)}, bos_token=START)


def model_config(config: Captioner.Config) -> BlipConfig:
    """Convert the settings to transformers' config.

    Args:
        config: The settings.

    Returns:
        The config.
    """
    ids = {}
    for number, word in enumerate(config.words):
        ids[word] = number
    start, end, padding = ids[START], ids[END], ids[PAD]
    text = {
        "vocab_size": len(config.words),
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "max_position_embeddings": config.positions,
        "bos_token_id": start,
        "eos_token_id": end,
        "sep_token_id": end,
        "pad_token_id": padding,
    }
    vision = {
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.side,
        "patch_size": config.patch,
        "initializer_range": 0.02,
    }
    return BlipConfig(text_config=text, vision_config=vision)


def load_borrowed(config: Captioner.Config) -> tuple[Captioner.Config, BlipForConditionalGeneration]:
    """Load a third party's BLIP.

    Args:
        config: The settings, whose `blip` is a folder or a hub id.

    Returns:
        The settings that describe the model, and the model.

    Raises:
        UsageError: There is no BLIP, or one of another shape.
    """
    model, _ = load_pretrained(BlipForConditionalGeneration, config.blip, "BLIP")
    theirs = load_tokenizer(AutoTokenizer, config.blip, "BLIP")
    text, vision = model.config.text_config, model.config.vision_config
    tokens = {}
    for word, number in theirs.get_vocab().items():
        tokens[number] = word
    tokens |= {text.bos_token_id: START, text.sep_token_id: END, text.pad_token_id: PAD}
    described = replace(
        config,
        words=tuple(tokens.get(number, f"[unused-{number}]") for number in range(text.vocab_size)),
        side=vision.image_size,
        patch=vision.patch_size,
        width=vision.hidden_size,
        layers=vision.num_hidden_layers,
        heads=vision.num_attention_heads,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
        positions=text.max_position_embeddings,
    )
    mine = model_config(described)
    for key in ("intermediate_size", "hidden_act", "layer_norm_eps"):
        for own, other in ((mine.text_config, text), (mine.vision_config, vision)):
            if getattr(own, key) != getattr(other, key):
                raise UsageError(
                    f"{config.blip} is a BLIP of another shape ({key} is {getattr(other, key)}): use another"
                )
    if not isinstance(theirs, BertTokenizer):
        raise UsageError(f"{config.blip} does not write with BERT's tokens: use another BLIP")
    return described, model


def caption_agreement(written: str, wanted: str) -> tuple[float, float]:
    """Compare a generated caption with the expected one.

    Args:
        written: The generated caption.
        wanted: The expected caption.

    Returns:
        1 if they are the same and 0 otherwise, and the share of the expected words that were generated, from 0 to 1.
    """
    generated = set(written.lower().replace(",", " ").split())
    expected = set(wanted.lower().replace(",", " ").split())
    return float(written.split() == wanted.lower().split()), len(generated & expected) / max(1, len(expected))


def _drop_tied_weights(module: nn.Module, state: dict[str, Tensor], prefix: str, local: Any) -> None:
    """Weights that are one and the same are saved once."""
    for name in TIED:
        del state[f"{prefix}model.{name}"]


def _restore_tied_weights(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    for name, source in TIED.items():
        state[f"{prefix}model.{name}"] = state[f"{prefix}model.{source}"]
