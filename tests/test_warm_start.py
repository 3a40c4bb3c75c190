"""A new miniature begins with an older one's weights: what both know is the same at the start."""

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from emoscene.core.errors import UsageError
from emoscene.encoders.emotion_clip import EmotionCLIP, load_text_clip
from emoscene.learning.learner import save_learner
from emoscene_mini import tokenizer as words
from emoscene_mini.autoencoder import Autoencoder
from emoscene_mini.base import Base
from emoscene_mini.build import WEIGHTS
from emoscene_mini.warm_start import begin_from, carry_words


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A text encoder's learner with two words more than the shipped base has, begun with its weights."""
    folder = tmp_path_factory.mktemp("clip")
    known = (WEIGHTS / "words.txt").read_text().split()
    tokenizer = words.train_tokenizer(sorted([*known, "accordion", "zeppelin"]))
    words.save_tokenizer(folder / "tokenizer", tokenizer)
    torch.manual_seed(0)
    config = EmotionCLIP.Config(tokenizer=str(folder / "tokenizer"), text_layers=4)
    learner = EmotionCLIP.from_scratch(config, None)
    assert begin_from("text_encoder", learner, WEIGHTS)
    learner.model.save_pretrained(folder / "clip")
    words.save_tokenizer(folder / "clip", tokenizer)
    return folder / "clip"


def test_words_that_both_know_keep_their_vectors():
    new, old = torch.zeros(3, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    carried = carry_words(new, {"a": 0, "dog": 1, "kite": 2}, old, {"dog": 0, "a": 1})
    assert carried.tolist() == [[3.0, 4.0], [1.0, 2.0], [0.0, 0.0]]
    assert new.sum() == 0


def test_a_caption_of_known_words_is_encoded_as_before(clip_folder):
    caption = "a village by a lake with a dog"
    hidden = []
    for place in (WEIGHTS / "text_encoder", clip_folder):
        tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer" if place.parent == WEIGHTS else place)
        ids = tokenizer([caption], padding="max_length", max_length=77, return_tensors="pt")["input_ids"]
        hidden.append(CLIPTextModel.from_pretrained(place)(ids).last_hidden_state)
    assert torch.allclose(*hidden, atol=1e-5)


def test_the_unet_begins_with_the_older_one_s_noise(clip_folder):
    torch.manual_seed(0)
    learner = Base.from_scratch(Base.Config(text=str(clip_folder)), None)
    before = learner.unet.conv_in.weight.clone()
    assert begin_from("unet", learner, WEIGHTS)
    assert not torch.equal(before, learner.unet.conv_in.weight)
    again = Base.from_scratch(Base.Config(text=str(clip_folder)), None)
    begin_from("unet", again, WEIGHTS)
    x, t = torch.randn(1, 4, 16, 16), torch.tensor([500])
    assert torch.equal(learner.unet(x, t, learner.silence[None]).sample, again.unet(x, t, again.silence[None]).sample)


def test_what_has_no_part_begins_from_nothing_and_other_shapes_are_refused():
    learner = Autoencoder(Autoencoder.Config(channels=(16, 16, 16, 16)))
    assert not begin_from("captioner", learner, WEIGHTS)
    with pytest.raises(UsageError, match="cannot begin vae"):
        begin_from("vae", learner, WEIGHTS)


def test_an_emotion_clip_begins_with_the_older_one_s_eyes_and_words(clip_folder):
    torch.manual_seed(0)
    older = load_text_clip(WEIGHTS.parent / "emotion_clip")
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    for name, layers in (("emotion_clip", 2), ("text_encoder", 4)):
        config = EmotionCLIP.Config(tokenizer=str(clip_folder), text_layers=layers)
        learner = EmotionCLIP.from_scratch(config, None).eval()
        assert not torch.allclose(learner.encode(images)[1], older.encode(images)[1], atol=1e-2)
        assert begin_from(name, learner, WEIGHTS)
        assert torch.allclose(learner.encode(images)[1], older.encode(images)[1], atol=1e-5)
        if name == "emotion_clip":
            texts = ["a village by a lake with a dog", "fear"]
            assert torch.allclose(learner.encode_texts(texts), older.encode_texts(texts), atol=1e-5)


def test_a_base_without_an_emotion_clip_beside_it_begins_none(clip_folder, tmp_path):
    learner = EmotionCLIP.from_scratch(EmotionCLIP.Config(tokenizer=str(clip_folder)), None)
    assert not begin_from("emotion_clip", learner, tmp_path / "base")


def test_a_finished_stage_is_taken_over_as_it_is(tmp_path):
    torch.manual_seed(0)
    made = Autoencoder(Autoencoder.Config(channels=(16, 16, 16, 16)))
    (tmp_path / "vae").mkdir()
    save_learner(made, "vae", tmp_path / "vae", None)
    learner = Autoencoder(Autoencoder.Config(channels=(16, 16, 16, 16)))
    assert begin_from("vae", learner, tmp_path)
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, made.state_dict()[name])
    with pytest.raises(UsageError, match="cannot begin this stage"):
        begin_from("vae", Autoencoder(Autoencoder.Config(channels=(16, 16, 16, 32))), tmp_path)


def test_a_clip_is_taken_over_from_its_own_files(clip_folder, tmp_path):
    config = EmotionCLIP.Config(tokenizer=str(clip_folder), text_layers=4)
    made = EmotionCLIP.from_scratch(config, None)
    (tmp_path / "text_encoder").mkdir()
    save_learner(made, "text_encoder", tmp_path / "text_encoder", None)
    learner = EmotionCLIP.from_scratch(config, None)
    assert begin_from("text_encoder", learner, tmp_path)
    assert torch.equal(learner.encode_texts(["a dog"]), made.encode_texts(["a dog"]))
