"""One list of a generation's parameters, what is derived from it, and the rows that older versions wrote."""

import ast
import dataclasses
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.cli.verbs import load_verb
from emoscene.core import request, typed_words
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.images import read_params, save_image
from emoscene.core.migration import VERSION, migrate_row, migrate_scores
from emoscene.core.parameter import BATCH, CALL, CLI, COMPARE, EVALUATE, WEB
from emoscene.core.params import GenerationParams
from emoscene.core.request import PARAMETERS, GenerationRequest, list_parameters
from emoscene.evaluation.evaluate import GENERATION
from emoscene.pipeline import image_folder
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene.reporting.scores import APART

OLD = Path(__file__).parent / "data" / "v0.1"


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> EmotionPipeline:
    return emoscene.load(str(tiny.make(tmp_path_factory.mktemp("base"))))


def test_a_file_of_the_first_version_is_read_by_its_own_meaning() -> None:
    params = read_params(next((OLD / "folder").glob("*.png")))
    assert (params.emotion_scale, params.strength, params.negative_prompt) == (0.5, None, "grey")
    assert (params.guidance_scale, params.guidance_interval) == (3.0, (0.2, 0.9))
    assert (params.width, params.height, params.num_inference_steps, params.sampler) == (64, 64, 2, "euler")
    assert params.emotion == (0.0, 0.7, 0.0, 0.0, 0.0, 0.0, -0.3, 0.0)
    assert params.to_dict()["version"] == VERSION == 2
    assert params.to_dict()["emotion"] == {"awe": 0.7, "fear": -0.3}


def test_an_edit_of_the_first_version_kept_a_share_and_has_a_strength_now() -> None:
    [row] = image_folder.read_index(OLD / "edit").values()
    params = GenerationParams.from_dict(row)
    assert (params.emotion_scale, params.strength, params.image) == (1.0, 0.75, "awe.png")
    assert params == dataclasses.replace(read_params(OLD / "edit/fear-0003.png"), seconds=params.seconds)
    assert "Denoising strength: 0.75" in params.to_a1111_text()


def test_an_old_file_makes_its_image_again() -> None:
    file = next((OLD / "folder").glob("*.png"))
    [(_, again)] = emoscene.load("mini", method="lora").generate([read_params(file)])
    with Image.open(file) as kept:
        assert np.abs(np.asarray(kept, int) - np.asarray(again, int)).max() <= 1


def test_an_old_folder_is_gone_on_with_and_gets_todays_index(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "folder", tmp_path / "out")
    config = json.loads((folder / "manifest.json").read_text())["config"]
    rows = [GenerationParams.from_dict(row) for row in config["rows"]]
    assert image_folder.open_folder(folder, rows, {}, config["weights"]).is_done
    other = [dataclasses.replace(rows[0], emotion_scale=0.6)]
    with pytest.raises(UsageError, match=r"emotion_scale is 0\.5 there and 0\.6 here"):
        image_folder.open_folder(folder, other, {}, config["weights"])
    [row] = image_folder.gather_rows(folder, [rows[0].file])
    assert row["emotion_scale"] == 0.5
    assert [path.name for path in folder.glob("*.jsonl")] == ["images.jsonl"]


def test_rows_of_today_and_of_later_versions_stay_as_they_are() -> None:
    row = GenerationParams(emotion_scale=0.5, image="a.png", strength=0.3).to_dict()
    assert migrate_row(row) == row
    assert GenerationParams.from_dict({**row, "version": 9, "later": 1}).strength == 0.3
    with pytest.raises(UsageError, match=r"version='two' is off"):
        migrate_row({"version": "two"})
    with pytest.raises(UsageError, match=r"keep=1\.5 is out of range"):
        migrate_row({"keep": 1.5})


def test_old_scores_have_todays_names() -> None:
    old = {"strength": 0.5, "cfg": 3.0, "steps": 20, "sampler": "ddim"}
    new = {"emotion_scale": 0.5, "guidance_scale": 3.0, "num_inference_steps": 20, "sampler": "ddim", "version": 3}
    assert migrate_scores(old) == new
    assert migrate_scores(new) == new


def test_a_file_does_not_say_how_long_it_took(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        save_image(Image.new("RGB", (4, 4)), tmp_path / f"{seconds}.png", GenerationParams(seconds=seconds))
    assert (tmp_path / "1.0.png").read_bytes() == (tmp_path / "2.0.png").read_bytes()


def test_the_typed_keywords_are_those_of_the_request(tmp_path: Path) -> None:
    file = tmp_path / "request.py"
    shutil.copy(request.__file__, file)
    before = file.read_text(encoding="utf8")
    assert typed_words.typed_words() in before, "run python -m emoscene.core.typed_words"
    typed_words.write_typed_words(file)
    assert file.read_text(encoding="utf8") == before
    file.write_text(before.replace("    negative_prompt: str\n    emotion:", "    emotion:"), encoding="utf8")
    typed_words.write_typed_words(file)
    assert file.read_text(encoding="utf8") == before


def test_every_list_of_parameters_is_derived() -> None:
    offered = load_verb("generate").options
    assert {name: offered[name] for name in list_parameters(CLI)} == list_parameters(CLI)
    assert set(GENERATION) == set(list_parameters(EVALUATE)) <= set(load_verb("evaluate").options)
    assert set(list_parameters(COMPARE)) <= set(APART)
    fields = {field.name for field in dataclasses.fields(GenerationParams)}
    assert set(list_parameters(BATCH)) <= fields
    assert set(list_parameters(CALL)) - fields == {"valence", "arousal", "num_images_per_prompt"}
    pytest.importorskip("gradio")
    from emoscene.web import calls, form

    assert tuple(list_parameters(WEB)) == form.FIELDS
    assert set(form.FIELDS) - set(calls.FIELDS) == {"strength"}


@pytest.mark.parametrize(
    "other",
    [
        {"num_inference_steps": 3},
        {"sampler": "ddim"},
        {"width": 64},
        {"height": 64},
        {"image": "a.png", "strength": 0.5},
        {"guidance_interval": (0.0, 0.5)},
    ],
)
def test_images_of_one_batch_share_what_the_sampler_needs(other: dict) -> None:
    one = GenerationParams()
    assert one.batching_key == dataclasses.replace(one, seed=9, guidance_scale=2.0, prompt="a cat").batching_key
    assert one.batching_key != dataclasses.replace(one, **other).batching_key


@pytest.mark.parametrize("name", [name for name, one in PARAMETERS.items() if one.span])
def test_bounds_are_the_same_in_every_way_in(name: str) -> None:
    parameter = PARAMETERS[name]
    low, high = parameter.span[:2]
    pair = {"height": {"width": 64}, "valence": {"arousal": 0}, "arousal": {"valence": 0}}.get(name, {})
    for value in (low - 1, high + 1, float("nan"), float("inf")):
        value = (value, value) if parameter.count == 2 else value
        with pytest.raises(UsageError, match=name):
            GenerationRequest(**{**pair, name: value})
        if name in {field.name for field in dataclasses.fields(GenerationParams)}:
            with pytest.raises(UsageError, match=name):
                GenerationParams(**{name: value})
        said = [str(one) for one in (value if isinstance(value, tuple) else (value,))]
        with pytest.raises(UsageError, match=name.replace("_", "-")):
            read_call("generate", ["a dog", f"--{name.replace('_', '-')}", *said])


def test_help_has_groups_defaults_choices_and_short_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoscene.cli.main import main

    monkeypatch.setenv("COLUMNS", "160")
    assert main(["generate", "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    for words in ("─ Sampling ─", "─ From an image ─", "[default: 20]", "[one of ddim, dpm++,", "[default: 0 1]"):
        assert words in page
    assert "--num-inference-steps,--steps N" in page
    assert "--guidance-interval LOW HIGH" in page


def test_short_names_are_those_in_full_and_two_values_make_an_interval() -> None:
    short = read_call(
        "generate", ["a", "--cfg", "3", "--steps", "9", "--num", "2", "--negative", "x", "--size", "64x32"]
    ).given
    full = "a --guidance-scale 3 --num-inference-steps 9 --num-images-per-prompt 2 --negative-prompt x"
    assert short == read_call("generate", f"{full} --width 64 --height 32".split()).given
    assert read_call("generate", ["a", "--guidance-interval", "0.2", "0.9"]).given["guidance_interval"] == (0.2, 0.9)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("emotoin", "no argument 'emotoin': did you mean 'emotion'"),
        ("cfg", "no argument 'cfg': its name is 'guidance_scale'"),
        ("method", "no argument 'method'"),
    ],
)
def test_a_misspelt_keyword_is_told_its_neighbour(word: str, sentence: str, pipe: EmotionPipeline) -> None:
    with pytest.raises(UsageError, match=sentence):
        pipe("a dog", **{word: 1})


def test_generate_tells_the_neighbour_too(pipe: EmotionPipeline, tmp_path: Path) -> None:
    call = {"base": str(pipe.base.folder), "out": tmp_path / "out"}
    with pytest.raises(UsageError, match="did you mean 'emotion_scale'"):
        emoscene.generate("a dog", emotion_scal=1, **call)
    with pytest.raises(UsageError, match="no setting 'steps': the argument is 'num_inference_steps'"):
        emoscene.generate("a dog", steps=1, **call)
    assert not (tmp_path / "out").exists()
    assert issubclass(UsageError, ValueError) and issubclass(EmosceneError, RuntimeError)


def test_evaluate_tells_the_neighbour_too(tmp_path: Path) -> None:
    """Before anything is loaded: of its own arguments, of the parameters of a generation, and of settings."""
    for word, sentence in (
        ("promts", "no argument 'promts': did you mean 'prompts'"),
        ("emotion_scal", "did you mean 'emotion_scale'"),
        ("classifier_scal", "did you mean 'classifier_scale'"),
        ("steps", "its name is 'num_inference_steps'"),
        ("away", "'away' is now called 'suppression_scale'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            emoscene.evaluate(out=tmp_path / "out", base="nowhere", **{word: 1})
    assert not (tmp_path / "out").exists()


def test_the_stub_has_the_arguments_of_each_function() -> None:
    stub = ast.parse(Path(emoscene.__file__).with_suffix(".pyi").read_text(encoding="utf8"))
    functions = [node for node in stub.body if isinstance(node, ast.FunctionDef)]
    assert {node.name for node in functions} == {"load", "generate", "evaluate", "demo", "mini"}
    for node in functions[:3]:
        arguments = inspect.signature(getattr(emoscene, node.name)).parameters
        rest = {name for name, one in arguments.items() if one.kind is one.VAR_KEYWORD} | {"emotion"}
        assert {one.arg for one in [*node.args.args, *node.args.kwonlyargs]} == set(arguments) - rest


SCRIPT = """
import emoscene

pipe = emoscene.load("mini", method="lora")
reveal_type(emoscene.load)
result = pipe("a lake", emotion={"awe": 0.7}, emotion_scale=1.0, guidance_interval=(0.0, 0.5), width=64)
result.images[0].save("awe.png")
emoscene.generate("a lake", emotion="awe", num_inference_steps=3, out="out", recipe="fast")
emoscene.load("mini", methd="lora")
pipe("a lake", emotoin="awe")
emoscene.generate("a lake", cfg=3.0)
emoscene.train("lora", data="prepared", out="runs/lora", steps=900)
emoscene.evaluate(out="scores", method="lora", num_inference_steps=3, settings={"conditioning_share": 0.5})
emoscene.evaluate(out="scores", promts="prompts.txt")
"""


@pytest.mark.slow
def test_a_users_script_is_checked_by_mypy(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", "script.py"]
    source = str(Path(emoscene.__file__).parent.parent)
    environment = {**__import__("os").environ, "MYPYPATH": source, "PYTHONPATH": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("script.py")]
    errors = [line for line in lines if ": error:" in line]
    assert "EmotionPipeline" in next(line for line in lines if "Revealed type" in line), done.stdout
    assert [int(line.split(":")[1]) for line in errors] == [9, 10, 11, 14], done.stdout + done.stderr


def test_a_call_may_draw_its_seed_and_an_image_has_one(monkeypatch):
    seeds = {GenerationRequest(seed=-1, num_images_per_prompt=2).seed for _ in range(4)}
    assert len(seeds) > 1 and min(seeds) >= 0
    monkeypatch.setattr(request.secrets, "randbelow", lambda count: count - 1)
    assert GenerationRequest(seed=-1, num_images_per_prompt=2).seed == request.LAST_SEED - 1
    with pytest.raises(UsageError, match="seed=-1 is out of range: it goes from 0"):
        GenerationParams(seed=-1)
    with pytest.raises(UsageError, match="seed=-1 is out of range: it goes from 0"):
        request.read_seed_list([-1])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="another seed in each of several processes"):
        GenerationRequest(seed=-1)
