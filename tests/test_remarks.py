"""What of a call would be lost in silence is said once: words, the ends of prompts, an emotion, an edit of no step."""

import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.core.taxonomy import EMOTIONS
from emoscene.diffusion.base_spec import ModelSpec
from emoscene.evaluation.evaluate import _begin
from emoscene.evaluation.generate import Prompt, plan_samples
from emoscene.pipeline.image_inputs import num_steps_run

LONG = "a dog " * 30


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = tiny.make(tmp_path_factory.mktemp("base"))
    pipe = emoscene.load(str(folder), method="none", device="cpu")
    pipe.base.folder.joinpath("words.txt").write_text("a dog cat village by lake the")
    pipe.base.spec = ModelSpec(**{**vars(pipe.base.spec), "vocabulary": "words.txt"})
    return pipe


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, []),
        ({"prompt": "a zeppelin"}, ["does not know 'zeppelin'"]),
        ({"prompt": LONG}, ["the prompt is 120 tokens long and none has room for 75: its end is not read"]),
        ({"negative_prompt": LONG}, ["the negative prompt is 120 tokens long and none has room for 75"]),
        ({"emotion_scale": 3.0}, ["the emotion scale has no effect without an emotion"]),
        ({"negative_prompt": "blurry"}, ["does not know 'blurry'"]),
        ({"negative_prompt": "a cat", "guidance_scale": 1.0}, ["at a guidance scale of 1 there is none"]),
        ({"prompt": ["a zeppelin", "a zeppelin by a gasometer"]}, ["does not know 'zeppelin', 'gasometer':"]),
        ({"prompt": [LONG, "a dog", LONG + "a"]}, ["of 3 prompts, 2 are up to 121 tokens long and none has room"]),
    ],
)
def test_what_is_odd_about_a_call_is_a_sentence_each(pipe, asked, said):
    rows = pipe.plan(**{"prompt": "a dog", "num_images_per_prompt": 2, **asked})
    remarks = pipe.row_remarks(rows)
    assert len(remarks) == len(said)
    for remark, part in zip(remarks, said, strict=True):
        assert part in remark
    if said:
        with pytest.warns(UserWarning, match="|".join(said)) as seen:
            pipe(**{"prompt": "a dog", "num_inference_steps": 1, **asked})
        assert [str(one.message) for one in seen if one.category is UserWarning] == remarks


@pytest.mark.parametrize(
    ("interval", "steps", "said"),
    [
        ((0.0, 1.0), 8, ""),
        ((0.3, 0.6), 8, ""),
        ((0.0, 0.0), 8, "no step has a noise level in the guidance interval 0 to 0, so there is no guidance"),
        ((1.0, 1.0), 8, "no step has a noise level in the guidance interval 1 to 1"),
        ((0.2, 0.5), 1, "no step has a noise level in the guidance interval 0.2 to 0.5"),
    ],
)
def test_an_interval_in_which_guidance_never_acts_is_said(pipe, interval, steps, said):
    words = {"guidance_interval": interval, "num_inference_steps": steps, "sampler": "ddim"}
    remarks = pipe.row_remarks(pipe.plan("a dog", **words))
    assert len(remarks) == bool(said) and all(said in remark for remark in remarks)
    remarks = pipe.row_remarks(pipe.plan("a dog", guidance_scale=1.0, **words))
    assert (
        remarks
        == ["the guidance interval has no effect, because at a guidance scale of 1 there is no guidance"][
            : interval != (0.0, 1.0)
        ]
    )
    if said:
        told = pipe.row_remarks(pipe.plan("a dog", negative_prompt="a cat", **words))
        assert told[1:] == ["the negative prompt acts through guidance, and there is none"]


def test_of_an_edit_only_the_steps_that_run_count(pipe, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    words = {"image": tmp_path / "in.png", "num_inference_steps": 10, "sampler": "ddim"}
    late = pipe.plan("a dog", strength=0.3, guidance_interval=(0.5, 1.0), **words)
    assert ["no step has a noise level" in remark for remark in pipe.row_remarks(late)] == [True]
    assert pipe.row_remarks(pipe.plan("a dog", strength=0.9, guidance_interval=(0.5, 1.0), **words)) == []


def test_generate_says_that_a_method_without_an_emotion_is_the_base(pipe, tmp_path):
    told = []
    words = {"base": str(pipe.base.folder), "num_inference_steps": 1, "device": "cpu", "on_message": told.append}
    remark = "without an emotion prompt has no effect, and the images are the base's own: give --emotion"
    emoscene.generate("a dog", method="prompt", out=tmp_path / "a", **words)
    assert remark in told
    told.clear()
    emoscene.generate("a dog", method="prompt", emotion="awe", out=tmp_path / "b", **words)
    emoscene.generate("a dog", method="none", out=tmp_path / "c", **words)
    assert not any("without an emotion" in line for line in told)


def test_all_emotions_and_one_of_them_are_each_generated_once(pipe):
    rows = pipe.plan("a dog", emotion=["fear", "all", "awe", "awe:0.5"])
    assert len(rows) == len({row.emotion for row in rows}) == len(EMOTIONS) + 1
    assert len(pipe.plan("a dog", emotion=["awe", "awe"])) == 2, "a list that was written so is a list"


@pytest.mark.parametrize("steps", [1, 3, 20, 50, 100, 333])
def test_an_edit_of_no_step_is_said_with_the_strength_that_is_one(pipe, steps, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "in.png")
    words = {"image": tmp_path / "in.png", "num_inference_steps": steps}
    for strength in (0.001, 0.4 / steps):
        [remark] = pipe.row_remarks(pipe.plan("a dog", strength=strength, **words))
        assert f"a denoising strength of {strength:g} is no step of {steps}" in remark
        enough = float(remark.split("from ")[1].split()[0])
        [row] = pipe.plan("a dog", strength=enough, **words)
        assert num_steps_run(row) and pipe.row_remarks([row]) == []
    [remark] = pipe.row_remarks(pipe.plan("a dog", strength=0, **words))
    assert remark.startswith(f"a denoising strength of 0 is no step of {steps}, so the image stays as it is")


def test_an_emotion_that_no_method_conveys_is_said(pipe):
    remark = "without a method no emotion has an effect: choose one"
    assert pipe.row_remarks(pipe.plan("a dog", emotion="awe")) == [remark]
    assert pipe.row_remarks(pipe.plan("a dog")) == [] == pipe.row_remarks([])


def test_the_room_of_a_negative_prompt_is_a_method_s_where_an_emotion_is_suppressed(pipe):
    held = emoscene.load(pipe.base, method="prompt")
    words = {"prompt": "", "negative_prompt": "a dog"}
    assert held.room < 2, "the tiny tokenizer has a token a letter, and so the lexicon has more than there is room for"
    for emotion, remarks in (("awe", []), ("awe:-1", ["negative prompt is 2 tokens long"])):
        said = [remark for remark in held.row_remarks(held.plan(emotion=emotion, **words)) if "negative" in remark]
        assert len(said) == len(remarks)


def test_evaluate_says_which_words_of_its_prompts_are_not_known(pipe, tmp_path):
    said = []
    prompts = [Prompt("a zeppelin"), Prompt("a dog"), Prompt(" ".join(f"w{'x' * n}" for n in range(11)))]
    planned = plan_samples(pipe, prompts, [0], emotions=EMOTIONS[:2])
    _begin(tmp_path / "scores", {"base": "tiny"}, [], pipe, planned, said.append)
    assert len(said) == 1 and "'zeppelin', 'w', 'wx'" in said[0] and "and 4 more words" in said[0]
