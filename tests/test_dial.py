"""The emotion said in other ways than by its name: a place between the eight, or a picture that has it."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import emoscene
import tiny
from emoscene.core import registry
from emoscene.core.errors import UsageError
from emoscene.core.images import name_files, read_params
from emoscene.core.taxonomy import AFFECT, EMOTIONS, NO_EMOTION, weights_at
from emoscene.diffusion.model import Condition, DiffusionModel
from emoscene.learning import learner as learners
from emoscene.methods.base import EMOTION_VECTOR, Method
from emoscene.pipeline import image_folder
from emoscene.pipeline.pipeline import EmotionPipeline

WIDTH = 6  # of the vectors here


class Feeler(torch.nn.Module):
    """Feels a picture's brightness: awe in bright ones, fear in dark ones."""

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        light = (images.mean((1, 2, 3)) / 2 + 0.5)[:, None]
        probabilities = torch.zeros(len(images), 8)
        probabilities[:, 1:2], probabilities[:, 6:7] = light, 1 - light
        vectors = torch.cat([light, 1 - light, torch.ones(len(images), WIDTH - 2)], 1)
        return probabilities, vectors / vectors.norm(dim=1, keepdim=True)


class Moved(Method):
    """Moves the text by the picture's vector, as far as the row's own gain; keeps what it was shown."""

    columns = ()

    def __init__(self, base: DiffusionModel) -> None:
        super().__init__(None, base)
        self.seen: list[Condition] = []

    def condition(self, plain: Condition) -> Condition:
        self.seen.append(plain)
        like = plain.extra.get(EMOTION_VECTOR, torch.zeros(len(plain), WIDTH))
        moved = plain.emotion_gain[:, None, None] * like.sum(1)[:, None, None]
        others = {name: value for name, value in plain.extra.items() if name != EMOTION_VECTOR}
        return dataclasses.replace(
            plain, prompt_embeds=plain.prompt_embeds + moved, extra={**others, "moved.by": moved}
        )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> DiffusionModel:
    return DiffusionModel.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def feeling(base: DiffusionModel, **methods: Method) -> EmotionPipeline:
    """A pipe whose base has an EmotionCLIP."""
    base = copy.copy(base)
    base.spec = dataclasses.replace(base.spec, emotion_clip="somewhere")
    pipe = EmotionPipeline(base, methods)
    pipe.image_inputs.auxiliary["emotion_clip"] = Feeler()
    return pipe


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    Image.new("RGB", (40, 30), (204, 204, 204)).save(tmp_path / "Bright day.png")
    return tmp_path / "Bright day.png"


def test_a_picture_lends_its_emotion(base: DiffusionModel, bright: Path) -> None:
    pipe = feeling(base)
    [row] = pipe.plan("a dog", emotion_image=bright, emotion_scale=0.5)
    assert dict(zip(EMOTIONS, row.emotion, strict=True))["awe"] == pytest.approx(0.8)
    assert sum(row.emotion) == pytest.approx(1)
    assert (row.emotion_image, list(row.digests)) == (str(bright), [str(bright)])
    alone, named = (
        feeling(base, lora=drawn_lora(base)).generate([r]) for r in (row, dataclasses.replace(row, emotion_image=None))
    )
    assert np.array_equal(np.asarray(next(alone)[1]), np.asarray(next(named)[1]))


def drawn_lora(base: DiffusionModel) -> Method:
    """A method that hears weights and no vector."""
    lora = registry.load_plugin("methods", "lora")
    return lora.from_scratch(lora.Config(rank=1), base).requires_grad_(False)


def test_its_vector_reaches_both_halves(base: DiffusionModel, bright: Path) -> None:
    moved = Moved(base)
    pipe = feeling(base, moved=moved)
    rows = [
        pipe.plan("a dog", emotion_image=bright, num_inference_steps=2)[0],
        pipe.plan("a cat", emotion="awe", num_inference_steps=2)[0],
    ]
    positive, negative = pipe.encode_conditions(rows)
    plain, away = moved.seen
    assert plain.extra[EMOTION_VECTOR].shape == away.extra[EMOTION_VECTOR].shape == (2, WIDTH)
    assert float(plain.extra[EMOTION_VECTOR][0].norm()) == pytest.approx(1)
    assert not plain.extra[EMOTION_VECTOR][1].any() and not away.extra[EMOTION_VECTOR].any()
    assert not away.emotion_weights.any() and torch.equal(away.emotion_gain, plain.emotion_gain)
    assert len(negative.concat(positive)) == 4
    assert EMOTION_VECTOR not in feeling(base).encode_conditions(pipe.plan("a cat"))[0].extra


def test_what_is_suppressed_stands_in_the_negative_half(base: DiffusionModel, bright: Path) -> None:
    moved = Moved(base)
    pipe = feeling(base, moved=moved)
    asked = [{"emotion": "awe:0.7,fear:-0.3"}, {"emotion": "awe", "emotion_scale": -1.0}, {"emotion": "awe"}]
    pipe.encode_conditions([pipe.plan("a dog", **one)[0] for one in asked])
    plain, away = moved.seen
    awe, fear = EMOTIONS.index("awe"), EMOTIONS.index("fear")
    assert away.emotion_weights[:, awe].tolist() == [0.0, 1.0, 0.0]
    assert away.emotion_weights[:, fear].tolist() == pytest.approx([0.3, 0.0, 0.0])
    assert int((away.emotion_weights != 0).sum()) == 2 and torch.equal(away.emotion_gain, plain.emotion_gain)


def test_a_mixed_batch_is_its_rows_alone(base: DiffusionModel, bright: Path) -> None:
    pipe = feeling(base, moved=Moved(base))
    rows = [
        pipe.plan("a dog", emotion_image=bright, num_inference_steps=3)[0],
        pipe.plan("a cat", emotion="awe", num_inference_steps=3)[0],
    ]
    together = [np.asarray(image, int) for _, image in pipe.generate(rows)]
    alone = [np.asarray(image, int) for row in rows for _, image in pipe.generate([row])]
    assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) <= 1
    [plain] = pipe("a dog", num_inference_steps=3).images
    assert np.abs(together[0] - np.asarray(plain, int)).mean() > 0.5


def test_methods_meet_where_there_is_a_picture_to_be_like(base: DiffusionModel, bright: Path) -> None:
    prompt = registry.load_plugin("methods", "prompt")
    for order in (("prompt", "moved"), ("moved", "prompt")):
        made = {"prompt": prompt.from_scratch(prompt.Config(), base), "moved": Moved(base)}
        pipe = feeling(base, **{name: made[name] for name in order})
        assert pipe.method == "+".join(order)
        positive, negative = pipe.encode_conditions(pipe.plan("a dog", emotion_image=bright))
        assert set(negative.concat(positive).extra) == {"moved.by"}
        [(_, image)] = pipe.generate(pipe.plan("a dog", emotion_image=bright, num_inference_steps=1))
        assert image.size == (64, 64)


def test_a_base_without_an_emotion_clip_says_so(base: DiffusionModel, bright: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no emotion_clip of its own: say the emotion with --emotion"):
        emoscene.generate("a dog", base=str(base.folder), emotion_image=bright, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    bright.write_text("no picture")
    with pytest.raises(UsageError, match="cannot be read as an image"):
        feeling(base).plan("a dog", emotion_image=bright)


def test_the_picture_is_in_the_row_and_must_stay_what_it_was(
    base: DiffusionModel, bright: Path, tmp_path: Path
) -> None:
    pipe = feeling(base, moved=Moved(base))
    rows = name_files(pipe.plan("a dog", emotion_image=bright, num_inference_steps=2, num_images_per_prompt=2))
    assert [row.file for row in rows] == ["like-Bright_day-0000.png", "like-Bright_day-0001.png"]
    image_folder.generate_missing(pipe.generate, rows, tmp_path)
    row = read_params(tmp_path / rows[0].file)
    assert (row.emotion_image, row.emotion, row.digests) == (rows[0].emotion_image, rows[0].emotion, rows[0].digests)
    assert pipe.image_inputs.remarks(row, "a dog") == [f"{bright} is read as awe:0.8,fear:0.2"]
    Image.new("RGB", (40, 30), "black").save(bright)
    with pytest.raises(UsageError, match="not the image that it was"):
        list(feeling(base, moved=Moved(base)).generate([row]))


def test_one_picture_may_be_changed_to_feel_like_another(base: DiffusionModel, bright: Path) -> None:
    pipe = feeling(base, moved=Moved(base))
    dark = Image.new("RGB", (64, 64), "black")
    [row] = pipe("a dog", image=dark, emotion_image=bright, strength=0.5, num_inference_steps=4).params
    assert len(row.digests) == 2
    assert (row.image or "").startswith("memory:") and row.emotion_image == str(bright)


def test_a_place_between_the_emotions(base: DiffusionModel) -> None:
    pipe = EmotionPipeline(base, {})
    [row] = pipe.plan("a dog", valence=AFFECT["awe"][0], arousal=AFFECT["awe"][1])
    assert row.emotion == tuple(float(name == "awe") for name in EMOTIONS)
    assert pipe.plan("a dog", valence=0, arousal=0)[0].emotion == NO_EMOTION
    assert pipe.plan("a dog", valence=0.5, arousal=0)[0].emotion == weights_at(0.5, 0)
    assert len(name_files(pipe.plan("a dog", valence=0.5, arousal=0))[0].file) < 80


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"valence": 1.1, "arousal": 0}, "valence=1.1 is out of range"),
        ({"valence": 0, "arousal": float("nan")}, "arousal=nan is off"),
        ({"valence": 0.5}, "give both"),
        ({"valence": 0.5, "arousal": 0, "emotion": "awe"}, "give one of the three"),
        ({"emotion_image": "a.png", "emotion": "awe"}, "give one of the three"),
        ({"emotion_image": "a.png", "valence": 0, "arousal": 0}, "give one of the three"),
        ({"emotion": {"awe": 0.0}}, "is zero"),
        ({"emotion": "awe:0"}, "is zero"),
    ],
)
def test_words_that_are_off(asked: dict, sentence: str, base: DiffusionModel) -> None:
    with pytest.raises(UsageError, match=sentence) as refusal:
        EmotionPipeline(base, {}).plan("a dog", **asked)
    assert "\n" not in str(refusal.value)


def test_two_adapters_of_one_method_are_refused(base: DiffusionModel, tmp_path: Path) -> None:
    lora = registry.load_plugin("methods", "lora")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        learners.save_learner(lora.from_scratch(lora.Config(rank=1), base), "lora", tmp_path / name, base)
    both = [tmp_path / "one", tmp_path / "two"]
    with pytest.raises(UsageError, match="are both lora"):
        emoscene.load(base, adapter=both)
    pair = emoscene.load(base, method="prompt+lora", adapter=both[:1])
    assert (pair.method, pair.adapters) == ("prompt+lora", ("one",))
    with pytest.raises(UsageError, match="does not use it"):
        emoscene.load(base, method="prompt", adapter=both[:1])
