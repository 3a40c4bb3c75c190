"""Shell completion: what bash and zsh are offered, asked as their scripts ask it."""

import os
import subprocess
import sys

import pytest

from emoscene.cli import app
from emoscene.cli.app import complete_value
from emoscene.cli.main import main
from emoscene.cli.verbs import list_verbs, load_verb
from emoscene.core import registry
from emoscene.core.taxonomy import EMOTIONS


@pytest.fixture
def ask(monkeypatch, capsys):
    """Ask the program as a shell's completion does: by variables of the environment."""

    def answer(env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main([])
        out, err = capsys.readouterr()
        assert (ended.value.code, err) == (0, "")
        return out

    return answer


@pytest.fixture
def complete(ask):
    """What bash is offered for the last word of a line."""

    def offer(line):
        words = line.split(" ")
        env = {"_EMOSCENE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        return ask(env).split()

    return offer


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell, ask):
    assert f"_EMOSCENE_COMPLETE=complete_{shell}" in ask({"_EMOSCENE_COMPLETE": f"source_{shell}"})


@pytest.mark.parametrize(
    ("shell", "part"),
    [("bash", "complete -o default"), ("zsh", "#compdef emoscene"), ("fish", "complete --command emoscene")],
)
def test_the_script_of_a_named_shell_is_shown(shell, part, capsys):
    assert main(["--show-completion", shell]) == 0
    assert part in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        ["--install-completion", "nosh"],
        ["--install-completion=nosh"],
        ["--install_completion", "nosh"],
        ["--install_completion=nosh"],
        ["--install-completion="],
        ["--install-completion", "bash", "nosh"],
        ["--version", "--install-completion", "nosh"],
        ["--", "--install-completion", "nosh"],
        ["--show_completion", "nosh"],
    ],
)
def test_an_unknown_shell_is_refused_in_every_spelling_and_nothing_is_written(line, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(line) == 2
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


def test_a_shell_that_is_found_and_not_known_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(app, "_get_shell_name", lambda: "nu")
    assert main(["--install-completion"]) == 2
    assert "no shell 'nu': there is bash, fish" in capsys.readouterr().err
    monkeypatch.setattr(app, "_get_shell_name", lambda: None)
    assert main(["--install-completion"]) == 2
    assert not list(tmp_path.iterdir())


def test_a_shell_that_is_asked_has_to_be_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--install-completion", "pwsh"]) == 2
    assert "pwsh is not on this machine: there is bash, fish, zsh" in capsys.readouterr().err


def test_completion_is_installed_for_the_named_shell(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion=fish"]) == 0
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.name == "emoscene.fish"
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("emoscene ", [*list_verbs()]),
        ("emoscene generate a --emotion ", ["all", *EMOTIONS]),
        ("emoscene generate a --method ", registry.list_names("methods")),
        ("emoscene generate a --sampler ", registry.list_names("samplers")),
        ("emoscene export a --to ", registry.list_names("formats")),
        ("emoscene generate a --steps 3 --emo", ["--emotion", "--emotion-image", "--emotion-scale"]),
        ("emoscene train lor", ["lora"]),
        ("emoscene train lora --data d ran", ["rank="]),
        ("emoscene ls opt", ["optimizers"]),
    ],
)
def test_a_shell_is_offered_what_there_is(line, offered, complete):
    assert complete(line) == offered


def test_zsh_is_offered_the_same(ask):
    env = {"_EMOSCENE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "emoscene generate a --emotion a"}
    out = ask(env)
    assert all(f'"{name}"' in out for name in ("all", "amusement", "anger", "awe"))
    assert "contentment" not in out


def test_the_last_part_of_a_mixture_is_completed(complete):
    options = load_verb("generate").options
    assert "awe:0.7,fear" in complete_value(options["emotion"], "awe:0.7,fe")
    assert complete("emoscene generate a --method lora+gui") == ["lora+guidance"]
    assert "mini" in complete_value(options["base"], "")
    assert complete_value(options["seed"], "") == []


def test_completion_loads_no_torch():
    code = (
        "import sys\n"
        "from emoscene.cli.main import main\n"
        "try:\n    main([])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    env = {
        "_EMOSCENE_COMPLETE": "complete_bash",
        "COMP_WORDS": "emoscene generate a --method lora pul",
        "COMP_CWORD": "5",
    }
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, encoding="utf8")
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
