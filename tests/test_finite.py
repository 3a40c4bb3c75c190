"""What is not finite is no success: numbers are checked where they enter, weights when read, images when they leave."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

import emoscene
import tiny
from emoscene.cli import main
from emoscene.cli.app import read_call
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.file_reading import parse_json
from emoscene.core.images import open_image, read_params
from emoscene.core.params import GenerationParams
from emoscene.core.request import GenerationRequest
from emoscene.core.taxonomy import EMOTIONS, emotion_weights
from emoscene.diffusion.decoding import ImageDecoder
from emoscene.diffusion.loras import apply_loras, parse_lora
from emoscene.diffusion.model import DiffusionModel
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.generate import load_prompts, parse_seeds
from emoscene.learning import learner as learners
from emoscene.methods.base import Method
from emoscene.pipeline import image_folder, pipeline, samplers
from emoscene.web.session import Session

NOT_FINITE = (float("nan"), float("inf"), float("-inf"), 1e39, -1e39, 10**400, "nan", "inf", "-inf", "1e39")
DECODER = "decoder.conv_in.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pipe(folder):
    return emoscene.load(str(folder), device="cpu")


def change_weights(file, name, value):
    state = load_file(file)
    state[name] = value(state[name])
    save_file(state, file, {"format": "pt"})


def poison(value):
    def change(weight):
        weight = weight.clone()
        weight.view(-1)[3] = value
        return weight

    return change


class Wild(Method):
    """A method that pushes the noise prediction past all numbers in some rows."""

    def apply_guidance(self, prediction, x_t, t, condition):
        return prediction * torch.where(condition.emotion_weights.any(1), torch.inf, 1.0).view(-1, 1, 1, 1)


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("name", ["emotion_scale", "guidance_scale", "strength", "seed", "num_inference_steps"])
def test_a_row_has_no_number_that_is_not_finite(name, value):
    with pytest.raises(UsageError, match=rf"{name}=.* is (off|out of range)"):
        GenerationParams(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", value) for value in (-1, 2**32, 2**64, 1.5, True, "one", None, [1])),
        *(("num_inference_steps", value) for value in (0, -5, 1000, 10**9, True, 2.5)),
        *(
            (name, value)
            for name in ("width", "height")
            for value in (0, -64, 10**7, None, "64x64", True, 64.5, (64, 64))
        ),
        *(("guidance_interval", value) for value in (0.5, (0.5,), (0.9, 0.2), (0, 2), (0, float("nan")), "x", None)),
        *(("emotion", value) for value in ((1e39,) + (0,) * 7, (float("nan"),) * 8, "awe:1e39", "awe:nan", 5, (1,))),
        *(("prompt", value) for value in (None, 5, ["a"])),
        *(("file", value) for value in ("/etc/x.png", "../x.png", "C:x.png", "a\\b.png", "a\0b.png")),
    ],
)
def test_a_row_refuses_what_cannot_be_painted(name, value):
    with pytest.raises(UsageError):
        GenerationParams(**{name: value})


def test_numpys_numbers_become_pythons():
    row = GenerationParams(
        emotion_scale=np.float32(0.5),
        seed=np.int64(7),
        num_inference_steps=np.int32(3),
        width=np.int64(64),
        height=64,
        guidance_scale="2.5",
    )
    assert json.loads(json.dumps(row.to_dict())) == json.loads(
        json.dumps(
            GenerationParams(
                emotion_scale=0.5, seed=7, num_inference_steps=3, width=64, height=64, guidance_scale=2.5
            ).to_dict()
        )
    )
    assert [GenerationParams(seed=seed).seed for seed in (0, 2**32 - 1)] == [0, 2**32 - 1]


@pytest.mark.parametrize(
    "value", [{"awe": 1e39}, {"awe": 10**400}, {"awe": None}, {"awe": "inf"}, [1e39, *[0] * 7], [None] * 8, "awe:101"]
)
def test_weights_are_bounded(value):
    with pytest.raises(UsageError, match=r"is no weight|out of range"):
        emotion_weights(value)


@pytest.mark.parametrize("place", [float("nan"), float("inf"), "x", None, [0]])
def test_a_place_on_the_plane_is_two_numbers(place, pipe):
    with pytest.raises(UsageError):
        pipe.plan("a dog", valence=place, arousal=0.0)


@pytest.mark.parametrize(
    "asked",
    [
        {"num_images_per_prompt": 0},
        {"num_images_per_prompt": -1},
        {"num_images_per_prompt": 10**12},
        {"num_images_per_prompt": 1.5},
        {"num_images_per_prompt": True},
        {"seed": 2**32 - 2, "num_images_per_prompt": 4},
        {"width": 0},
        {"width": -64},
        {"width": 10**7},
        {"width": True},
        {"width": 64.5},
        {"width": (64, 64)},
        {"width": 64, "height": 0},
        {"height": 64},
        {"width": float("nan")},
        {"emotion_scale": 1e39},
        {"guidance_scale": "x"},
        {"guidance_scale": -1.0},
    ],
)
def test_a_call_refuses_numbers_that_are_off(asked, pipe, tmp_path):
    with pytest.raises(UsageError):
        pipe.plan("a dog", **asked)
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    with pytest.raises(UsageError):
        pipe.plan("a dog", image=tmp_path / "in.png", **asked)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, 10**9])
def test_a_batch_has_an_image_at_least(batch, pipe, tmp_path):
    rows = pipe.plan("a dog", width=64, num_inference_steps=1)
    with pytest.raises(UsageError, match="batch="):
        list(pipe.generate(rows, batch))
    with pytest.raises(UsageError, match="batch="):
        image_folder.generate_missing(pipe.generate, rows, tmp_path / "out", batch)


@pytest.mark.parametrize(
    "seeds",
    [
        "-3:2",
        "0:4294967297",
        "4294967296",
        "0:10000000000",
        [-1],
        [1.5],
        [True],
        range(10**12),
        "0:18446744073709551617",
    ],
)
def test_seeds_of_an_evaluation_are_bounded(seeds):
    with pytest.raises(UsageError):
        parse_seeds(seeds)


@pytest.mark.parametrize(
    "words",
    [
        "--emotion awe:1e39",
        "--emotion awe:nan",
        "--emotion-scale 1e39",
        "--emotion-scale inf",
        "--emotion-scale=-inf",
        "--cfg nan",
        "--cfg 1e39",
        "--steps 1000",
        "--steps 0",
        "--steps=-1",
        "--seed 4294967296",
        "--num 0",
        "--num 99999999999",
        "--batch 0",
        "--size 0",
        "--size 99999x64",
        "--strength nan",
        "--valence nan --arousal 0",
        "--valence 0 --arousal inf",
    ],
)
def test_the_command_line_refuses_with_status_2(words, folder, tmp_path, capsys):
    line = ["generate", "a dog", f"--base={folder}", f"--out={tmp_path / 'out'}", *words.split()]
    assert main.main(line) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "emotion_scale = inf",
        "cfg = nan",
        "steps = 1000",
        'emotion = "awe:inf"',
        "classifier_scale = inf",
        "classifier_scale = nan",
        'classifier_scale = "nan"',
    ],
)
def test_a_recipe_is_read_by_the_same_bounds(setting, tmp_path):
    (tmp_path / "off.toml").write_text(setting)
    with pytest.raises(UsageError):
        read_call("generate", ["a dog", "--method", "guidance", "--recipe", str(tmp_path / "off.toml")])


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_methods_setting_is_finite(value, folder):
    with pytest.raises(UsageError, match="scale"):
        emoscene.load("mini", method="guidance", classifier_scale=value, device="cpu")


@pytest.mark.parametrize("sampler", registry.list_names("samplers"))
def test_steps_are_fewer_than_the_timesteps_of_training(sampler, pipe):
    with pytest.raises(UsageError, match=r"steps=1000 is off: the base .* was trained on 1000 timesteps"):
        samplers.make_scheduler(pipe.base, sampler, 1000)
    most = registry.load_table("samplers", sampler).get("most_steps", 999)
    solver = samplers.make_scheduler(pipe.base, sampler, most)
    assert solver.timesteps.isfinite().all()
    with pytest.raises(UsageError, match=r"num_inference_steps=1000 is out of range: it goes from 1 to 999"):
        pipe("a dog", num_inference_steps=1000, sampler=sampler)


@pytest.mark.parametrize(
    "said",
    [
        '"emotion_scale": NaN',
        '"emotion_scale": Infinity',
        '"guidance_scale": 1e999',
        '"guidance_scale": -Infinity',
        '"seed": -1',
        '"seed": 4294967296',
        '"seed": true',
        '"num_inference_steps": 1000',
        '"keep": NaN',
        '"size": [10000000, 10000000]',
        '"emotion": [1e39, 0, 0, 0, 0, 0, 0, 0]',
        '"file": "../../x.png"',
        '"settings": ' + "[" * 100_000,
    ],
)
def test_the_row_in_a_png_is_read_by_the_same_bounds(said, tmp_path):
    chunks = PngInfo()
    chunks.add_text("emoscene", f"{{{said}}}")
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png", pnginfo=chunks)
    with pytest.raises(EmosceneError, match=r"the row in .* is damaged"):
        read_params(tmp_path / "x.png")


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "[" * 100_000, "{"])
def test_json_of_a_file_is_finite(text, tmp_path):
    with pytest.raises(ValueError):  # noqa: PT011  what the reader of each file turns into its own sentence
        parse_json(text)
    (tmp_path / "manifest.json").write_text(f'{{"kind": "scores", "state": "done", "a": {text}}}')
    with pytest.raises(EmosceneError, match="is damaged"):
        run_dir.read_manifest(tmp_path)
    (tmp_path / "rows.jsonl").write_text(f'{{"a": {text}}}\n')
    with pytest.raises(EmosceneError, match="is damaged"):
        list(run_dir.read_jsonl(tmp_path / "rows.jsonl"))


def test_a_list_of_pictures_is_finite(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
    (tmp_path / "images.jsonl").write_text('{"file": "1.png", "emotion_scale": NaN}\n')
    with pytest.raises(EmosceneError, match="is not a finite number"):
        find_samples(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "prompt = 5",
        "",
        "prompt = [5]",
        "prompt = [{ scene = 'a' }]",
        "prompt = [{ text = nan }]",
        "prompt = [{ text = 'a', x = 1 }]",
    ],
)
def test_a_file_of_prompts_that_is_off_is_said(text, tmp_path):
    (tmp_path / "prompts.toml").write_text(text)
    with pytest.raises(UsageError, match=r"prompts.toml"):
        load_prompts(tmp_path / "prompts.toml")


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_base_are_finite(part, value, tmp_path):
    folder = tiny.make(tmp_path / "base")
    file = next((folder / part).glob("*.safetensors"))
    change_weights(file, sorted(load_file(file))[0], poison(value))
    with pytest.raises(EmosceneError, match=r"holds numbers in \S+ that are not finite in float32"):
        DiffusionModel.load(str(folder))
    assert main.main(["generate", "a dog", f"--base={folder}", f"--out={tmp_path / 'out'}"]) == 1


def test_weights_that_half_precision_cannot_hold_are_said(tmp_path):
    folder = tiny.make(tmp_path / "base")
    change_weights(next((folder / "unet").glob("*.safetensors")), "conv_in.weight", poison(1e6))
    assert DiffusionModel.load(str(folder)).unet.dtype == torch.float32
    with pytest.raises(EmosceneError, match=r"in conv_in\.weight that are not finite in float16: give --dtype float32"):
        DiffusionModel.load(str(folder), dtype=torch.float16)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_an_adapter_are_finite(value, folder, tmp_path):
    base = DiffusionModel.load(str(folder))
    lora = registry.load_plugin("methods", "lora")
    learners.save_learner(lora.from_scratch(lora.Config(rank=1), base), "lora", tmp_path, base)
    file = tmp_path / "adapter_model.safetensors"
    change_weights(file, sorted(load_file(file))[0], poison(value))
    with pytest.raises(EmosceneError, match=r"holds numbers in \S+ that are not finite"):
        learners.load_learner("methods", tmp_path, base)


@pytest.mark.parametrize("scale", ["1e39", "inf", "nan", "-101"])
def test_the_scale_of_a_lora_is_finite(scale, tmp_path):
    save_file({"x": torch.ones(1)}, tmp_path / "style.safetensors")
    with pytest.raises(UsageError, match=r"is no scale|out of range"):
        parse_lora(f"{tmp_path / 'style.safetensors'}:{scale}")


def test_a_lora_that_half_precision_cannot_hold_is_said(folder, tmp_path):
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    factors = {"lora_down.weight": torch.full((1, 32), 300.0), "lora_up.weight": torch.full((32, 1), 300.0)}
    save_file({f"{name}.{key}": value for key, value in factors.items()}, tmp_path / "style.safetensors")
    apply_loras(DiffusionModel.load(str(folder)), tmp_path / "style.safetensors")
    with pytest.raises(EmosceneError, match=r"not finite in float16.*lower the LoRA's scale"):
        apply_loras(DiffusionModel.load(str(folder), dtype=torch.float16), tmp_path / "style.safetensors")


def test_what_overflows_in_half_precision_is_decoded_in_single(tmp_path):
    folder = tiny.make(tmp_path / "base")
    change_weights(next((folder / "vae").glob("*.safetensors")), DECODER, lambda weight: weight * 3e4)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    half, single = (DiffusionModel.load(str(folder), dtype=dtype) for dtype in (torch.float16, torch.float32))
    assert not half.decode_latents(latents).isfinite().all()
    told = []
    decode = ImageDecoder(half, told.append)
    images = decode(latents, [1, 2])
    wanted = ImageDecoder(single, told.append)(latents, [1, 2])
    for image, other in zip(images, wanted, strict=True):
        assert np.abs(np.asarray(image, int) - np.asarray(other, int)).max() <= 2
        assert np.asarray(image).std() > 1
    decode(latents, [1, 2])
    assert told == [f"the autoencoder of '{folder}' overflows in float16: it decodes in float32 instead"]
    assert half.vae.dtype == torch.float16
    made = emoscene.load(half)
    made.on_message = told.append
    made("a dog", num_inference_steps=1, width=64)
    assert len(told) == 2


def test_an_autoencoder_that_overflows_in_single_precision_is_said(folder, tmp_path):
    broken = tiny.make(tmp_path / "base")
    change_weights(next((broken / "vae").glob("*.safetensors")), DECODER, lambda weight: weight * 1e38)
    for dtype in (torch.float32, torch.bfloat16):
        pipe = emoscene.load(DiffusionModel.load(str(broken), dtype=dtype))
        pipe.on_message = lambda remark: None
        with pytest.raises(EmosceneError, match=r"the autoencoder of the base .* in float32 as well"):
            pipe("a dog", num_inference_steps=1, width=64)


def test_latents_that_are_not_finite_name_their_seed_and_the_remedy(pipe, folder):
    wild = pipeline.EmotionPipeline(pipe.base, {"wild": Wild(None, pipe.base)})
    rows = [
        row
        for emotion in (None, "awe")
        for row in wild.plan("a dog", emotion=emotion, width=64, num_inference_steps=2, seed=5)
    ]
    rows[1] = replace(rows[1], seed=6)
    with pytest.raises(
        EmosceneError, match=r"the image of seed 6 came out as .* not finite: lower --emotion-scale, .*--cfg"
    ):
        list(wild.generate(rows))
    assert len(list(wild.generate(rows[:1]))) == 1
    for value in (torch.nan, torch.inf):
        latents = torch.zeros(1, 4, 8, 8)
        latents[0, 0, 0, 0] = value
        with pytest.raises(EmosceneError, match="the image of seed 3"):
            pipe.decode(latents, [replace(rows[0], seed=3)])


def test_generate_fails_where_the_images_are_not_finite(pipe, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(DiffusionModel, "predict", lambda self, x_t, t, shown: x_t * torch.nan)
    assert main.main(["generate", "a dog", f"--base={folder}", f"--out={tmp_path / 'out'}", "--steps=2"]) == 1
    assert not list((tmp_path / "out").glob("*.png"))


def test_the_page_shows_no_image_that_is_not_finite(folder, monkeypatch):
    studio = Session(str(folder), device="cpu")
    monkeypatch.setattr(studio.base, "decode_latents", lambda latents: torch.full((len(latents), 3, 64, 64), torch.nan))
    with pytest.raises(EmosceneError, match="not finite"):
        list(studio.generate(GenerationRequest(prompt="a dog", num_inference_steps=2, width=64)))


@pytest.mark.parametrize("strength", [-100.0, 100.0])
def test_single_precision_holds_what_comes_of_the_bounds(strength, pipe):
    extreme = pipeline.EmotionPipeline(pipe.base, {"lora": tiny.made("lora", pipe.base)})
    emotion = ",".join(f"{name}:100" for name in EMOTIONS)
    asked = {"emotion_scale": strength, "guidance_scale": 100, "num_inference_steps": 2, "width": 64}
    assert len(extreme("a dog", emotion=emotion, **asked).images) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("emotion_scale", "nan"),
        ("emotion_scale", "inf"),
        ("emotion_scale", "1e400"),
        ("emotion_scale", 1e39),
        ("emotion_scale", True),
        ("seed", 1.5),
        ("seed", True),
        ("prompt", ["a lake"]),
        ("scene", {"a": 1}),
    ],
)
def test_the_rows_of_a_list_hold_what_their_columns_say(name, value, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
    (tmp_path / "pictures.jsonl").write_text(json.dumps({"file": "1.png", name: value}) + "\n")
    with pytest.raises(UsageError, match=r"pictures.jsonl, row 1: .*" + name):
        find_samples(tmp_path)


def test_a_list_may_have_the_long_seeds_of_other_programs(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
    (tmp_path / "list.csv").write_text(f"file,seed\n1.png,{2**64 - 1}\n")
    [sample], _ = find_samples(tmp_path)
    assert sample.seed == 2**64 - 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_are_finite(value, pipe, tmp_path):
    pixels = np.full((64, 64), 0.5, np.float32)
    pixels[3, 5] = value
    image = Image.fromarray(pixels)
    image.save(tmp_path / "x.tiff")
    with pytest.raises(
        UsageError, match=r"x.tiff cannot be read as an image \(it has pixels that are not finite numbers\)"
    ):
        open_image(tmp_path / "x.tiff")
    with pytest.raises(UsageError, match="pixels that are not finite numbers"):
        pipe.plan("a dog", image=image)


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": 5},
        {"prompt": [5]},
        {"prompt": None},
        {"prompt": "a lake\udcff"},
        {"negative_prompt": "\udcff"},
        {"image": 5},
        {"image": np.zeros((8, 8))},
        {"emotion_image": 5},
        {"emotion": {1: 1.0}},
    ],
    ids=str,
)
def test_a_call_refuses_words_and_images_that_are_none(asked, pipe):
    with pytest.raises(UsageError):
        pipe(**{"prompt": "a dog", "num_inference_steps": 1, **asked})
