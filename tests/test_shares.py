"""How a pair shares the emotion scale stands in its methods' settings; by default, images are those of version 0.1."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

import tiny
from emoscene.core import config, registry
from emoscene.core.errors import UsageError
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.methods.base import SHARES, ConditioningShare, GuidanceShare, Method, MethodChain
from emoscene.pipeline.adapters import method_settings

METHODS = [name for name in registry.list_names("methods") if name != "none"]
PAIRS = [*permutations(METHODS, 2), ("lora", "multimodal", "guidance"), ("prompt", "lora", "inversion")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="module")
def methods(base: DiffusionModel) -> dict[str, Method]:
    return {name: tiny.made(name, base) for name in METHODS}


def asked(base: DiffusionModel) -> Condition:
    a = torch.zeros(2, 8)
    a[0, 1], a[1, 1], a[1, 6] = 1.1, 0.77, -0.33
    return base.encode_condition(["a dog", "a cat"], a)


@torch.no_grad()
def answer(base: DiffusionModel, chain: MethodChain) -> Tensor:
    """The noise prediction [2, 4, 8, 8] of two rows at t = 500, methods and all."""
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([500, 500])
    condition = chain.condition(asked(base))
    with chain.attach(condition):
        noise = base.predict_noise(x, t, condition).float()
    return chain.apply_guidance(noise, x, t, condition)


@torch.no_grad()
def answer_of_0_1(base: DiffusionModel, chain: tuple[Method, ...]) -> Tensor:
    """The same by the rule of version 0.1, written out: a / sqrt(n) for each that conditions, a / 4 for guidance."""
    guiding = sum(type(method).apply_guidance is not Method.apply_guidance for method in chain)
    conditioned = max(1, len(chain) - guiding) ** -0.5
    guided = 0.25 if guiding and len(chain) > guiding else 1.0
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([500, 500])
    plain = asked(base)
    condition = replace(
        plain, emotion_weights=conditioned * plain.emotion_weights, emotion_gain=conditioned * plain.emotion_gain
    )
    for method in chain:
        condition = method.condition(condition)
    alone = MethodChain(chain)
    with alone.attach(condition):
        noise = base.predict_noise(x, t, condition).float()
    heard = replace(condition, emotion_weights=guided / conditioned * condition.emotion_weights)
    for method in chain:
        noise = method.apply_guidance(noise, x, t, heard)
    return noise


@pytest.mark.parametrize("names", PAIRS, ids="+".join)
def test_a_pairs_answer_is_that_of_0_1_bit_for_bit(
    names: tuple[str, ...], base: DiffusionModel, methods: dict[str, Method]
) -> None:
    chain = tuple(methods[name] for name in names)
    assert torch.equal(answer(base, MethodChain(chain)), answer_of_0_1(base, chain))


def with_share(method: Method, **share: float) -> Method:
    """The same method, with another share."""
    other = object.__new__(type(method))
    other.__dict__ |= method.__dict__
    other.config = config.replace_fields(method.config, share)
    return other


def test_a_user_can_change_what_a_pair_shares(base: DiffusionModel, methods: dict[str, Method]) -> None:
    lora, guidance, multimodal = methods["lora"], methods["guidance"], methods["multimodal"]
    whole = MethodChain([lora, with_share(guidance, guidance_share=1.0)])
    assert (whole.conditioning_share, whole.guidance_share) == (1.0, 1.0)
    assert not torch.equal(answer(base, whole), answer(base, MethodChain([lora, guidance])))
    half = MethodChain([with_share(lora, conditioning_share=0.5), multimodal])
    assert half.conditioning_share == 0.5, "the least of the two"
    assert MethodChain([with_share(lora, conditioning_share=0.5)]).conditioning_share == 1.0, "alone, all of it"
    none = MethodChain([lora, with_share(guidance, guidance_share=0.0)])
    assert torch.equal(answer(base, none), answer(base, MethodChain([lora])))


@pytest.mark.parametrize("name", METHODS)
def test_each_method_says_how_it_shares(name: str) -> None:
    options = {option.name: option for option in registry.list_options("methods", name)}
    own = registry.load_plugin("methods", name).Config()
    [share] = options.keys() & set(SHARES)
    assert options[share].runtime and options[share].help
    assert isinstance(own, ConditioningShare | GuidanceShare)
    assert isinstance(own, GuidanceShare) == (name == "guidance")
    with pytest.raises(UsageError, match="out of range"):
        config.replace_fields(own, {share: 1.5})


def test_a_setting_of_the_share_goes_to_the_method_that_is_named() -> None:
    given = {"lora.conditioning_share": 0.5, "guidance_share": 0.1}
    assert method_settings("lora", ["lora", "guidance"], given) == {"conditioning_share": 0.5}
    assert method_settings("guidance", ["lora", "guidance"], given) == {"guidance_share": 0.1}
