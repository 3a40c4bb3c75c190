"""One contract over every method and every pair: a new file in `methods/` is tested here without a line added."""

import dataclasses
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import tiny
from emoscene.core import config, registry
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.taxonomy import EMOTIONS, NO_EMOTION, emotion_weights
from emoscene.diffusion.families.base import TextEncoding
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning import learner
from emoscene.methods.base import Method, MethodChain, interpolate_embeds
from emoscene.pipeline.pipeline import EmotionPipeline
from tiny import batch, made

METHODS = registry.list_names("methods")
LEARNING = [name for name in METHODS if registry.load_plugin("methods", name).columns]
PAIRS = ["+".join(pair) for pair in combinations([name for name in METHODS if name != "none"], 2)]
every_chain = pytest.mark.parametrize("name", [*METHODS, *PAIRS])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def drawn(pipe: EmotionPipeline, *asked: tuple[str, str, float, int]) -> list[np.ndarray]:
    rows = [
        dataclasses.replace(
            pipe.plan(prompt, seed=seed, num_inference_steps=3, guidance_scale=3.0)[0],
            emotion=emotion_weights(emotion),
            emotion_scale=s,
        )
        for prompt, emotion, s, seed in asked
    ]
    return [np.asarray(image, np.float64) for _, image in pipe.generate(rows)]


@pytest.fixture(scope="module")
def pipes(base: DiffusionModel) -> dict[str, EmotionPipeline]:
    methods = {name: made(name, base) for name in METHODS}
    return {
        chain: EmotionPipeline(base, {one: methods[one] for one in chain.split("+")}) for chain in [*METHODS, *PAIRS]
    }


@pytest.mark.parametrize("name", METHODS)
def test_config_runs_by_default_and_explains_itself(name: str) -> None:
    cls = registry.load_plugin("methods", name)
    assert all(option.help for option in config.list_options(cls.Config()))
    assert [o.name for o in registry.list_options("methods", name)] == [
        o.name for o in config.list_options(cls.Config())
    ]


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("dropped", [False, True])
def test_gradients_reach_all_it_trains_and_nothing_else(name: str, dropped: bool, base: DiffusionModel) -> None:
    method = made(name, base).requires_grad_(True)
    if dropped:
        given = {key: 1.0 for key in ("cond_drop_prob", "emotion_drop_prob") if key in config.to_dict(method.config)}
        method.config = config.replace_fields(method.config, given)
    with method.attach():
        loss = method(batch())
        loss.sum().backward()
    assert loss.shape == (4,)
    assert torch.isfinite(loss).all()
    trained = [p for key, p in method.trainable.items() if not (dropped and key == "tokens")]
    assert trained
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None for model in (base.unet, base.text_encoder, base.vae) for p in model.parameters())


@pytest.mark.parametrize("name", LEARNING)
def test_every_parameter_has_a_gradient_when_all_is_dropped(name: str, base: DiffusionModel) -> None:
    method = made(name, base).requires_grad_(True)
    given = {"cond_drop_prob": 1.0} if "cond_drop_prob" in config.to_dict(method.config) else {}
    method.config = config.replace_fields(method.config, given)
    with method.attach():
        method(batch()).sum().backward()
    assert [key for key, p in method.trainable.items() if p.grad is None] == []


@pytest.mark.parametrize("name", LEARNING)
def test_loss_falls_on_a_fixed_batch(name: str, base: DiffusionModel) -> None:
    method = made(name, base, moved=False)
    optimizer = torch.optim.AdamW(method.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        with method.attach():
            loss = method(batch()).mean()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.99 * losses[0]


@every_chain
def test_strength_zero_is_the_base_bit_for_bit(
    name: str, base: DiffusionModel, pipes: dict[str, EmotionPipeline]
) -> None:
    [alone] = drawn(EmotionPipeline(base, {}), ("a dog", "awe", 1.0, 1))
    [zero] = drawn(pipes[name], ("a dog", "awe", 0.0, 1))
    assert np.array_equal(alone, zero)


@pytest.mark.parametrize("name", PAIRS)
def test_the_order_of_a_pair_does_not_matter(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    turned = EmotionPipeline(
        pipes[name].base, dict(zip(name.split("+")[::-1], pipes[name].chain.methods[::-1], strict=True))
    )
    asked = ("a dog", "awe", 0.8, 1), ("a cat", "anger", 1.0, 2)
    gaps = [np.abs(a - b).max() for a, b in zip(drawn(pipes[name], *asked), drawn(turned, *asked), strict=True)]
    assert max(gaps) <= 1


@pytest.mark.parametrize(
    ("chain", "conditioned", "steered"),
    [("lora", 1, 1), ("guidance", 1, 1), ("lora+multimodal", 0.5**0.5, 1), ("guidance+lora", 1, 0.25)],
)
def test_how_much_of_the_dial_each_hears_in_company(
    chain: str, conditioned: float, steered: float, pipes: dict[str, EmotionPipeline], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Condition(torch.zeros(1, 77, 16), torch.zeros(1, 77, 16), torch.eye(8)[:1], torch.ones(1), ("a dog",))
    heard: dict[str, float] = {}
    for method in pipes[chain].chain.methods:
        if type(method).apply_guidance is not Method.apply_guidance:
            monkeypatch.setattr(
                method,
                "apply_guidance",
                lambda x, *rest: heard.update(steered=float(rest[-1].emotion_weights.sum())) or x,
            )
        monkeypatch.setattr(
            method, "condition", lambda c: heard.update(conditioned=float(c.emotion_weights.sum())) or c
        )
    laid = pipes[chain].chain.condition(asked)
    pipes[chain].chain.apply_guidance(torch.zeros(1), torch.zeros(1), torch.zeros(1), laid)
    wanted = {"conditioned": conditioned, "steered": steered}
    assert heard == pytest.approx({key: wanted[key] for key in heard})
    assert ("steered" in heard) == ("guidance" in chain)


@every_chain
def test_strength_and_weight_are_one_dial(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    pipe = pipes[name]
    half, same = drawn(pipe, ("a dog", "awe:0.5,fear:0.25", 1.0, 1), ("a dog", "awe:1,fear:0.5", 0.5, 1))
    assert np.abs(half - same).max() <= 1


@every_chain
def test_a_little_strength_changes_a_little(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    pipe = pipes[name]
    zero, little, whole = drawn(pipe, *(("a dog", "awe", s, 1) for s in (0.0, 0.02, 1.0)))
    if name != "none":
        assert np.abs(little - zero).mean() < 0.3 * np.abs(whole - zero).mean()


@every_chain
def test_a_mixed_batch_is_its_rows_alone(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    pipe = pipes[name]
    asked = [("a dog", "awe", 1.0, 1), ("a cat", "fear", 0.5, 2), ("a", "", 1.0, 3), ("a", "awe:1,anger:-0.5", 1.0, 1)]
    together = drawn(pipe, *asked)
    alone = [drawn(pipe, one)[0] for one in asked]
    assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) <= 2


@every_chain
def test_two_emotions_two_pictures(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    awe, fear = drawn(pipes[name], ("a dog", "awe", 1.0, 1), ("a dog", "fear", 1.0, 1))
    assert (np.abs(awe - fear).mean() > 0.05) == (name != "none")


@every_chain
def test_what_is_attached_is_detached_exactly(
    name: str, base: DiffusionModel, pipes: dict[str, EmotionPipeline]
) -> None:
    before = {key: value.clone() for key, value in base.unet.state_dict().items()}
    pipe = pipes[name]
    rows = pipe.plan("a dog", emotion=["awe", "fear:0.5"], num_inference_steps=2)
    for _ in pipe.denoise(rows):
        assert not any(module._forward_hooks for module in base.unet.modules())
        assert all(torch.equal(before[key], value) for key, value in base.unet.state_dict().items())


@every_chain
def test_drawing_between_steps_changes_nothing(name: str, pipes: dict[str, EmotionPipeline]) -> None:
    pipe = pipes[name]
    rows = pipe.plan("a dog", emotion="awe", num_inference_steps=3)
    *_, quiet = pipe.denoise(rows)
    disturbed = [(x, drawn(pipe, ("a cat", "fear:0.4", 1.0, 9)))[0] for x in pipe.denoise(rows)]
    torch.testing.assert_close(disturbed[-1], quiet, atol=1e-4, rtol=1e-5)  # a gradient on two threads has no last bit


@pytest.mark.parametrize("name", LEARNING)
def test_it_is_loaded_from_its_folder_alone(name: str, base: DiffusionModel, tmp_path: Path) -> None:
    method = made(name, base)
    learner.save_learner(method, name, tmp_path, base)
    loaded = learner.load_learner("methods", tmp_path, base)
    asked = ("a dog", "awe:0.6,fear:-0.2", 1.0, 1)
    assert np.array_equal(
        drawn(EmotionPipeline(base, {name: method}), asked), drawn(EmotionPipeline(base, {name: loaded}), asked)
    )


@pytest.mark.parametrize("name", LEARNING)
def test_an_adapter_of_another_architecture_or_damaged_is_refused(
    name: str, base: DiffusionModel, tmp_path: Path
) -> None:
    method = made(name, base)
    learner.save_learner(method, name, tmp_path, base)
    card = (tmp_path / learner.CARD).read_text()
    other = card.replace(base.fingerprint, "0" * 64).replace(base.shapes, "0" * 16)
    (tmp_path / learner.CARD).write_text(other)
    with pytest.raises(UsageError, match="was trained on the base"):
        learner.load_learner("methods", tmp_path, base)
    (tmp_path / learner.CARD).write_text(card.replace('"amusement"', '"awe"', 1))
    with pytest.raises(UsageError, match="another order of emotions"):
        learner.load_learner("methods", tmp_path, base)


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def emptied(file: Path) -> None:
    save_file({}, file)


@pytest.mark.parametrize("harm", [torn, Path.unlink, emptied])
@pytest.mark.parametrize("name", LEARNING)
def test_damaged_weights_are_named(
    name: str, harm: Callable[[Path], None], base: DiffusionModel, tmp_path: Path
) -> None:
    learner.save_learner(made(name, base), name, tmp_path, base)
    for file in sorted(tmp_path.glob("*.safetensors")):
        whole = file.read_bytes()
        harm(file)
        with pytest.raises(EmosceneError, match=str(tmp_path) if harm is emptied else file.name):
            learner.load_learner("methods", tmp_path, base)
        file.write_bytes(whole)
    assert learner.load_learner("methods", tmp_path, base)


@pytest.mark.parametrize("text", ["", '{"learner": "lora", ', "[]", '{"learner": "lora"}'])
def test_a_damaged_card_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / learner.CARD).write_text(text)
    with pytest.raises(EmosceneError, match=r"learner\.json is damaged \(.*\): train or fetch it again"):
        learner.load_learner("methods", tmp_path, None)


@pytest.mark.parametrize("gain", [1.0, 0.3, 1.7])
def test_lora_is_folded_where_all_gains_are_one_number(gain: float, base: DiffusionModel) -> None:
    lora = made("lora", base)
    originals = [layer.weight.data for layer, _ in lora.layers]
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    plain = base.encode_condition(["a dog", "a cat"], gain * torch.eye(8)[:2])
    with torch.no_grad():
        condition = lora.condition(plain)
        alone = base.predict_noise(x, t, condition)
        with lora.attach(condition):
            assert not any(layer._forward_hooks for layer, _ in lora.layers)
            folded = base.predict_noise(x, t, condition)
        with lora.attach():
            hooked = base.predict_noise(x, t, condition)
    torch.testing.assert_close(folded, hooked, atol=1e-5, rtol=1e-4)
    assert (folded - alone).abs().max() > 1e-2
    assert all(
        layer.weight.data.data_ptr() == w.data_ptr() for (layer, _), w in zip(lora.layers, originals, strict=True)
    )


def test_peft_itself_reads_the_lora(base: DiffusionModel, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from diffusers import UNet2DConditionModel

    lora = made("lora", base)
    learner.save_learner(lora, "lora", tmp_path, base)
    unet = UNet2DConditionModel.from_pretrained(str(base.folder), subfolder="unet")
    wrapped = peft.PeftModel.from_pretrained(unet, str(tmp_path)).eval()
    x, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    plain = base.encode_condition(["a dog", "a cat"], g=torch.ones(2))
    with torch.no_grad(), lora.attach(plain):
        ours = base.predict_noise(x, t, plain)
    with torch.no_grad():
        theirs = wrapped(x, t, plain.prompt_embeds).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_learned_vectors_are_never_what_is_cut_nor_reached_by_typing(base: DiffusionModel) -> None:
    vectors = torch.randn(1, 4, base.text_dim, generator=torch.Generator().manual_seed(0))
    long = base.encode_prompt(["dog " * 200], vectors).embeds, base.encode_prompt(["dog " * 200], 2 * vectors).embeds
    assert (long[0] - long[1]).abs().max() > 1e-3
    assert len(base.tokenize("<emo-awe>")) > 3
    assert base.tokenize("a <|endoftext|> b\x00") == base.tokenize("a   b ")
    plain, more = base.encode_prompt(["a dog"]).embeds, base.encode_prompt(["a dog"], vectors).embeds
    words = 1 + len(base.tokenize("a dog"))
    torch.testing.assert_close(plain[:, :words], more[:, :words], atol=1e-6, rtol=0)


def test_an_unknown_layer_is_named(base: DiffusionModel) -> None:
    cls = registry.load_plugin("methods", "lora")
    with pytest.raises(UsageError, match=r"atention.*attention"):
        cls.from_scratch(cls.Config(layers="atention"), base)


def test_a_mixture_goes_as_far_as_its_parts(base: DiffusionModel) -> None:
    far = torch.nn.functional.one_hot(torch.tensor([3, 5]), 77).float().unsqueeze(-1)

    def moved(*a: float) -> list[float]:
        plain = base.encode_condition(["a dog"], torch.tensor([[*a, *[0.0] * 6]]))
        return (
            interpolate_embeds(
                plain, lambda prompts, emotions: TextEncoding(plain.base_embeds + far[emotions])
            ).prompt_embeds
            - plain.base_embeds
        )[0, [3, 5], 0].tolist()

    assert moved(0.5, 0.0) == pytest.approx([0.5, 0.0], abs=1e-5)
    assert moved(0.5, 0.5) == pytest.approx([0.5**0.5, 0.5**0.5], abs=1e-5)
    assert moved(-0.3, 0.0) == pytest.approx([-0.3, 0.0], abs=1e-5)


def test_the_dial_is_exact_at_its_ends(base: DiffusionModel) -> None:
    lora = made("lora", base)
    plain = base.encode_condition(["a dog"] * 3, torch.stack([torch.zeros(8), torch.eye(8)[1], 0.5 * torch.eye(8)[1]]))
    with torch.no_grad():
        text = MethodChain([lora]).condition(plain).prompt_embeds
        whole = base.encode_prompt(["a dog"], lora.tokens[1:2]).embeds
    assert torch.equal(text[0], plain.base_embeds[0])
    torch.testing.assert_close(text[1], whole[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(text[2], (plain.base_embeds[0] + whole[0]) / 2, atol=1e-6, rtol=0)
    assert EMOTIONS[1] == "awe"
    assert emotion_weights(None) == NO_EMOTION


@pytest.mark.parametrize(
    ("name", "free"),
    [
        ("inversion", {"conditioning_share"}),
        ("lora", {"conditioning_share"}),
        ("multimodal", {"conditioning_share"}),
        ("prompt", {"conditioning_share", "lexicon"}),
        (
            "guidance",
            {
                "classifier_scale",
                "entropy",
                "guidance_share",
                "interval_start",
                "interval_end",
                "parallel_scale",
                "rescale",
            }
            | {"suppression_scale", "whole"},
        ),
    ],
)
def test_these_settings_may_change_at_use_and_no_others(name: str, free: set[str]) -> None:
    assert {option.name for option in registry.list_options("methods", name) if option.runtime} == free


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(LEARNING)))
def test_a_method_without_a_loss_says_so(name: str, base: DiffusionModel) -> None:
    with pytest.raises(NotImplementedError, match="has nothing to learn"):
        made(name, base).compute_loss(batch())


def test_a_pair_classifies_with_the_method_that_can(pipes: dict[str, EmotionPipeline]) -> None:
    x_0 = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    alone = pipes["guidance"].chain.classify(x_0)
    assert alone is not None
    for name in ("guidance+lora", "guidance+multimodal"):
        found = pipes[name].chain.classify(x_0)
        assert found is not None and torch.equal(found, alone)
    assert pipes["lora+multimodal"].chain.classify(x_0) is None


def test_the_method_with_the_most_tokens_limits_the_prompt(base: DiffusionModel) -> None:
    methods = {name: made(name, base) for name in ("inversion", "guidance")}
    assert methods["inversion"].num_tokens > methods["guidance"].num_tokens == 0
    room = 75 - methods["inversion"].num_tokens
    [remark] = [one for one in EmotionPipeline(base, methods).remarks("a dog " * 60) if "room for" in one]
    assert f"inversion+guidance has room for {room}" in remark


@pytest.mark.parametrize("name", ["guidance_share", "conditioning_share"])
def test_shares_of_the_emotion_scale_are_between_0_and_1(name: str) -> None:
    cls = registry.load_plugin("methods", "guidance" if name == "guidance_share" else "lora")
    for value in (0.0, 1.0):
        assert getattr(config.replace_fields(cls.Config(), {name: value}), name) == value
    for value in (-0.01, 1.01):
        with pytest.raises(UsageError, match=name):
            config.replace_fields(cls.Config(), {name: value})


@pytest.mark.parametrize("name", LEARNING)
def test_the_unet_goes_with_those_that_train_through_it(name: str, base: DiffusionModel) -> None:
    """Only guidance learns from latents alone: the others need the UNet on the device and in its arithmetic."""
    method = made(name, base)
    through = name != "guidance"
    assert method.trains_through_unet() is through
    assert any(model is base.unet for model in method.models) is through
