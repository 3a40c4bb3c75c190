"""The miniature's recipe: which parts it has, with what settings each is trained, on how many pictures."""

from __future__ import annotations

from typing import Any

from emoscene.encoders.captioner import Captioner
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.learning.learner import Learner
from emoscene_mini.autoencoder import Autoencoder
from emoscene_mini.base import Base
from emoscene_mini.decoder import Decoder

PICTURES = 28_000
COMPANIONS = ("emotion_clip", "captioner")  # what ships beside the base
ADAPTERS = ("lora", "guidance", "multimodal", "inversion")  # what is trained on the finished base
ADAPTING = 16_384  # pictures for that, each mirrored too
FOLDERS = ("tokenizer", "begun", "text", "eyes")  # settings that name another stage's
TRAINED: dict[str, tuple[type[Learner], dict[str, Any], dict[str, Any]]] = {
    "vae": (
        Autoencoder,
        {"crop": 64},
        {"steps": 6000, "batch_size": 16, "lr": 2e-3, "weight_decay": 0.0, "ema_decay": 0.998, "seed": 1},
    ),
    "decoder": (
        Decoder,
        {"begun": "vae", "eyes": "emotion_clip", "strength": 1.5, "noise": 0.015, "critic": 0.05},
        {"steps": 14000, "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0, "ema_decay": 0.998, "seed": 8},
    ),
    "text_encoder": (
        EmotionCLIP,
        {"tokenizer": "tokenizer", "emotion": 0.0, "text_layers": 4, "long": 0.5},
        {
            "steps": 1500,
            "batch_size": 256,
            "lr": 1e-3,
            "muon": 10.0,
            "weight_decay": 0.05,
            "ema_decay": 0.996,
            "seed": 10,
        },
    ),
    "unet": (
        Base,
        {"text": "text_encoder"},
        {"steps": 12000, "batch_size": 128, "lr": 8e-4, "warmup": 0.02, "ema_decay": 0.9995, "seed": 5},
    ),
    "captioner": (
        Captioner,
        {},
        {
            "steps": 2000,
            "batch_size": 64,
            "lr": 1e-3,
            "muon": 10.0,
            "weight_decay": 0.05,
            "ema_decay": 0.996,
            "seed": 7,
        },
    ),
    "emotion_clip": (
        EmotionCLIP,
        {"tokenizer": "tokenizer"},
        {
            "steps": 1800,
            "batch_size": 128,
            "lr": 1e-3,
            "muon": 10.0,
            "weight_decay": 0.05,
            "ema_decay": 0.996,
            "seed": 6,
        },
    ),
}
"""What trains: the learner, its settings (folders are the work folder's), and training's."""
