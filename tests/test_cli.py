"""The command line: how a line is read, what a wrong one says, and that asking for help costs nothing."""

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.cli import main
from emoscene.cli.app import read_call
from emoscene.cli.calls import PLACES, Call, name_options
from emoscene.cli.options import CHECKS, CHOICES, RANGES, REPEATED
from emoscene.cli.verbs import SCOPES, list_verbs, load_verb
from emoscene.core import registry, run_dir
from emoscene.core.errors import EmosceneError, UsageError
from emoscene.core.request import list_parameters
from emoscene.core.taxonomy import EMOTIONS

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


def run(line, capsys):
    status = main.main(shlex.split(line))
    out, err = capsys.readouterr()
    return status, out, err


LIGHT = ["--help", "generate --help", "ls", "ls emotions", "show lora", "show prompt", "show awe", "show training"]


def test_asking_loads_no_torch_and_answers_at_once():
    code = f"import sys; from emoscene.cli.main import main; [main(line.split()) for line in {LIGHT}]"
    code = f"{code}; import time; print(time.process_time()); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("False\n")
    assert not answer.stderr
    assert (
        float(answer.stdout.splitlines()[-2]) < 1.5
    )  # of the processor, all eight; .6 here, and waiting does not count


def test_what_another_program_reads_is_not_wrapped():
    sentence = f"{'/a-long-folder' * 12} and a word more"
    code = "from emoscene.cli.main import main; from emoscene.core.progress import terminal_callbacks\n"
    code += "for line in (['ls', 'methods'], ['show', 'lora'], ['show', 'awe'], ['show', 'lora_sd15']): main(line)\n"
    code += f"with terminal_callbacks() as callbacks: callbacks.on_message({sentence!r})"
    env = {**os.environ, "COLUMNS": "40"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    lines = [" ".join(line.split()) for line in answer.stdout.splitlines()]
    assert "none The base alone: what every comparison is paired with." in lines
    for option in registry.list_options("methods", "lora"):
        assert any(line.startswith(f"{option.name} ") and option.help in line for line in lines)
    assert registry.describe_plugin("recipes", "lora_sd15") in lines
    assert any(line.startswith("in english ") and line.endswith("vista") for line in lines)
    assert answer.stderr == f"{sentence}\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("paint a", "no verb 'paint'"),
        ("generat a", "did you mean 'generate'?"),
        ("generate a --emotoin awe", "did you mean '--emotion'?"),
        ("generate a --emotion aw", "did you mean 'awe'?"),
        ("generate a --method lorra", "did you mean 'lora'?"),
        ("generate a --base nowhere", "no base 'nowhere'"),
        ("generate a --num 0", "--num=0 is out of range"),
        ("generate a --num many", "--num is int, such as 1"),
        ("generate a --num", "--num needs a value"),
        ("generate a --out --seed 3", "--out needs a value"),
        ("generate a --size huge", "write 128, or 192x128"),
        ("generate a --emotion awe:0", "every weight of 'awe:0' is zero"),
        ("generate a --valence 1.5 --arousal 0", "--valence=1.5 is out of range"),
        ("generate a --valence 0 --arousal nan", "--arousal is float"),
        ("generate a --valence 0.5", "--valence and --arousal go together"),
        ("generate a --valence 0.5 --arousal 0 --emotion awe", "give one of the three"),
        ("generate a --emotion-image nowhere.png", "nowhere.png is not there"),
        ("generate a --image nowhere.png", "nowhere.png is not there"),
        ("generate a --strength 1.5", "--strength=1.5 is out of range"),
        ("generate a --guidance-interval 0.9 0.2", "0.9 is above 0.2"),
        (
            "generate a --guidance-interval 0.2",
            "--guidance-interval needs 2 values, such as --guidance-interval 0 1",
        ),
        ("generate a --sampler dpm", "no --sampler 'dpm': did you mean 'dpm++'?"),
        ("generate a --emotion-scale inf", "--emotion-scale is float"),
        ("evaluate --emotion-scale -inf --out o", "--emotion-scale is float"),
        ("generate a village", "put the prompt in quotes"),
        ("demo a", "'a' is a word too many: emoscene demo --out out/demo"),
        ("doctor x=1", "'x' cannot be set here"),
        ("export a --to kohya --out o x=1", "'x' cannot be set here"),
        ("web --port 70000", "--port=70000 is out of range"),
        ("generate a --compile=perhaps", "--compile=perhaps is off"),
        ("--jason", "no option '--jason'"),
        ("generate a --method lora rank=3", "cannot be set here"),
        ("generate a --recipe nowhere.toml", "nowhere.toml cannot be read"),
        ("train lora", "train needs --data: emoscene train lora"),
        ("train --data a --out b", "train needs NAME"),
        ("train lorra --data a --out b rank=3", "did you mean 'lora'?"),
        ("train lora --data a --out b rnak=3", "did you mean 'rank'?"),
        ("train lora --data a --out b steps=x", "steps is int, such as 1000"),
        ("prepare nothing --out b x=1", "no source 'nothing'"),
        ("generate a steps=3", "'steps' is an option and no setting: write --steps 3"),
        ("generate a --method guidance stps=3 ", "there is classifier_scale"),
        ("generate a --method guidance classifier_scale=4 classifier_scale=5", "classifier_scale is set twice"),
        ("train lora --data a --out b rank=3 rank=4", "rank is set twice, to '3' and to '4'"),
        ("generate a --method lora+lora", "lora stands in it twice"),
        ("generate a --size 192 --width 64", "--size and --width both say"),
        ("generate a --size 192 --height 64", "--size and --height both say"),
        ("generate a --size 0x0", "--size 0x0 is off"),
        ("generate a --out ''", "--out needs a value, such as --out out"),
        ("generate a --adapter ' '", "--adapter needs a value"),
        ("clean runs --root ''", "--root needs a value, such as --root ."),
        ("prepare imagefolder --root= --out o", "--root needs a value"),
        ("report a '' --out o", "SCORES is empty: emoscene report"),
        ("clean cache --root here", "--root has no effect here, because the cache is the hub's own folder"),
        ("clean cache --unfinished", "--unfinished has no effect here"),
        ("ls methods --root here", "--root has no effect here, because `emoscene ls runs` alone looks below a folder"),
        ("ls --root here", "--root has no effect here"),
        ("ls cache --root here", "--root has no effect here"),
        ("evaluate --images a --out o --seeds 0:4", "--seeds has no effect here, because --images has nothing to gen"),
        ("evaluate --images a --out o --steps 3", "--steps has no effect here"),
        ("evaluate --images a --out o --size 64", "--size has no effect here"),
        ("evaluate --images a --out o --sampler euler", "--sampler has no effect here"),
        ("evaluate --images a --out o --negative x", "--negative has no effect here"),
        ("evaluate --images a --out o --emotion-scale 2", "--emotion-scale has no effect here"),
        ("evaluate --images a --out o --batch 2", "--batch has no effect here"),
        ("evaluate --images a --out o --keep-images=no", "--keep-images has no effect here"),
        ("evaluate --images a --out o --dtype float16", "--dtype has no effect here"),
        ("evaluate --images a --adapter b --out o classifier_scale=3", "classifier_scale= has no effect here"),
        ("generate a --seed -2", "--seed=-2 is out of range"),
        ("mini --layout emoset --num 1 --seed -1 --out o", "--seed=-1 is out of range: it goes from 0"),
        ("--help=1", "--help takes no value"),
        ("generate --help=1", "--help takes no value"),
        ("--json ls", "--json stands after the verb, as in `emoscene ls ... --json`"),
        ("--seed 3 generate a", "--seed stands after the verb"),
        ("--show-completion tcsh", "no shell 'tcsh': did you mean 'zsh'?"),
        (
            "--install-completion nosh",
            "no shell 'nosh': did you mean 'zsh'? (there is bash, fish, powershell, pwsh, zsh)",
        ),
        ("generate a --recipe lora_mini", "recipe lora_mini: steps=1500 is out of range: it goes from 1 to 999"),
        ("--version extra", "'extra' is a word too many: write --version alone"),
        ("show lroa", "did you mean 'lora'?"),
        ("ls metric", "did you mean 'metrics'?"),
    ],
)
def test_words_that_are_off_end_with_two_and_one_sentence(line, sentence, capsys):
    status, out, err = run(line, capsys)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.startswith("emoscene: ")
    assert err.count("\n") == 1


def test_options_and_settings_stand_anywhere():
    call = read_call(
        "train", shlex.split("rank=8 --out runs/lora lora steps=900 --data=prepared --resume lr=2e-3 --json")
    )
    assert call.given == {"name": "lora", "out": "runs/lora", "data": "prepared", "resume": True}
    assert call.pairs == {"rank": 8, "steps": 900, "lr": 2e-3}
    assert call.as_json


def test_what_is_said_again_is_a_list_or_replaces():
    call = read_call(
        "generate", shlex.split("--emotion awe 'a dog' --emotion fear:-0.3 --seed 1 --seed 2 --emotion-scale -0.5")
    )
    assert call.given == {"prompt": "a dog", "emotion": ["awe", "fear:-0.3"], "seed": 2, "emotion_scale": -0.5}


def test_an_emotion_that_is_said_twice_is_asked_once():
    line = shlex.split("a --emotion awe --emotion fear --emotion awe --emotion all")
    assert read_call("generate", line).given["emotion"] == ["awe", "fear", "all"]


def test_a_value_may_look_like_anything():
    call = read_call("generate", ["--negative", "x=1", "--size", "64x128", "--", "--a=b"])
    assert call.given == {"prompt": "--a=b", "negative_prompt": "x=1", "width": 64, "height": 128}
    assert read_call("generate", ["the sum a + b=c"]).given == {"prompt": "the sum a + b=c"}


def test_a_recipe_is_words_that_come_before(tmp_path):
    recipe = tmp_path / "slow.toml"
    recipe.write_text('steps = 40\ncfg = 3\nemotion = ["awe", "fear"]\nlexicon = "mine.toml"\n')
    line = ["a dog", "--recipe", str(recipe), "--steps", "30", "--method", "prompt"]
    call = read_call("generate", line)
    assert call.given == {
        "prompt": "a dog",
        "num_inference_steps": 30,
        "guidance_scale": 3.0,
        "emotion": ["awe", "fear"],
        "method": "prompt",
    }
    assert call.pairs == {"lexicon": "mine.toml"}
    recipe.write_text("stepz = 40\n")
    with pytest.raises(UsageError, match="stepz"):
        read_call("generate", line)


@pytest.mark.parametrize("name", list_verbs())
def test_a_verb_is_read_as_its_function_is(name):
    """What the text of a function says is what Python says of it: arguments, defaults and what must be given."""
    verb = load_verb(name)
    takes = inspect.signature(getattr(emoscene, name)).parameters
    arguments = {**verb.words, **verb.options}
    rest = set(arguments) - set(takes) - {"json", "size"}
    assert rest <= set(list_parameters(SCOPES.get(name, "none")))
    hidden = {key for key, one in takes.items() if re.search("Callable|Mapping", str(one.annotation))}
    keywords = {key for key, one in takes.items() if one.kind is one.VAR_KEYWORD}
    assert verb.has_settings == bool(keywords)
    assert set(takes) - set(arguments) == hidden - {"emotion"} | keywords | ({"as_json"} & set(takes))
    needed = {key for key, one in takes.items() if one.default is one.empty and one.kind is not one.VAR_KEYWORD}
    assert set(verb.needs) == needed
    for key in set(arguments) & set(takes) - needed:
        assert not arguments[key].default or arguments[key].default == takes[key].default


@pytest.mark.parametrize("name", list_verbs())
def test_every_option_says_what_it_is_and_shows_a_value(name):
    for option in load_verb(name).options.values():
        assert len(option.help) > 6
        example = option.example if option.default in (None, (), "") else option.default
        assert option.read(example) is not None


def test_a_recipe_is_taken_by_the_function_as_by_its_verb(base, tmp_path):
    recipe = tmp_path / "slow.toml"
    recipe.write_text('steps = 2\nseed = 5\nemotion = ["awe", "fear"]\nlexicon = "mine.toml"\nmethod = "prompt"\n')
    (tmp_path / "mine.toml").write_text("".join(f'{name} = "{name}"\n' for name in EMOTIONS))
    recipe.write_text(recipe.read_text().replace("mine.toml", str(tmp_path / "mine.toml")))
    out = emoscene.generate("a dog", recipe=recipe, seed=3, base=base, out=tmp_path / "out")
    assert main.main(["generate", "a dog", "--recipe", str(recipe), "--seed=3", f"--base={base}", f"--out={out}"]) == 0
    rows = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    assert [(row["file"], row["num_inference_steps"], row["method"]) for row in rows] == [
        ("awe-0003.png", 2, "prompt"),
        ("fear-0003.png", 2, "prompt"),
    ]
    assert rows[0]["settings"] == {"prompt.lexicon": str(tmp_path / "mine.toml")}
    with pytest.raises(UsageError, match="did you mean 'fast'"):
        emoscene.generate("a dog", recipe="fst", base=base, out=tmp_path / "other")


@pytest.mark.parametrize("name", list_verbs())
def test_every_example_can_be_read(name):
    program, verb, *line = shlex.split(load_verb(name).example)
    assert (program, verb) == ("emoscene", name)
    assert read_call(name, line).verb == name


def lines_of_the_readme():
    text = README.read_text()
    return [shlex.split(found) for found in re.findall(r"^    (?:\.venv/bin/)?(emoscene .*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("line", lines_of_the_readme(), ids=" ".join)
def test_every_line_of_the_readme_can_be_read(line):
    assert read_call(line[1], line[2:]).verb == line[1]


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for snippet in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["awe.png", *(f"castle-{n}.png" for n in range(4))]
    assert "Emotion: " in capsys.readouterr().out


def test_every_range_and_every_choice_is_of_an_option():
    used = {option for name in list_verbs() for option in load_verb(name).options}
    assert {*RANGES, *CHOICES, *REPEATED, *CHECKS, *PLACES} - {"recipe"} <= used


def test_the_verbs_of_another_package_describe_themselves(capsys):
    assert [name for name in list_verbs() if name not in emoscene.MODULES] == ["demo", "mini"]
    assert load_verb("mini").example == "emoscene mini --layout emoset --num 800 --seed 1 --out out/world"
    assert load_verb("mini").needs == ("layout", "out")
    status, out, _ = run("mini --help", capsys)
    assert status == 0
    assert "Render images of the world into a folder" in " ".join(out.split())
    status, _, err = run("mini --layout emoset --num 0 --out o", capsys)
    assert (status, err) == (2, "emoscene: --num=0 is out of range: it goes from 1 to 1000000\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--num 3 --seed 4294967295", "--seed=4294967295 and --num=3 count past the last seed"),
        ("--num=3 --seed 4294967295", "--seed=4294967295 and --num=3 count past the last seed"),
        ("--num-images-per-prompt 3 --seed 4294967295", "and --num-images-per-prompt=3 count past the last seed"),
    ],
)
def test_an_error_about_several_options_spells_them_as_the_line_does(words, said, base, capsys, tmp_path):
    status, _, err = run(f"generate lake --base {base} --method none {words} --out {tmp_path / 'o'}", capsys)
    assert (status, said in err) == (2, True), err


def test_only_what_the_call_gave_is_spelt_as_an_option():
    call = Call("generate", {"seed": 7, "num_images_per_prompt": 3}, {})
    line = ["generate", "--num", "3", "--seed", "7"]
    for sentence in ("seed=70 of a file is off", "own.seed=7 is off", "num_inference_steps=7 is off"):
        assert name_options(sentence, call, line) == sentence
    assert name_options("seed=7: num_images_per_prompt=3", call, line) == "--seed=7: --num=3"


def test_the_version_is_printed(capsys):
    assert run("--version", capsys) == (0, f"{emoscene.__version__}\n", "")


def test_a_recipe_takes_what_the_option_takes(tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text("size = 192\n", encoding="utf8")
    assert read_call("generate", ["a", "--recipe", str(recipe)]).given == {"prompt": "a", "width": 192}
    recipe.write_text("size = '192x128'\n", encoding="utf8")
    given = read_call("generate", ["a", "--recipe", str(recipe), "--size", "64"]).given
    assert given == {"prompt": "a", "width": 64}  # a square, not 64x128
    recipe.write_text("size = 192\nwidth = 64\n", encoding="utf8")
    with pytest.raises(UsageError, match="--size and --width both say"):
        read_call("generate", ["a", "--recipe", str(recipe)])


def test_a_seed_of_minus_one_is_drawn_and_recorded(base, tmp_path, capsys):
    line = f"generate a --base {base} --steps 1 --seed"
    status, _, err = run(f"{line} -1 --num 2 --out {tmp_path / 'drawn'}", capsys)
    assert status == 0, err
    rows = list(run_dir.read_jsonl(tmp_path / "drawn/images.jsonl"))
    first = rows[0]["seed"]
    assert [row["seed"] for row in rows] == [first, first + 1]
    assert f"seed {first} was drawn" in err
    assert run(f"{line} {first} --num 2 --out {tmp_path / 'again'}", capsys)[0] == 0
    drawn = [(tmp_path / "drawn" / row["file"]).read_bytes() for row in rows]
    assert drawn == [(tmp_path / "again" / row["file"]).read_bytes() for row in rows]


@pytest.mark.parametrize("line", ["", "help", "--help", "-h"])
def test_the_first_page_lists_the_verbs(line, capsys):
    status, out, err = run(line, capsys)
    assert (status, err) == (0, "")
    assert all(f" {name} " in out for name in list_verbs())


def test_a_flag_says_yes_or_no_and_a_range_may_be_one_word():
    assert read_call("evaluate", ["--out", "o", "--keep-images=no"]).given == {"out": "o", "keep_images": False}
    assert read_call("evaluate", ["--out=o", "--keep_images", "--robust"]).given == {
        "out": "o",
        "keep_images": True,
        "robust": True,
    }
    assert read_call("generate", ["a", "--guidance-interval=0.2,0.9"]).given["guidance_interval"] == (0.2, 0.9)
    with pytest.raises(UsageError, match="--keep-images=maybe is off"):
        read_call("evaluate", ["--out", "o", "--keep-images=maybe"])


def test_a_negative_number_is_a_value():
    call = read_call("generate", shlex.split("a --emotion-scale -1 --emotion fear:-0.3"))
    assert call.given == {"prompt": "a", "emotion_scale": -1.0, "emotion": ["fear:-0.3"]}
    call = read_call("generate", ["a", "--valence=-0.5", "--arousal", "-1"])
    assert (call.given["valence"], call.given["arousal"]) == (-0.5, -1.0)


def test_generate_prints_its_folder_and_is_done_once(base, tmp_path, capsys):
    line = f"generate 'a dog' --base {base} --emotion awe --num 2 --steps 1 --out {tmp_path / 'out'}"
    status, out, _ = run(line, capsys)
    assert (status, out) == (0, f"{tmp_path / 'out'}\n")
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.png")}
    assert len(made) == 2
    status, out, _ = run(f"{line} --json", capsys)
    assert status == 0
    assert json.loads(out)["pictures"] == 2
    assert all(path.stat().st_mtime_ns == when for path, when in made.items())


def test_a_picture_that_is_none_writes_nothing(base, tmp_path, capsys):
    (tmp_path / "notes.png").write_text("no picture")
    for option in ("image", "emotion_image"):
        line = f"generate a --base {base} --{option} {tmp_path}/notes.png --out {tmp_path}/out"
        status, out, err = run(line, capsys)
        assert (status, out) == (2, "")
        assert "cannot be read as an image" in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_picture_is_changed_and_a_place_is_a_mixture(base, tmp_path, capsys):
    Image.new("RGB", (80, 64), "grey").save(tmp_path / "lake.png")
    line = f"generate 'a dog' --base {base} --steps 2 --out {tmp_path}/out --image {tmp_path}/lake.png --strength 0.5"
    status, _, err = run(f"{line} --valence -0.5 --arousal 0.7", capsys)
    assert status == 0
    assert "valence -0.5 and arousal 0.7 are anger" in err
    [row] = [json.loads(line) for line in (tmp_path / "out/images.jsonl").read_text().splitlines()]
    assert (row["strength"], row["width"], row["height"], row["image"]) == (0.5, 80, 64, f"{tmp_path}/lake.png")
    assert row["emotion"] == {"anger": 1.0}
    assert (tmp_path / "out/anger-0000.png").is_file()


def test_ls_and_show_answer_in_json(capsys):
    _, out, _ = run("ls methods --json", capsys)
    assert {"none", "prompt", "lora"} <= set(json.loads(out)["methods"])
    _, out, _ = run("show lora --json", capsys)
    assert "rank" in {option["name"] for option in json.loads(out)["methods"]["options"]}


def test_show_lists_the_words_of_the_miniature(capsys):
    _, out, _ = run("show mini --json", capsys)
    words = json.loads(out)["bases"]["vocabulary"]
    assert {"village", "lake", "dog"} <= set(words)
    assert not set(words) & set(EMOTIONS)


def test_an_emotion_without_a_method_is_conveyed_all_the_same(base, tmp_path, capsys):
    line = f"generate 'a dog' --base {base} --steps 1 --out {tmp_path}"
    assert "no --method was given: prompt conveys the emotion" in run(f"{line}/a --emotion awe", capsys)[2]
    assert json.loads((tmp_path / "a/images.jsonl").read_text().splitlines()[0])["method"] == "prompt"
    for more, remarks in (
        ("/b", []),
        ("/c --emotion awe --method none", ["without a method no emotion has an effect: choose one"]),
    ):
        said, *others = run(f"{line}{more}", capsys)[2].splitlines()
        assert said.startswith("generating on cpu in float32 (") and others == remarks


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (EmosceneError("the disk is full"), 1, "emoscene: the disk is full\n"),
        (PermissionError(13, "Permission denied", "/root/x"), 1, "emoscene: /root/x: Permission denied\n"),
        (KeyboardInterrupt(), 130, "emoscene: stopped: what is finished stays, and the same call goes on from there\n"),
    ],
)
def test_what_fails_says_so(error, status, sentence, monkeypatch, capsys):
    def fail(*words, **named):
        raise error

    monkeypatch.setattr("emoscene.pipeline.generate.generate", fail)
    assert run("generate a", capsys) == (status, "", sentence)


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(*words, **named):
        raise ZeroDivisionError

    monkeypatch.setattr("emoscene.pipeline.generate.generate", fail)
    with pytest.raises(ZeroDivisionError):
        main.main(["generate", "a"])


@pytest.mark.parametrize("words", [["steps=3"], ["--adapter", "runs/lora", "steps=3"], ["--base", "mini", "x.y=1"]])
def test_a_verb_without_settings_refuses_them(words, capsys):
    assert main.main(["web", *words]) == 2
    assert f"{words[-1].partition('=')[0]!r} cannot be set here" in capsys.readouterr().err
