"""Multimodal: zero is nothing, prototypes are means, one die loses the conditions, and diffusers draws the same."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from safetensors.torch import load_file

import tiny
from emoscene.core import config
from emoscene.diffusion.model import DiffusionModel
from emoscene.learning import learner
from emoscene.learning.learner import Batch
from emoscene.methods.base import EMOTION_VECTOR, MethodChain
from emoscene.methods.lora import LoRA
from emoscene.methods.multimodal import TOKENS_KEY, WEIGHTS_KEY, Multimodal, emotion_prototypes

WIDTH = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


class Pictures:
    """Eight pictures of two emotions each, with vectors of unit length."""

    def __init__(self):
        self.vector = F.normalize(torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
        self.weights = 0.5 * (torch.eye(8) + torch.eye(8).roll(1, 1))

    def column(self, column):
        return getattr(self, column)


@pytest.fixture
def trained(base):
    """As training leaves one: prototypes from data, values no longer zero."""
    method = Multimodal.from_scratch(Multimodal.Config(), base, Pictures())
    draw = torch.Generator().manual_seed(2)
    for parameter in method.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    for value in method.state_dict().values():
        value.copy_(value.half())  # as artifacts are stored
    return method.requires_grad_(False)


def batch(count=4, **changed):
    draw = torch.Generator().manual_seed(3)
    columns = {
        "latent": torch.randn(count, 4, 8, 8, generator=draw),
        "weights": torch.eye(8)[torch.arange(count)],
        "vector": F.normalize(torch.randn(count, WIDTH, generator=draw), dim=1),
        "caption": ["a dog"] * count,
        "caption_long": ["a dog, at night"] * count,
    }
    return Batch(columns | changed, seed=5, step=0, slots=range(count))


def noised(count):
    return torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)


@torch.no_grad()
def predicted(base, method, plain):
    condition = method.condition(plain)
    with method.attach(condition):
        return base.predict_noise(*noised(len(plain)), condition)


def asked(base, a, **extra):
    return replace(base.encode_condition(["a dog"] * len(a), a), extra=extra)


def test_the_projector_is_that_of_diffusers(trained):
    projector = trained.adapter["image_proj"]
    theirs = ImageProjection(WIDTH, 32, 4)
    theirs.load_state_dict({k.replace("proj.", "image_embeds."): v for k, v in projector.state_dict().items()})
    vectors = Pictures().vector
    with torch.no_grad():
        torch.testing.assert_close(projector(vectors), theirs(vectors), atol=1e-6, rtol=0)


def test_the_zero_vector_is_exactly_nothing(base, trained):
    assert not trained.adapter["image_proj"](torch.zeros(2, WIDTH)).any()
    trained.prototypes.zero_()
    a = torch.eye(8)[:2]
    assert torch.equal(predicted(base, trained, asked(base, a)), predicted(base, trained, asked(base, 0 * a)))


def test_rows_that_ask_for_nothing_keep_their_bits_beside_others(base, trained):
    a = torch.stack([torch.eye(8)[1], torch.zeros(8), 0.5 * (torch.eye(8)[2] - torch.eye(8)[6])])
    mixed, none = predicted(base, trained, asked(base, a)), predicted(base, trained, asked(base, 0 * a))
    assert torch.equal(mixed[1], none[1])
    assert (mixed[[0, 2]] - none[[0, 2]]).abs().amax((1, 2, 3)).min() > 1e-3
    x, t = noised(3)
    for place in range(3):
        condition = trained.condition(asked(base, a[place : place + 1]))
        with torch.no_grad(), trained.attach(condition):
            alone = base.predict_noise(x[place : place + 1], t, condition)
        torch.testing.assert_close(mixed[place : place + 1], alone, atol=1e-5, rtol=0)


def test_both_halves_of_guidance_share_a_batch(base, trained):
    positive = trained.condition(asked(base, torch.eye(8)[:2], emotion_vector=torch.ones(2, WIDTH)))
    negative = trained.condition(asked(base, torch.zeros(2, 8)))
    both = positive.concat(negative)
    assert set(both.extra) == {TOKENS_KEY, WEIGHTS_KEY}
    assert both.extra[TOKENS_KEY].shape == (4, 8, 4, base.text_dim)
    assert both.extra[WEIGHTS_KEY][:2].any()
    assert not both.extra[WEIGHTS_KEY][2:].any()


def test_a_picture_stands_in_for_the_prototypes(base, trained):
    awe = torch.eye(8)[1:2]
    same = asked(base, 0 * awe, emotion_vector=trained.prototypes[1:2])
    by_picture = predicted(base, trained, replace(same, emotion_gain=torch.ones(1)))
    torch.testing.assert_close(predicted(base, trained, asked(base, awe)), by_picture, atol=1e-6, rtol=0)
    half = predicted(base, trained, replace(same, emotion_gain=torch.full((1,), 0.5)))
    torch.testing.assert_close(predicted(base, trained, asked(base, 0.5 * awe)), half, atol=1e-6, rtol=0)
    nobody = asked(base, awe, emotion_vector=torch.zeros(1, WIDTH))
    assert torch.equal(predicted(base, trained, asked(base, awe)), predicted(base, trained, nobody))


def test_a_picture_is_led_away_from_at_negative_strength(base, trained):
    like = torch.randn(1, trained.config.width)
    for strength in (1.0, -1.0):
        plain = base.encode_condition(["a dog"], strength * torch.full((1, 8), 0.125))
        laid = trained.condition(replace(plain, extra={EMOTION_VECTOR: like}))
        assert laid.extra["multimodal.weights"].tolist() == [[strength, *[0.0] * 7]]


def test_a_prototype_is_the_mean_of_its_pictures(base):
    pictures = Pictures()
    found = Multimodal.from_scratch(Multimodal.Config(), base, pictures)
    assert found.config.width == WIDTH
    expected = pictures.weights[:, 3] @ pictures.vector
    torch.testing.assert_close(found.prototypes[3], expected / expected.norm(), atol=1e-6, rtol=0)
    assert not emotion_prototypes(pictures.vector, torch.zeros(8, 8)).any()


def loss(method, some, **settings):
    method.config = config.replace_fields(
        method.config, {"cond_drop_prob": 0.0, "joint_drop_prob": 0.0, "emotion_drop_prob": 0.0, **settings}
    )
    with method.attach():
        return method(some)


def test_what_is_lost_is_not_seen(trained):
    some, other = batch(), batch(vector=torch.eye(4, WIDTH))
    silent = {"caption": ["a cat"] * 4, "caption_long": ["a cat, at noon"] * 4}
    whole = loss(trained, some, own=1.0)
    for settings, hears_words, sees_vector in (
        ({}, True, True),
        ({"cond_drop_prob": 1.0}, False, True),
        ({"emotion_drop_prob": 1.0}, True, False),
        ({"joint_drop_prob": 1.0}, False, False),
    ):
        first = loss(trained, some, own=1.0, **settings)
        assert torch.equal(first, loss(trained, other, own=1.0, **settings)) != sees_vector
        assert torch.equal(first, loss(trained, batch(**silent), own=1.0, **settings)) != hears_words
        assert torch.equal(first, whole) == (not settings)


def test_prototypes_or_the_pictures_own_vector(trained):
    named, other = batch(), batch(vector=torch.eye(4, WIDTH))
    assert torch.equal(loss(trained, named, own=0.0), loss(trained, other, own=0.0))
    neutral = {"weights": torch.zeros(4, 8)}
    seen = loss(trained, batch(**neutral), own=0.0)
    assert torch.equal(seen, loss(trained, named, own=1.0))
    assert not torch.equal(seen, loss(trained, batch(**neutral, vector=torch.eye(4, WIDTH)), own=0.0))


def test_every_parameter_has_a_gradient_whatever_is_lost(trained):
    trained.requires_grad_(True)
    with trained.attach():
        loss(trained, batch(), joint_drop_prob=1.0).sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in trained.trainable.values())


def test_a_new_adapter_changes_nothing(base):
    new = Multimodal.from_scratch(Multimodal.Config(), base, Pictures())
    a = torch.eye(8)[:2]
    assert torch.equal(predicted(base, new, asked(base, a)), predicted(base, new, asked(base, 0 * a)))


def test_what_was_attached_is_put_back(base, trained):
    before = base.unet.attn_processors
    condition = trained.condition(asked(base, torch.eye(8)[:1]))
    with trained.attach(condition):
        changed = {name for name, one in base.unet.attn_processors.items() if one is not before[name]}
    assert changed == {name for name in before if ".attn2." in name}
    with pytest.raises(TypeError, match="Linear"), trained.attach(condition):
        torch.nn.Linear()
    assert base.unet.attn_processors == before


def test_half_precision_is_near(base, trained):
    small = DiffusionModel.load(str(base.folder), dtype=torch.bfloat16)
    method = Multimodal.from_scratch(trained.config, small)
    method.load_state_dict(trained.state_dict())
    a = torch.eye(8)[:2]
    whole, half = predicted(base, trained, asked(base, a)), predicted(small, method, asked(small, a))
    torch.testing.assert_close(half.float(), whole, atol=0.05, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(predicted(base, trained, asked(base, a)).float(), whole, atol=0.05, rtol=0)


def test_the_order_of_a_chain_does_not_matter(base, trained):
    lora = LoRA.from_scratch(LoRA.Config(rank=4), base)
    for parameter in lora.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    lora.requires_grad_(False)
    plain = asked(base, 0.5 * torch.eye(8)[:2])
    one, other = (predicted(base, MethodChain(pair), plain) for pair in ([lora, trained], [trained, lora]))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    assert (one - predicted(base, trained, plain)).abs().max() > 1e-3


def test_diffusers_reads_the_file_and_draws_the_same(base, trained, tmp_path):
    learner.save_learner(trained, "multimodal", tmp_path, base)
    state = {"image_proj": {}, "ip_adapter": {}}
    for key, value in load_file(tmp_path / "ip_adapter.safetensors").items():
        part, _, name = key.partition(".")
        state[part][name] = value
    assert set(state["image_proj"]) == {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}
    unet = UNet2DConditionModel.from_pretrained(str(base.folder), subfolder="unet")
    unet._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    plain = asked(base, torch.stack([torch.eye(8)[1], torch.zeros(8)]))
    vectors = torch.stack([trained.prototypes[1], torch.zeros(WIDTH)])
    with torch.no_grad():
        theirs = unet(*noised(2), plain.prompt_embeds, added_cond_kwargs={"image_embeds": [vectors[:, None]]}).sample
    ours = predicted(base, trained, plain)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert (ours[0] - predicted(base, trained, asked(base, torch.zeros(2, 8)))[0]).abs().max() > 1e-3


def test_it_is_loaded_with_its_prototypes(base, trained, tmp_path):
    learner.save_learner(trained, "multimodal", tmp_path, base)
    loaded = learner.load_learner("methods", tmp_path, base)
    assert torch.equal(loaded.prototypes, trained.prototypes)
    plain = asked(base, torch.eye(8)[:2])
    assert torch.equal(predicted(base, trained, plain), predicted(base, loaded, plain))
