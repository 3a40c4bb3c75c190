"""The verb `evaluate`, on a tiny base and judge: what is asked is counted, what is kin refused, all kept."""

import json
import re
import shlex
import shutil
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

import tiny
from emoscene.cli import main
from emoscene.core import registry, run_dir
from emoscene.core.errors import UsageError
from emoscene.core.images import read_params, save_image
from emoscene.core.migration import SCORES_VERSION
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EKMAN, EMOTIONS, MIKELS8, emotion_weights
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.evaluation import predictions, treatments
from emoscene.evaluation.evaluate import evaluate
from emoscene.evaluation.generate import (
    Prompt,
    default_prompts,
    generate_samples,
    load_prompts,
    parse_seeds,
    plan_samples,
)
from emoscene.evaluation.judges import load_clip, load_judges
from emoscene.learning import learner as learners
from emoscene.pipeline.generate import load
from emoscene.pipeline.pipeline import EmotionPipeline
from emoscene_mini.world.scenes import SCENES
from emoscene_mini.world1.plan import held_out


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return tiny.judges(tmp_path_factory.mktemp("judges"))


@pytest.fixture(scope="module")
def call(base, judges, tmp_path_factory):
    prompts = tmp_path_factory.mktemp("prompts") / "two.toml"
    prompts.write_text('prompt = [{ text = "a beach", scene = "beach" }, { text = "a park", scene = "park" }]')
    return {
        "base": base,
        "judge": judges,
        "prompts": prompts,
        "seeds": "0:2",
        "num_inference_steps": 1,
        "on_message": lambda line: None,
    }


def test_scores_have_every_field(call, tmp_path):
    out = evaluate(out=tmp_path / "scores", method="prompt", **call)
    scores = json.loads((out / "scores.json").read_text())
    for key in (
        "base",
        "method",
        "adapters",
        "emotion_scale",
        "guidance_scale",
        "num_inference_steps",
        "sampler",
        "prompts",
        "seeds",
        "judges",
        "metrics",
    ):
        assert key in scores
    assert scores["version"] == SCORES_VERSION
    assert set(scores["cost"]) == {"trainable", "bytes", "training_images", "training_seconds", "seconds_per_image"}
    assert scores["images"] == 2 * 8 * 2
    assert scores["peak_memory_mb"] > 0 < scores["images_per_second"]
    judge = scores["judges"]["emotion"]
    assert np.sum(judge["confusion"]) == 32
    assert np.sum(judge["confusion"], axis=1).tolist() == [4] * 8
    assert set(judge["per_emotion"]) == set(EMOTIONS)
    accuracy = judge["emotion_accuracy"]
    assert accuracy["value"] == np.trace(judge["confusion"]) / 32
    assert accuracy["low"] is None is accuracy["high"]
    assert "no figure has an interval: from 2 prompts and 2 seeds" in " ".join(scores["cautions"])
    assert {"scene_accuracy", "diversity", "gradient"} <= set(scores["metrics"])
    for value in scores["metrics"].values():
        assert set(value) == {"value", "low", "high", "n", "by"}
    assert run_dir.read_manifest(out, "scores")["state"] == "done"


def test_the_base_alone_paints_a_prompt_once(call, tmp_path):
    out = evaluate(out=tmp_path / "scores", method="none", **call)
    scores = json.loads((out / "scores.json").read_text())
    assert len(list((out / "pictures").glob("*.png"))) == 4
    assert scores["judges"]["emotion"]["emotion_accuracy"]["value"] == 1 / 8
    assert scores["images"] == 32


def test_the_same_call_goes_on(call, tmp_path, monkeypatch):
    out = tmp_path / "scores"
    monkeypatch.setattr(predictions, "predict", lambda *words, **more: 1 / 0)
    monkeypatch.setattr("emoscene.evaluation.evaluate.predict", predictions.predict)
    with pytest.raises(ZeroDivisionError):
        evaluate(out=out, method="none", **call)
    before = {path: path.stat().st_mtime_ns for path in (out / "pictures").glob("*.png")}
    monkeypatch.undo()
    evaluate(out=out, method="none", **call)
    assert before == {path: path.stat().st_mtime_ns for path in (out / "pictures").glob("*.png")}
    with pytest.raises(UsageError, match="emotion_scale"):
        evaluate(out=out, method="none", emotion_scale=0.5, **call)


def test_a_picture_that_is_lost_is_painted_again_in_its_batch(call, tmp_path):
    out = tmp_path / "scores"
    pipe = load(call["base"], method="prompt")
    planned = plan_samples(pipe, load_prompts(call["prompts"]), [0], num_inference_steps=1)
    samples = generate_samples(pipe, planned, out, 8, print)
    lost = samples[2].file
    before = {sample.file: np.asarray(Image.open(sample.file)) for sample in samples}
    times = {sample.file: sample.file.stat().st_mtime_ns for sample in samples if sample.file != lost}
    lost.unlink()
    again = generate_samples(pipe, planned, out, 8, print)
    assert again == samples
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert np.array_equal(np.asarray(Image.open(lost)), before[lost])
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


def test_any_folder_of_pictures(judges, base, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("awe", "fear", "other"):
        (tmp_path / "from" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"from/{name}/1.jpg")
    for _ in range(2):  # what cannot be measured of so few is said, each time, and is no failure
        said = []
        out = evaluate(out=tmp_path / "out", images=tmp_path / "from", base=base, judge=judges, on_message=said.append)
        assert [line.partition(":")[0] for line in said if "needs" in line] == [
            "diversity needs 2 images of one emotion and there are none"
        ]
    scores = json.loads((out / "scores.json").read_text())
    assert (list(scores["missing"]), scores["faults"]) == (["diversity"], [])
    assert scores["images"] == 3
    assert np.sum(scores["judges"]["emotion"]["confusion"]) == 2


def test_a_judge_akin_to_an_adapter_is_refused(judges, base, tmp_path):
    (tmp_path / learners.CARD).write_text(json.dumps({"picked by": run_dir.fingerprint_folder(judges[0])}))
    with pytest.raises(UsageError, match="cannot judge it"):
        load_judges(base, [str(judges[0])], [str(tmp_path)])
    with pytest.raises(UsageError, match="no judge of emotions"):
        load_judges(base, [str(judges[1])])


def test_words_that_are_off(tmp_path):
    assert parse_seeds("0:3") == [0, 1, 2] == parse_seeds("0,1,2") == parse_seeds(range(3))
    for seeds in ("3:3", "x", ""):
        with pytest.raises(UsageError, match="--seeds"):
            parse_seeds(seeds)
    with pytest.raises(UsageError, match=r"it is not there, give a file with one a line, or a set of them \(.*mini"):
        load_prompts(tmp_path / "none.txt")
    (tmp_path / "some.txt").write_text("a beach\n\na park\n")
    assert [prompt.text for prompt in load_prompts(tmp_path / "some.txt")] == ["a beach", "a park"]


def test_the_miniatures_prompts_say_what_they_are():
    prompts = load_prompts("mini")
    assert len(prompts) >= 24
    for prompt in prompts:
        assert prompt.scene in SCENES
        assert SCENES[prompt.scene] in prompt.text
        assert held_out(prompt.scene, prompt.object) == prompt.held_out
    assert sum(prompt.held_out for prompt in prompts) >= 8


@pytest.mark.slow
def test_what_a_method_cost_is_told_of_the_bases_own_adapter_too(tmp_path):
    prompts = [Prompt("a village by a lake", "village")]
    out = evaluate(
        out=tmp_path / "scores",
        method="lora",
        prompts=prompts,
        seeds=[0, 1],
        num_inference_steps=1,
        on_message=lambda text: None,
    )
    cost = json.loads((out / "scores.json").read_text())["cost"]
    assert cost["trainable"] > 100_000
    assert cost["training_images"] == 48_000
    assert cost["bytes"] > 1_000_000


def test_mixed_sizes_and_names_that_match_nothing(judges, base, tmp_path):
    rng = np.random.default_rng(0)
    for number, side in enumerate((64, 48, 64, 96)):
        (tmp_path / "from/Awe").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, 64, 3), np.uint8)).save(tmp_path / f"from/Awe/{number}.png")
    call = {"images": tmp_path / "from", "base": base, "judge": judges}
    evaluate(out=tmp_path / "out", **call)
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert scores["missing"] == {}
    assert scores["metrics"]["gradient"]["n"] == 4
    assert scores["judges"]["emotion"]["per_emotion"]["awe"]["support"] == 4
    assert scores["metrics"]["diversity"]["value"] > 0
    (tmp_path / "from/Awe").rename(tmp_path / "from/things")
    said = []
    evaluate(out=tmp_path / "other", robust=True, on_message=said.append, **call)
    assert [line for line in said if line.startswith("no emotion was asked of any image")]
    assert "scene_clarity" in json.loads((tmp_path / "other/scores.json").read_text())["metrics"]


def test_what_is_bad_is_said_and_all_else_comes_out(judges, base, tmp_path, capsys):
    """A judge that reads NaN: a sentence each metric, and status 1; an empty folder: 2."""
    rng = np.random.default_rng(0)
    for name in ("awe", "fear"):
        (tmp_path / "from" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"from/{name}/{number}.png")
    shutil.copytree(judges[0], tmp_path / "mad")
    weights = load_file(tmp_path / "mad/model.safetensors")
    for name in [name for name in weights if name.endswith("layernorm.weight")]:
        weights[name] = torch.full_like(weights[name], 3e38)  # finite, as weights must be, and read as NaN
    save_file(weights, tmp_path / "mad/model.safetensors", metadata={"format": "pt"})
    line = f"evaluate --base {base} --judge {judges[0]} --judge {tmp_path / 'mad'} --images {tmp_path / 'from'}"
    assert main.main(shlex.split(f"{line} --out {tmp_path / 'out'}")) == 1
    said = capsys.readouterr().err
    assert "emotion was left out: of 4 images, 4 read as NaN; mend their encoder" in said
    scores = json.loads((tmp_path / "out/scores.json").read_text())
    assert set(scores["missing"]) == {f"{name} of mad" for name in ("affect", "emotion", "polarity")}
    assert scores["judges"]["emotion"]["emotion_accuracy"]["n"] == 4
    assert scores["metrics"]["diversity"]["value"] > 0
    rows = [json.loads(row) for row in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert [(set(row["seen"]), row["likely"]["mad"][0]) for row in rows] == [({"emotion"}, None)] * 4
    (tmp_path / "nothing").mkdir()
    line = f"evaluate --base {base} --judge {judges[0]} --images {tmp_path / 'nothing'} --out {tmp_path / 'other'}"
    assert main.main(shlex.split(line)) == 2
    assert "no images in" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_sizes_do_not_change_what_is_read(judges, base, tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for number, side in enumerate((64, 48, 64)):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(rng.integers(0, 255, (side, 64, 3), np.uint8)).save(files[-1])
    known = load_judges(base, [str(judge) for judge in judges])
    together = predictions.predict([predictions.Sample(file, 0, n, 1) for n, file in enumerate(files)], known)[
        "emotion"
    ]
    for place, file in enumerate(files):
        alone = predictions.predict([predictions.Sample(file, 0, 0, 1)], known)["emotion"]
        assert together.likely[place] == pytest.approx(alone.likely[0], abs=1e-6)
        assert together.gradient[place] == alone.gradient[0]
    assert together.spectrum.shape == (3, 24)
    alone = predictions.predict([predictions.Sample(files[1], 0, 0, 1)], known)["emotion"]
    assert np.array_equal(together.spectrum[1], alone.spectrum[0])


def test_one_file_for_eight_emotions_is_one_picture_of_a_cloud(judges, base, tmp_path):
    rng = np.random.default_rng(0)
    for seed in range(3):
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / f"{seed}.png")
    samples = [predictions.Sample(tmp_path / f"{seed}.png", 0, seed, asked) for asked in range(8) for seed in range(3)]
    made = predictions.predict(samples, load_judges(base, [str(judge) for judge in judges]))["emotion"]
    assert len(made) == 24
    assert made.without_copies.seed.tolist() == [0, 1, 2]
    assert np.array_equal(made.without_copies.features, made.features[:3])


def test_verdicts_and_robustness(call, tmp_path):
    out = evaluate(out=tmp_path / "scores", method="prompt", robust=True, **call)
    scores = json.loads((out / "scores.json").read_text())
    rows = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert len(rows) == 32
    assert {row["prompt"] for row in rows} == {"a beach", "a park"}
    right = [EMOTIONS[np.argmax(row["likely"]["emotion"])] == row["asked"] for row in rows]
    assert np.mean(right) == scores["judges"]["emotion"]["emotion_accuracy"]["value"]
    assert np.mean([row["kept"] for row in rows]) == scores["metrics"]["scene_accuracy"]["value"]
    assert all((out / row["file"]).is_file() for row in rows)
    assert set(scores["robustness"]["emotion"]) == set(treatments.TREATED)
    assert scores["judged_by"]["emotion"] == run_dir.fingerprint_folder(call["judge"][0])
    assert scores["missing"] == {}


def test_no_picture_needs_to_be_kept(call, tmp_path, monkeypatch):
    """Judged as they are painted, batch by batch; a run that was stopped goes on, and the scores are the same."""
    kept = evaluate(out=tmp_path / "kept", method="prompt", robust=True, **call)
    drawn, draw = [], EmotionPipeline.generate

    def stopped(pipe, rows, batch=8):
        drawn.append([row.file for row in rows])
        assert len(drawn) != 3, "stopped"
        return draw(pipe, rows, batch)

    monkeypatch.setattr(EmotionPipeline, "generate", stopped)
    words = {"out": tmp_path / "streamed", "method": "prompt", "robust": True, "keep_images": False, **call}
    with pytest.raises(AssertionError, match="stopped"):
        evaluate(**words)
    out = evaluate(**words)
    assert drawn[2] == drawn[3]  # the batch that was begun
    assert len(drawn) == 5
    assert list(out.rglob("*.png")) == []
    assert len(list(run_dir.read_jsonl(out / "pictures/images.jsonl"))) == 32
    one, other = (json.loads((folder / "scores.json").read_text()) for folder in (kept, out))
    assert one["judges"]["emotion"]["confusion"] == other["judges"]["emotion"]["confusion"]
    for part in ("metrics", "robustness"):
        told = [figures for folder in (one, other) for figures in [folder[part].get("emotion", folder[part])]]
        assert told[0].keys() == told[1].keys()
        for name, figure in told[0].items():
            assert told[1][name]["value"] == pytest.approx(figure["value"], rel=1e-4)
            assert told[1][name]["low"] is None is figure["low"]  # two prompts


def test_treatments_change_a_picture_a_little():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for treatment in treatments.TREATED.values():
        changed = np.asarray(treatment(Image.fromarray(noise))).astype(float)
        assert 1 < np.abs(changed - noise).mean() < 60


def test_edits_are_told_beside_their_pictures(judges, base, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    picture.save(tmp_path / "was.png")
    (tmp_path / "from").mkdir()
    for seed in range(2):
        was = str(tmp_path / "was.png")
        digests = {was: sha256((tmp_path / "was.png").read_bytes()).hexdigest()}  # as `generate` notes it
        row = GenerationParams(
            file=f"{seed}.png", prompt="a beach", emotion=emotion_weights("awe"), image=was, digests=digests, seed=seed
        )
        save_image(treatments.blur(picture) if seed else picture, tmp_path / "from" / row.file, row)
    out = evaluate(out=tmp_path / "out", images=tmp_path / "from", base=base, judge=judges)
    metrics = json.loads((out / "scores.json").read_text())["metrics"]
    assert 0.5 < metrics["ssim"]["value"] < 1
    assert 50 < metrics["psnr"]["value"] < 100
    assert abs(metrics["emotion_gained"]["value"]) < 0.1


def test_a_clip_tells_whether_the_words_are_kept(call, base, tmp_path):
    tokenizer = CLIPTokenizer.from_pretrained(f"{base}/tokenizer")
    small = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2, "vector": 8}
    torch.manual_seed(0)
    clip = EmotionCLIP.from_scratch(EmotionCLIP.Config(tokenizer=f"{base}/tokenizer", **small), None)
    clip.model.save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    out = evaluate(out=tmp_path / "scores", method="prompt", clip=tmp_path / "clip", **call)
    metrics = json.loads((out / "scores.json").read_text())["metrics"]
    assert metrics["alignment"]["by"] == metrics["sem_d"]["by"] == str(tmp_path / "clip")
    with torch.no_grad():
        words = {text: clip._encode_tokens(clip._tokenize([text]))[0].numpy() for text in ("a beach", "a park")}
        seen = [
            max(
                0.0,
                float(clip.read([Image.open(file)]).features[0] @ words[read_params(file).prompt.partition(",")[0]]),
            )
            for file in sorted((out / "pictures").glob("*.png"))
        ]
    assert metrics["alignment"]["value"] == pytest.approx(100 * np.mean(seen), abs=1e-4)
    (tmp_path / learners.CARD).write_text(json.dumps({"guided by": run_dir.fingerprint_folder(tmp_path / "clip")}))
    with pytest.raises(UsageError, match="cannot judge it"):
        load_clip(tmp_path / "clip", [str(tmp_path)])


def test_the_everyday_prompts_say_nothing_that_is_felt():
    """Sixty, each once, ten of each of six kinds, and none with an emotion, a synonym or a word of a lexicon in it."""
    file = registry.source_file("prompts", "everyday")
    prompts = [prompt.text for prompt in load_prompts("everyday")]
    assert len(set(prompts)) == len(prompts) == 60
    kinds = [part.count("text =") for part in file.read_text().partition("prompt = [")[2].split("# ")[1:]]
    assert kinds == [10] * 6
    felt = {*EMOTIONS, *MIKELS8.synonyms, *EKMAN}
    for emotion in EMOTIONS:
        felt |= set(re.findall(r"\w+", str(registry.load_table("lexicons", "english")[emotion]).lower()))
    common = {"a", "an", "and", "the", "of", "in", "on", "at", "with", "to"}
    for text in prompts:
        assert not (set(re.findall(r"\w+", text.lower())) - common) & felt, text


def test_a_base_without_a_world_of_its_own_is_asked_the_everyday_prompts():
    assert default_prompts("mini") == "mini"
    assert default_prompts("sd15") == "everyday"
