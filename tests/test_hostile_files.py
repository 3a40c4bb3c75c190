"""Every reader of files, on files that a stranger changed: a value or a sentence, and nothing read outside.

Each is tried on 5,000 examples in the slow tier, and on a few in the default one; the examples are the same every time.
"""

import json
import shutil
import struct
from functools import partial

import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save

import tiny
from emoscene import reporting
from emoscene.cli.app import read_call
from emoscene.cli.storage import list_runs
from emoscene.core import run_dir
from emoscene.core.errors import EmosceneError
from emoscene.core.image_files import decode_image
from emoscene.core.image_origin import is_file_rendered
from emoscene.core.images import read_params
from emoscene.core.params import GenerationParams
from emoscene.data.dataset import check_parts
from emoscene.data.sources.emoset import EmoSet
from emoscene.data.sources.imagefolder import ImageFolder
from emoscene.data.sources.raf_db import RAFDB
from emoscene.diffusion import loras
from emoscene.diffusion.architecture import is_safetensors, read_header
from emoscene.diffusion.compatibility import check_configs, check_file
from emoscene.diffusion.families.sd1 import SD1
from emoscene.diffusion.noise_schedule import check_schedule
from emoscene.diffusion.weight_files import find_files
from emoscene.encoders.base import PixelFormat
from emoscene.evaluation.evaluate import _finish_scores
from emoscene.evaluation.external import find_samples
from emoscene.evaluation.generate import load_prompts
from emoscene.learning import checkpoints
from emoscene.learning import learner as learners
from emoscene.pipeline import image_folder
from emoscene.web.safety_filter import _find_state
from hostile import change, change_bytes, change_value, encode, only_sentences, try_examples, watch_opens
from test_reporting import scored

MANY = pytest.mark.parametrize("examples", [200, pytest.param(5000, marks=pytest.mark.slow)])
ROW = GenerationParams(prompt="a lake", emotion=(0, 1, 0, 0, 0, 0, 0, 0), seed=7, file="a.png", digests={"x": "y"})


@pytest.fixture
def place(tmp_path):
    """A folder with images, beside another one with a secret that nothing may open."""
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    for file in (folder / "a.png", folder / "b.png", tmp_path / "secret/passport.png"):
        Image.new("RGB", (64, 64), "navy").save(file)
    with watch_opens(tmp_path / "secret") as opened:
        yield folder
    assert opened == []


def secret(place):
    return str(place.parent / "secret")


@MANY
def test_manifests(examples, place):
    call = {"kind": "pictures", "config": {"rows": [1, {"a": 2}]}, "seed": 3}
    parent = {**call, "state": "done", "fingerprint": "f" * 64, "parents": []}
    sound = {**call, "parents": [parent], "versions": {"python": "3"}, "state": "open"}

    def check(data):
        (place / "manifest.json").write_bytes(data)
        only_sentences(run_dir.read_manifest, place)
        only_sentences(run_dir.RunDir.open, place, "pictures", {"rows": [1, {"a": 2}]}, [], 3)
        only_sentences(list_runs, place)

    try_examples(examples, change(sound, secret(place)), check)


@MANY
def test_cards(examples, place):
    place = tiny.judges(place / "judges")[0]
    sound = json.loads((place / "learner.json").read_text())
    trained = {"name": "mini", "fingerprint": "f" * 64, "width": 32}
    sound["base"] = {**trained, "architecture": {"family": "sd1", "channels": [16, 32], "text_dim": 32}}

    def check(data):
        (place / "learner.json").write_bytes(data)
        if only_sentences(learners.read_card, place):
            only_sentences(learners.load_learner, "encoders", place, None)

    try_examples(examples, change(sound, secret(place)), check)


def report_on(folder):
    out = folder.parent / "report"
    shutil.rmtree(out, ignore_errors=True)
    reporting.report(folder, out=out, on_message=str)


@MANY
def test_scores(examples, place):
    folder = scored(place / "scores")
    sound = json.loads((folder / "scores.json").read_text())

    def check(data):
        (folder / "scores.json").write_bytes(data)
        only_sentences(report_on, folder)
        only_sentences(_finish_scores, folder, str)

    try_examples(examples, change(sound, secret(place)), check)


@pytest.mark.parametrize("data", [b"\xff{", b"[]", b'{"missing": 1}', b"{", b""])
def test_scores_that_lie_there_and_are_damaged_are_told_by_the_call_that_made_them(data, place):
    folder = scored(place / "scores")
    (folder / "scores.json").write_bytes(data)
    with pytest.raises(EmosceneError, match=r"scores.json is damaged \(.*\): delete the folder, and evaluate"):
        _finish_scores(folder, str)


@pytest.mark.parametrize("index", [b"\xff{", b"[]", b"{", b'{"safety_checker": {"a": 1}}', b'{"safety_checker": 3}'])
def test_what_an_index_says_of_a_safety_checker(index, place):
    (place / "model_index.json").write_bytes(index)
    assert only_sentences(_find_state, place, True) in {None, ""}


@MANY
def test_verdicts(examples, place):
    folder = scored(place / "scores")
    lines = (folder / "verdicts.jsonl").read_bytes().splitlines(keepends=True)[:9]
    sound = json.loads(lines[0])

    def check(data):
        (folder / "verdicts.jsonl").write_bytes(data + b"\n" + b"".join(lines[1:]))
        only_sentences(report_on, folder)

    try_examples(examples, change(sound, secret(place)), check)


@MANY
def test_rows_of_generated_images(examples, place):
    def check(data):
        (place / "images.jsonl").write_bytes(data + b"\n")
        only_sentences(image_folder.gather_rows, place, ["a.png"])
        only_sentences(find_samples, place)

    try_examples(examples, change({**ROW.to_dict(), "image": "b.png"}, secret(place)), check)


@MANY
def test_lists_in_csv(examples, place):
    sound = f"file,emotion,seed,image\na.png,awe,3,b.png\n{secret(place)}/passport.png,fear,9,../x\n".encode()

    def check(data):
        (place / "list.csv").write_bytes(data)
        only_sentences(find_samples, place)

    try_examples(examples, change_bytes(sound), check)


def read_source(kind, place):
    source = kind(place, kind.Config(workers=1), 64)
    for number in range(len(source)):
        assert source._survey_one(number).origin
    list(source.rows_listed())


@MANY
def test_metadata(examples, place):
    sound = [
        {"file_name": "a.png", "label": "awe", "caption": "a lake", "split": "train"},
        {"file_name": "b.png", "label": "awe:0.7,fear:0.3", "caption": None, "scene": "lake"},
    ]

    def check(rows):
        (place / "metadata.jsonl").write_bytes(b"\n".join(encode(row, secret(place)) for row in rows))
        only_sentences(read_source, ImageFolder, place)

    try_examples(examples, change_value(sound).filter(lambda rows: isinstance(rows, list)), check)


@MANY
def test_metadata_in_csv(examples, place):
    sound = f"file_name,label,caption\na.png,awe,a lake\n{secret(place)}/passport.png,fear,x\n".encode()

    def check(data):
        (place / "metadata.csv").write_bytes(data)
        only_sentences(read_source, ImageFolder, place)

    try_examples(examples, change_bytes(sound), check)


@MANY
def test_emosets_lists(examples, place):
    row = ["awe", "1", "a.png", "a.json"]
    sound = {"list": [row, ["fear", "b.png", "b.json"]], "note": {"scene": "lake", "brightness": 0.5}}
    sound["info"] = {"emotion": {"idx2label": {"0": "awe"}}}

    def check(files):
        names = {"list": "train.json", "note": "a.json", "info": "info.json"}
        for key, name in names.items():
            if key in files:
                (place / name).write_bytes(encode(files[key], secret(place)))
        only_sentences(read_source, EmoSet, place)

    for name in ("val.json", "test.json"):
        (place / name).write_text("[]")
    try_examples(examples, change_value(sound).filter(lambda files: isinstance(files, dict)), check)


@MANY
def test_raf_dbs_list(examples, place):
    (place / "EmoLabel").mkdir()

    def check(data):
        (place / "EmoLabel/list_patition_label.txt").write_bytes(data)
        only_sentences(read_source, RAFDB, place)

    try_examples(examples, change_bytes(b"train_00001.jpg 5\ntest_0002.jpg 1\n"), check)


RECIPE = """name = "lora"
base = "mini"
rank = 8
lr = 0.001
steps = 10
out = "runs/x"
notes = { a = [1, inf, nan], b = 1e400 }
"""


@MANY
def test_recipes(examples, place, monkeypatch):
    monkeypatch.chdir(place)

    def check(data):
        (place / "r.toml").write_bytes(data)
        only_sentences(read_call, "train", ["lora", "--recipe", "r.toml", "--data", "d"])

    try_examples(examples, change_bytes(RECIPE.encode()), check)


@MANY
def test_prompts(examples, place):
    table = b'prompt = [{ text = "a lake", scene = "lake", object = "boat", held_out = true }, { text = "b" }]\n'

    def check(data):
        (place / "p.toml").write_bytes(data)
        (place / "p.txt").write_bytes(data)
        only_sentences(load_prompts, place / "p.toml")
        only_sentences(load_prompts, place / "p.txt")

    try_examples(examples, change_bytes(table), check)


@MANY
def test_chunks_of_a_png(examples, place):
    image = Image.new("RGB", (32, 32))

    def check(data):
        chunks = PngInfo()
        chunks.add_text("emoscene", data.decode("latin-1")[:60_000])
        image.save(place / "a.png", pnginfo=chunks)
        only_sentences(read_params, place / "a.png")
        only_sentences(find_samples, place)
        is_file_rendered(place / "a.png")

    try_examples(examples, change({**ROW.to_dict(), "image": "b.png"}, secret(place)), check)


@MANY
def test_bytes_of_a_png(examples, place):
    chunks = PngInfo()
    chunks.add_text("emoscene", json.dumps(ROW.to_dict()))
    Image.new("RGBA", (32, 32)).save(place / "a.png", pnginfo=chunks)

    def check(data):
        (place / "a.png").write_bytes(data)
        only_sentences(decode_image, data, "a.png")
        only_sentences(read_params, place / "a.png")
        is_file_rendered(place / "a.png")

    try_examples(examples, change_bytes((place / "a.png").read_bytes()), check)


TENSORS = {
    f"lora_unet_down_blocks_0_attentions_0_{part}.lora_{way}.weight": torch.ones(2, 4)
    for part in ("proj_in", "proj_out")
    for way in ("down", "up")
}


@MANY
def test_headers_of_safetensors(examples, place):
    data = save(TENSORS, {"lora_adapter_metadata": '{"unet.lora_alpha": 2, "unet.alpha_pattern": {"a": 1}}'})
    size = struct.unpack("<Q", data[:8])[0]
    sound, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    file = place / "a.safetensors"

    def check(header):
        file.write_bytes(struct.pack("<Q", len(header)) + header + rest)
        check_it = partial(check_file, layout=SD1.layout)
        for read in (read_header, is_safetensors, check_it, loras.read_factors, loras.parse_lora):
            only_sentences(read, file)

    try_examples(examples, change(sound, secret(place)), check)
    try_examples(examples, change_bytes(data), lambda data: check(data[8:]))


@MANY
def test_descriptions_in_a_lora(examples, place):
    sound = {"unet.lora_alpha": 2, "unet.alpha_pattern": {"a": 1}, "unet.use_rslora": True, "text_encoder.r": 3}
    file = place / "a.safetensors"

    def check(data):
        file.write_bytes(save(TENSORS, {"lora_adapter_metadata": data.decode("latin-1")}))
        only_sentences(loras.read_factors, file)

    try_examples(examples, change(sound, secret(place)), check)


@MANY
def test_configs_of_models(examples, place):
    sound = {"image_size": 224, "vision_config": {"image_size": 32}}
    pixels = {"crop_size": {"height": 224, "width": 224}, "size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}

    def check(both):
        for name, content in zip(("config.json", "preprocessor_config.json"), both, strict=True):
            (place / name).write_bytes(content)
        only_sentences(PixelFormat.from_folder, place)

    try_examples(examples, st.tuples(change(sound), change(pixels)), check)


@MANY
@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae", "scheduler"])
def test_configs_of_a_base(examples, part, place):
    tiny.make(place / "base")
    file = place / "base" / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    sound = json.loads(file.read_text())

    def check(data):
        file.write_bytes(data)
        only_sentences(partial(check_configs, layout=SD1.layout), place / "base")
        if part == "scheduler":
            config = only_sentences(learners.read_json, file)
            only_sentences(check_schedule, config or {}, place)

    try_examples(examples, change(sound, secret(place)), check)


@MANY
def test_indexes_of_shards(examples, place):
    def check(data):
        (place / "model.safetensors.index.json").write_bytes(data)
        only_sentences(find_files, place)

    try_examples(examples, change({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}, secret(place)), check)


@MANY
def test_states_of_a_data_set(examples, place):
    sound = {"_data_files": [{"filename": "a.png"}], "_split": None}

    def check(both):
        for name, content in zip(("state.json", "dataset_info.json"), both, strict=True):
            (place / name).write_bytes(content)
        only_sentences(check_parts, place)

    try_examples(examples, st.tuples(change(sound, secret(place)), change({"features": {"a": 1}})), check)


@MANY
def test_states_of_a_checkpoint(examples, place):
    step = checkpoints.save_checkpoint(place, 3, {"weights": {"a": torch.ones(2)}}, 2, about={"base": "x"})
    sound = json.loads((step / "state.json").read_text())

    def check(data):
        (step / "state.json").write_bytes(data)
        if checkpoints.find_fault(step) is None:
            only_sentences(checkpoints.read_checkpoint, step)

    try_examples(examples, change(sound, secret(place)), check)
