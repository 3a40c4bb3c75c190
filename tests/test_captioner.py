"""The captioner: it learns to say what it sees, and its folder is anybody's BLIP."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, AutoTokenizer, BlipForConditionalGeneration

from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.encoders.captioner import END, MARKS, START, Captioner, build_vocabulary, caption_agreement
from emoscene.learning import learner as learners
from emoscene.learning.learner import Batch
from emoscene.training import loop, state

SAID = ("a red dog, on a hill", "the blue sea")
SMALL = {"side": 16, "patch": 8, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "beams": 1, "length": 9}


class Two:
    """A red picture and a blue one, over and over, each with its caption."""

    def __len__(self):
        return 8

    def read(self, indices, columns):
        red, blue = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
        pictures = [(blue if index % 2 else red)[:, None, None].expand(3, 16, 16) for index in indices]
        found = {"image": torch.stack(pictures), "caption": [SAID[index % 2] for index in indices]}
        return {column: found[column] for column in columns}

    def column(self, column):
        return self.read(range(len(self)), [column])[column]


def small(**more):
    return Captioner.Config(**SMALL, **more)


def made():
    torch.manual_seed(0)
    return Captioner.from_scratch(small(), None, Two()).eval()


def batch(slots=range(4), step=0):
    return Batch(Two().read(list(slots), Captioner.columns), 0, step, list(slots))


def taught(captioner, steps=40):
    optimizer = torch.optim.AdamW(captioner.trainable.values(), lr=5e-3)
    losses = []
    for step in range(steps):
        loss = captioner(batch(step=step)).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_it_learns_to_say_what_it_sees():
    captioner = made()
    losses = taught(captioner)
    assert losses[-1] < 0.1 * losses[0]
    pictures = Two().read([0, 1, 2], ["image"])["image"]
    assert captioner.caption(pictures) == [SAID[0], SAID[1], SAID[0]]
    larger = torch.nn.functional.interpolate(pictures, (40, 24))
    assert captioner.caption(larger) == [SAID[0], SAID[1], SAID[0]]
    assert captioner.validate(Two()) == {"exact": 1.0, "words": 1.0, "pictures": 8}


def test_every_parameter_learns_and_padding_counts_nothing():
    captioner = made()
    losses = captioner(batch())
    losses.sum().backward()
    assert [name for name, p in captioner.trainable.items() if p.grad is None] == []
    alone = captioner(batch([1]))
    torch.testing.assert_close(alone, losses[1:2])
    assert losses.shape == (4,)


def test_its_folder_is_an_ordinary_blip(tmp_path):
    captioner = made()
    taught(captioner, 12)
    learners.save_learner(captioner, "captioner", tmp_path, None)
    pictures = Two().read([0, 1], ["image"])["image"]
    again = learners.load_learner("encoders", tmp_path, None)
    assert captioner.eval().caption(pictures) == again.caption(pictures)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in captioner.state_dict().items())
    theirs, report = BlipForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    ours = captioner.model.generate(captioner.pixels.transform(pictures), max_new_tokens=9)
    assert torch.equal(theirs.eval().generate(captioner.pixels.transform(pictures), max_new_tokens=9), ours)
    written = AutoTokenizer.from_pretrained(tmp_path).batch_decode(ours, skip_special_tokens=True)
    assert [text.strip() for text in written] == captioner.caption(pictures)


def test_its_processor_sees_as_it_does(tmp_path):
    from PIL import Image

    captioner = made()
    learners.save_learner(captioner, "captioner", tmp_path, None)
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    theirs = AutoProcessor.from_pretrained(tmp_path, backend="pil")(images=red, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(
        theirs, captioner.pixels.transform(Two().read([0], ["image"])["image"]), atol=1e-5, rtol=0
    )


def test_training_goes_on_where_it_stopped(tmp_path):
    own = {"batch_size": 4, "schedule": "constant", "warmup": 0.0, "precision": "fp32", "checkpoint_every": 2}
    whole = loop.run_training(made(), Two(), state.Config(steps=4, **own), tmp_path / "whole")
    loop.run_training(made(), Two(), state.Config(steps=2, **own), tmp_path / "parts")
    resumed = loop.run_training(made(), Two(), state.Config(steps=4, **own), tmp_path / "parts", resume=True)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    inner = [name for name, p in whole.trainable.items() if p.ndim == 2 and whole.use_muon(name)]
    assert len(inner) == 14
    assert not any("embeddings" in name for name in inner)


def test_anybodys_blip_is_a_start(tmp_path):
    first = made()
    for name in ("theirs", "mine"):
        (tmp_path / name).mkdir()
    learners.save_learner(first, "captioner", tmp_path / "theirs", None)
    (tmp_path / "theirs" / learners.CARD).unlink()
    captioner = Captioner.from_scratch(Captioner.Config(blip=str(tmp_path / "theirs"), beams=1), None, Two())
    assert captioner.config.words == first.config.words
    assert captioner.config.side == 16
    assert torch.equal(captioner.eval()(batch()), first(batch()))
    learners.save_learner(captioner, "captioner", tmp_path / "mine", None)
    (tmp_path / "theirs/model.safetensors").unlink()
    assert torch.equal(learners.load_learner("encoders", tmp_path / "mine", None)(batch()), first(batch()))


def test_what_is_no_blip_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no BLIP"):
        Captioner.from_scratch(Captioner.Config(blip=str(tmp_path)), None)
    with pytest.raises(UsageError, match="no words to start with"):
        Captioner.from_scratch(Captioner.Config(), None)
    learners.save_learner(made(), "captioner", tmp_path, None)
    whole = load_file(tmp_path / "model.safetensors")
    some = {name: value for name, value in whole.items() if "vision_model.encoder" not in name}
    save_file(some, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(UsageError, match=r"is no whole BLIP: its weights lack vision_model\.encoder"):
        Captioner.from_scratch(Captioner.Config(blip=str(tmp_path)), None)
    save_file(whole, tmp_path / "model.safetensors", {"format": "pt"})
    about = json.loads((tmp_path / "config.json").read_text())
    about["text_config"]["hidden_act"] = "relu"
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(UsageError, match="hidden_act is relu"):
        Captioner.from_scratch(Captioner.Config(blip=str(tmp_path)), None)
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UsageError, match="lacks its tokenizer"):
        Captioner.from_scratch(Captioner.Config(blip=str(tmp_path)), None)


def test_words_are_those_of_the_captions():
    assert build_vocabulary(SAID) == (*MARKS, ",", "a", "blue", "dog", "hill", "on", "red", "sea", "the")
    captioner = made()
    tokens, there = captioner._tokens(["a dog", "A purple dog, on a hill"])
    words = captioner.tokenizer.convert_ids_to_tokens(tokens[1])
    assert words == [START, "a", "[UNK]", "dog", ",", "on", "a", "hill", END]
    assert there.sum(1).tolist() == [4, 9]


def test_a_caption_is_cut_where_there_is_no_room():
    captioner = made()
    tokens, _ = captioner._tokens(["dog " * 200])
    assert tokens.shape == (1, captioner.config.positions)
    assert torch.isfinite(captioner(Batch({"image": batch()["image"][:1], "caption": ["dog " * 200]}, 0, 0, [0])))


def test_agreement_counts_words():
    assert caption_agreement("a red dog", "a red dog") == (1.0, 1.0)
    assert caption_agreement("a blue dog", "a red dog") == (0.0, pytest.approx(2 / 3))
    assert caption_agreement("", "") == (1.0, 0.0)


def test_the_recipe_suits_it():
    known = {
        option.name
        for option in [*registry.list_options("encoders", "captioner"), *registry.list_room_options("training/state")]
    }
    assert set(registry.load_table("recipes", "captioner_mini")) <= known
