"""The miniature base: its folder is what it says it is, and each of its parts learns."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emoscene.core import seeds
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch, Learner
from emoscene.training.loop import train_steps
from emoscene.training.state import Config, TrainingState
from emoscene_mini import build, folder, image_cache, tokenizer
from emoscene_mini.autoencoder import Autoencoder
from emoscene_mini.base import Base
from emoscene_mini.decoder import Decoder, feature_distance
from emoscene_mini.discriminator import Discriminator
from emoscene_mini.world1 import SCENES

SD15 = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


class Fixed:
    """Eight random pictures and their latents, always the same ones."""

    def __init__(self) -> None:
        random = seeds.torch_generator(0, "fixed")
        self.columns = {
            "pixels": torch.randint(0, 256, (8, 3, 8, 8), generator=random, dtype=torch.uint8).repeat(1, 1, 8, 8),
            "latents": torch.randn(8, 2, 4, 8, 8, generator=random),
            "weights": torch.eye(8),
            "scene": list(SCENES)[:8],
            "texts": torch.randn(8, 2, 77, 16, generator=random),
        }

    def __len__(self) -> int:
        return 8

    def read(self, indices: Sequence[int], columns: Sequence[str]) -> dict[str, Any]:
        """The named columns."""
        found = {name: self.columns[name] for name in columns}
        return {
            name: [column[i] for i in indices] if isinstance(column, list) else column[list(indices)]
            for name, column in found.items()
        }


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP whose tokenizer knows a few words."""
    home = tmp_path_factory.mktemp("clip")
    tokenizer.save_tokenizer(
        home / "tokenizer", tokenizer.train_tokenizer(["a", "by", "in", "lake", "light", "village", "warm"])
    )
    tiny = {"side": 32, "width": 16, "layers": 1, "text_width": 16, "text_layers": 1, "heads": 2, "vector": 8}
    torch.manual_seed(0)
    learner = EmotionCLIP.from_scratch(EmotionCLIP.Config(tokenizer=str(home / "tokenizer"), **tiny), None)
    learners.save_learner(learner, "text_encoder", home, None)
    return home


def learner_of(kind: str, clip: Path) -> Learner:
    torch.manual_seed(0)
    small = (16, 16, 16, 16)
    if kind == "base":
        return Base.from_scratch(Base.Config(text=str(clip), channels=(16, 32), heads=2, side=8), None)
    if kind == "decoder":
        return Decoder.from_scratch(Decoder.Config(channels=small), None)
    return Autoencoder.from_scratch(Autoencoder.Config(channels=small, crop=32), None)


@pytest.mark.parametrize("kind", ["autoencoder", "base"])
def test_loss_falls(kind: str, clip: Path) -> None:
    learner = learner_of(kind, clip)
    config = Config(steps=2, batch_size=8, precision="fp32", lr=3e-3, warmup=0.0, schedule="constant")
    fixed = Fixed()
    state = TrainingState(learner, config)
    taken = list(train_steps(state, fixed, config))
    assert len(taken) == 2
    assert all(step.norm > 0 for step in taken)
    again = TrainingState(learner_of(kind, clip), config)
    batch = Batch(fixed.read(range(8), learner.columns), 0, 0, range(8))
    with torch.no_grad():
        assert float(learner(batch).mean()) < float(again.learner(batch).mean())


def test_the_base_hears_nothing_the_short_caption_or_the_long_one_and_its_text_encoder_stays(clip: Path) -> None:
    learner = learner_of("base", clip)
    assert isinstance(learner, Base)
    assert {name.partition(".")[0] for name in learner.trainable} == {"unet"}
    texts = learner.encode_captions(["a village", "a village by a lake in warm light"])
    assert not texts.requires_grad
    assert (texts[0] - texts[1]).abs().max() > 0.1
    columns = {"latents": torch.zeros(400, 2, 4, 8, 8), "texts": texts.expand(400, -1, -1, -1)}
    heard = learner._text(Batch(columns, 0, 0, range(400)))
    sources = torch.stack([learner.silence, *texts])
    which = (heard[:, None] - sources).flatten(2).abs().amax(2).argmin(1)
    shares = which.bincount(minlength=3) / 400
    assert shares == pytest.approx([0.1, 0.45, 0.45], abs=0.07)


def test_the_critic_learns_from_its_mistakes_alone_and_the_picture_from_its_disbelief() -> None:
    torch.manual_seed(0)
    critic = Discriminator((8, 8, 8))
    wanted, made = torch.rand(4, 3, 32, 32) * 2 - 1, torch.zeros(4, 3, 32, 32, requires_grad=True)
    critic.generator_loss(made).sum().backward()
    assert made.grad is not None
    assert made.grad.abs().sum() > 0
    assert all(p.grad is None for p in critic.parameters())
    made.grad = None
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = critic.discriminator_loss(made, wanted).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert made.grad is None
    assert losses[-1] < 0.8 * losses[0]


def test_a_decoder_is_kept_without_its_critic(clip: Path, tmp_path: Path) -> None:
    learner = learner_of("decoder", clip)
    learners.save_learner(learner, "decoder", tmp_path, None)
    kept = load_file(tmp_path / "model.safetensors")
    assert {name.partition(".")[0] for name in kept} == {"vae"}
    again = Decoder.from_scratch(Decoder.Config(channels=(16, 16, 16, 16), begun=str(tmp_path)), None)
    assert all(torch.equal(value, again.vae.state_dict()[name[4:]]) for name, value in kept.items())


def test_the_eyes_pull_at_the_picture_alone_and_are_not_kept(tmp_path: Path) -> None:
    small = (16, 16, 16, 16)
    blind = Decoder.from_scratch(Decoder.Config(channels=small), None)
    learner = Decoder.from_scratch(
        Decoder.Config(channels=small, eyes=str(build.WEIGHTS.parent / "emotion_clip")), None
    )
    learner.load_state_dict(blind.state_dict(), strict=False)
    assert learner.trainable.keys() == blind.trainable.keys()
    batch = Batch(Fixed().read(range(8), learner.columns), 0, 0, range(8))
    assert (learner(batch) > blind(batch) + 0.01).all()
    learners.save_learner(learner, "decoder", tmp_path, None)
    assert {name.partition(".")[0] for name in load_file(tmp_path / "model.safetensors")} == {"vae"}
    eyes, picture = learner.eyes, torch.rand(2, 3, 64, 64, requires_grad=True)
    assert isinstance(eyes, EmotionCLIP)
    assert feature_distance(eyes, picture, picture.detach()).max() == 0
    feature_distance(eyes, picture, picture.detach().flip(-1)).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0


def test_the_frozen_encoder_stays(clip: Path) -> None:
    learner = learner_of("decoder", clip)
    assert not [name for name in learner.trainable if "encoder." in name.replace("decoder.", "")]


@pytest.mark.slow
def test_every_word_is_a_token_and_marks_come_last() -> None:
    known = tokenizer.world_vocabulary(3000)
    learnt = tokenizer.train_tokenizer(known)
    assert [word for word in known if len(learnt(word, add_special_tokens=False)["input_ids"]) != 1] == []
    assert (learnt.bos_token_id, learnt.eos_token_id) == (len(learnt) - 2, len(learnt) - 1)
    assert learnt.pad_token_id == learnt.eos_token_id
    assert learnt("a")["input_ids"][0] == learnt.bos_token_id
    assert not set(known) & {"awe", "fear", "anger", "sadness", "disgust", "amusement", "contentment", "excitement"}


def test_rendering_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    image_cache.build_cache(tmp_path / "a", "base", 3, 0, _quiet)
    image_cache.build_cache(tmp_path / "b", "base", 2, 0, _quiet)
    with (tmp_path / "b" / image_cache.NOTES).open("ab") as file:
        file.write(b'{"seed": 1')
    image_cache.build_cache(tmp_path / "b", "base", 3, 0, _quiet)
    for name in (image_cache.NOTES, image_cache.PIXELS):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def _quiet(message: str) -> None:
    """Tell nobody."""


def test_a_stage_nobody_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--stage", "vea", "--work", str(tmp_path)]) == 2
    assert "vae" in capsys.readouterr().err
    assert build.main(["--stage", "vae", "--work", str(tmp_path), "steps=3"]) == 2


def test_scheduler_has_exactly_the_keys_of_sd15() -> None:
    assert folder.SCHEDULER == SD15
    assert json.loads((build.WEIGHTS / "scheduler/scheduler_config.json").read_text()) == SD15


def test_plain_diffusers_loads_it_and_paints() -> None:
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(str(build.WEIGHTS))
    pipe.set_progress_bar_config(disable=True)
    dpm = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    dpm.set_timesteps(20)
    assert int(dpm.timesteps[0]) == 999
    assert not DDIMScheduler.from_config(pipe.scheduler.config).config.clip_sample
    pipe.scheduler = dpm
    picture = pipe("a village by a lake", num_inference_steps=2).images[0]
    assert picture.size == (128, 128)


def test_size_and_types() -> None:
    files = [path for path in build.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    base = DiffusionModel.load("mini")
    assert base.default_size == 128
    assert base.vae_scale_factor == 8
    assert base.text_encoder.dtype == torch.float32
    known = set((build.WEIGHTS / "words.txt").read_text().split())
    assert {"a", "village", "by", "lake", "with", "dog"} <= known
