"""Textual inversion: it starts at the emotions' names, and only its vectors learn and are kept."""

import pytest
import torch
from safetensors.torch import load_file

import tiny
from emoscene.core import config
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.model import LENGTH, DiffusionModel
from emoscene.learning import learner
from emoscene.learning.learner import Batch
from emoscene.methods.inversion import Inversion
from emoscene.training import loop, state


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def batch(weights):
    count = len(weights)
    columns = {
        "latent": torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(3)),
        "weights": weights,
        "caption": ["a dog"] * count,
        "caption_long": ["a dog, at night"] * count,
    }
    return Batch(columns, seed=5, step=0, slots=range(count))


def test_a_new_one_writes_the_emotions_names(base):
    inversion = Inversion.from_scratch(Inversion.Config(vectors=3), base)
    plain = base.encode_condition(["a dog"], torch.eye(8)[EMOTIONS.index("awe")][None])
    with torch.no_grad():
        text = inversion.condition(plain).prompt_embeds
    torch.testing.assert_close(text, base.encode_prompt(["a dog awe"]).embeds, atol=1e-6, rtol=0)
    longer = Inversion.from_scratch(config.replace_fields(Inversion.Config(), {"vectors": 5}), base).vectors
    assert torch.equal(longer[:, :3], inversion.vectors)
    assert torch.equal(longer[1, 3:], longer[1, :2])
    assert inversion.num_tokens == 3 < LENGTH


def test_only_asked_emotions_learn(base):
    inversion = Inversion.from_scratch(Inversion.Config(), base)
    weights = torch.stack([torch.eye(8)[1], torch.zeros(8), 0.5 * (torch.eye(8)[1] + torch.eye(8)[6])])
    inversion(batch(weights)).sum().backward()
    moved = inversion.vectors.grad.abs().sum((1, 2)) > 0
    assert moved.nonzero().flatten().tolist() == [1, 6]


def test_a_batch_without_emotions_has_a_gradient_of_zero(base):
    inversion = Inversion.from_scratch(Inversion.Config(), base)
    inversion(batch(torch.zeros(2, 8))).sum().backward()
    assert not inversion.vectors.grad.any()


def test_lost_words_leave_the_emotion(base):
    inversion = Inversion.from_scratch(Inversion.Config(cond_drop_prob=1.0), base)
    some = batch(torch.eye(8)[:2])
    other = Batch({**some.columns, "caption": ["a cat"] * 2, "caption_long": ["cat"] * 2}, 5, 0, range(2))
    losses = inversion(some)
    assert torch.equal(losses, inversion(other))
    losses.sum().backward()
    assert (inversion.vectors.grad[:2].abs().sum((1, 2)) > 0).all()


def test_its_vectors_are_all_that_is_kept(base, tmp_path):
    inversion = Inversion.from_scratch(Inversion.Config(), base)
    learner.save_learner(inversion, "inversion", tmp_path, base)
    kept = load_file(tmp_path / "tokens.safetensors")
    assert list(kept) == ["tokens"]
    assert kept["tokens"].shape == (8, 4, base.text_dim)
    assert torch.equal(learner.load_learner("methods", tmp_path, base).vectors, inversion.vectors.half().float())


def test_with_a_fixed_norm_only_the_direction_matters_and_the_length_of_words_is_kept(base, tmp_path):
    inversion = Inversion.from_scratch(Inversion.Config(fixed_norm=True), base)
    words = base.text_encoder.get_input_embeddings().weight.norm(dim=1).mean()
    weights = torch.eye(8)[:2]
    before = inversion(batch(weights))
    with torch.no_grad():
        inversion.vectors.mul_(torch.rand(8, 4, 1) + 0.5)
    torch.testing.assert_close(inversion(batch(weights)), before)
    inversion(batch(weights)).sum().backward()
    along = (inversion.vectors.grad * inversion.vectors).sum(-1)
    torch.testing.assert_close(along, torch.zeros(8, 4), atol=1e-6, rtol=0)
    inversion.finish()
    learner.save_learner(inversion, "inversion", tmp_path, base)
    kept = load_file(tmp_path / "tokens.safetensors")["tokens"].float()
    torch.testing.assert_close(kept.norm(dim=-1), words.expand(8, 4), atol=2e-3, rtol=2e-3)


def test_training_ends_with_vectors_of_that_length(base, tmp_path):
    inversion = Inversion.from_scratch(Inversion.Config(fixed_norm=True), base)
    settings = state.Config(steps=2, batch_size=2, lr=0.1, precision="fp32")
    trained = loop.run_training(inversion, Rows(), settings, tmp_path)
    torch.testing.assert_close(trained.vectors.norm(dim=-1), torch.full((8, 4), trained.norms[0]))


class Rows:
    """Two images of awe and fear."""

    def __len__(self):
        return 2

    def read(self, indices, columns):
        whole = batch(torch.eye(8)[[1, 6]]).columns
        found = {}
        for column in columns:
            values = whole[column]
            found[column] = values[list(indices)] if torch.is_tensor(values) else [values[i] for i in indices]
        return found
