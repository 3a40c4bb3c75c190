"""EmotionCLIP: it learns by both contrasts, it is an ordinary CLIP, and it goes on from any other."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoImageProcessor, CLIPModel, CLIPTokenizer

import tiny
from emoscene.core import config as configs
from emoscene.core.errors import UsageError
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import DiffusionModel
from emoscene.encoders.base import to_tensor
from emoscene.encoders.emotion_clip import EmotionCLIP, contrastive_loss
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch
from emoscene.training import loop, state

SMALL = {
    "side": 32,
    "patch": 16,
    "width": 32,
    "layers": 1,
    "text_width": 32,
    "text_layers": 1,
    "heads": 2,
    "vector": 16,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def made(base, **settings):
    torch.manual_seed(0)
    return EmotionCLIP.from_scratch(configs.replace_fields(EmotionCLIP.Config(), SMALL | settings), base)


class Colours:
    """Pictures whose colour is their emotion and whose light, from above or below, is their caption."""

    def __len__(self):
        return 32

    def read(self, indices, columns):
        shades = torch.rand(8, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
        light = torch.linspace(-0.5, 0.5, 32)[:, None].expand(32, 32)
        up = [index // 8 % 2 for index in indices]
        pictures = [0.5 * shades[i % 8][:, None, None] + light * (1 - 2 * u) for i, u in zip(indices, up, strict=True)]
        found = {
            "image": torch.stack(pictures),
            "weights": torch.eye(8)[[index % 8 for index in indices]],
            "caption": ["a dog"] * len(up),
            "caption_long": [("sun", "snow")[u] for u in up],
        }
        return {column: found[column] for column in columns}


def batch(slots=range(16), **changed):
    return Batch(Colours().read(list(slots), EmotionCLIP.columns) | changed, 0, 0, list(slots))


def test_it_learns_emotions_and_captions(base, tmp_path):
    settings = state.Config(steps=40, batch_size=32, lr=3e-3, ema_decay=0, precision="fp32", checkpoint_every=1000)
    clip = loop.run_training(made(base, long=1.0), Colours(), settings, tmp_path)
    assert clip.validate(Colours()) == {"accuracy": 1.0, "pictures": 32}
    with torch.no_grad():
        seen = clip.encode(Colours().read(range(32), ["image"])["image"])[1]
        told = clip._encode_tokens(clip._tokenize(["sun", "snow"]))
    assert ((seen @ told.T).argmax(1) == torch.arange(32) // 8 % 2).float().mean() > 0.9


def test_its_folder_is_an_ordinary_clip(base, tmp_path):
    clip = made(base).eval()
    learners.save_learner(clip, "emotion_clip", tmp_path, base)
    plain, processor = CLIPModel.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    words = CLIPTokenizer.from_pretrained(tmp_path)(["a picture that conveys awe"], return_tensors="pt")
    again = learners.load_learner("encoders", tmp_path, None)
    with torch.no_grad():
        likely, vector = again.encode(to_tensor([picture]))
        theirs = plain(**words, **processor(picture, return_tensors="pt"))
        mine = clip._encode_tokens(clip._tokenize(["a picture that conveys awe"]))
        assert torch.equal(likely, clip.encode(to_tensor([picture]))[0])
    torch.testing.assert_close(vector, theirs.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(mine, theirs.text_embeds, atol=1e-5, rtol=0)
    assert json.loads((tmp_path / "learner.json").read_text())["emotions"] == list(EMOTIONS)


def test_a_reading_is_probabilities_and_a_unit_vector(base):
    clip = made(base).eval()
    images = torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        likely, vectors = clip.encode(images)
        own = clip.emotion_vectors()
    assert likely.shape == (3, 8)
    assert vectors.shape == (3, 16)
    torch.testing.assert_close(likely.sum(1), torch.ones(3))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(own.norm(dim=1), torch.ones(8))
    assert (own @ own.T - torch.eye(8)).max() < 0.9999
    assert clip.read([Image.new("RGB", (48, 80), "red")]).features.shape == (1, 16)


def test_it_goes_on_from_another_clip(base, tmp_path):
    before = made(base)
    before.model.save_pretrained(tmp_path / "clip")
    before.tokenizer.save_pretrained(tmp_path / "clip")
    after = EmotionCLIP.from_scratch(EmotionCLIP.Config(begun=str(tmp_path / "clip")), None)
    pictures = batch()["image"]
    with torch.no_grad():
        assert torch.equal(before.eval().encode(pictures)[0], after.eval().encode(pictures)[0])
    assert after.config.vector == 16
    with pytest.raises(UsageError, match="holds no CLIP"):
        EmotionCLIP.from_scratch(EmotionCLIP.Config(begun=str(tmp_path / "nothing")), base)
    for file in (tmp_path / "clip").glob("*token*"):
        file.unlink()
    with pytest.raises(UsageError, match="lacks its tokenizer"):
        EmotionCLIP.from_scratch(EmotionCLIP.Config(begun=str(tmp_path / "clip")), None)
    with pytest.raises(UsageError, match="needs a tokenizer"):
        EmotionCLIP.from_scratch(EmotionCLIP.Config(), None)


def test_a_contrast_by_hand():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    target = torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    by_hand = -(0.25 * logits[0].log_softmax(0)[0] + 0.75 * logits[0].log_softmax(0)[2])
    torch.testing.assert_close(contrastive_loss(logits, target), torch.stack([by_hand, torch.tensor(0.0)]))


def test_each_sample_has_its_own_loss_and_equal_captions_are_one(base):
    clip = made(base, caption=0.0, long=0.0)
    losses = clip(batch(weights=torch.eye(8).repeat(2, 1) * (torch.arange(16) > 0)[:, None]))
    assert losses.shape == (16,)
    assert losses[0] == 0
    assert (losses[1:] > 0).all()
    alike = made(base, caption=1.0, emotion=0.0, long=0.0)
    one = batch(image=batch()["image"][:1].expand(16, 3, 32, 32))
    torch.testing.assert_close(alike(one), F.cross_entropy(torch.zeros(1, 16), torch.tensor([0])).expand(16))


def test_a_sample_flips_by_its_own_die(base):
    clip = made(base, caption=0.0)
    whole = clip(batch())
    some = Batch(Colours().read([3, 9], EmotionCLIP.columns), 0, 0, [3, 9])
    torch.testing.assert_close(clip(some), whole[[3, 9]], atol=1e-5, rtol=1e-5)


def test_what_is_saved_does_not_depend_on_the_last_batch(base):
    clip, saved = made(base), []
    for options in ({"padding": True}, {"padding": "max_length", "max_length": 9, "truncation": True}):
        clip.tokenizer(["a lake", "a village by a lake"], **options)
        saved.append(json.dumps(clip.extra_files()))
    assert saved[0] == saved[1]
