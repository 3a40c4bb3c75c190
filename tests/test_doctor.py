"""`emoscene doctor`: what is there, what is missing, and that the command is the one that errors name."""

import json
import os
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from huggingface_hub import constants

import emoscene
import standin
import tiny
from emoscene.cli import doctor, main
from emoscene.core import errors, registry
from emoscene.core.errors import EmosceneError
from emoscene.diffusion import device_choice, hub
from emoscene.diffusion import model as diffusion_model

NEEDS = [
    "torch>=2.10",
    "rich>=1000",
    "nowhere-to-be-found>=3",
    "gradio>=6.20; extra == 'web'",
    "optuna>=5.0; extra == 'tune'",
]
HERE = {"torch": "2.13.0+cpu", "rich": "15.0", "optuna": "5.0.0", "emoscene": "0.1.0"}


@pytest.fixture
def packages(monkeypatch):
    """A machine with some packages and not others."""

    def version(name):
        if name not in HERE:
            raise PackageNotFoundError(name)
        return HERE[name]

    monkeypatch.setattr(doctor, "requires", lambda name: NEEDS)
    monkeypatch.setattr(doctor, "version", version)


def test_what_is_missing_brings_its_command(packages):
    facts = emoscene.doctor()
    assert facts["versions"]["torch"] == "2.13.0+cpu"
    assert facts["versions"]["nowhere-to-be-found"] == ""
    assert facts["extras"]["tune"] == {"there": True, "lacking": []}
    assert facts["extras"]["web"] == {
        "there": False,
        "lacking": ["gradio>=6.20"],
        "command": errors.install_command("web"),
    }
    assert facts["remedies"][:3] == [
        "pip install 'rich>=1000'",
        "pip install 'nowhere-to-be-found>=3'",
        "pip install 'emoscene[web]'",
    ]
    assert errors.install_command("web") in str(errors.missing_extra("web"))


def test_a_model_that_is_not_cached_has_the_command_that_the_error_names(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    known = {model["name"]: model for model in emoscene.doctor()["models"]}
    assert known["mini"]["there"]
    assert not known["sd15"]["there"]
    with pytest.raises(EmosceneError) as caught:
        diffusion_model.DiffusionModel.load("sd15")
    assert f"`{known['sd15']['command']}`" in str(caught.value)


def test_every_pinned_model_names_a_whole_commit():
    for base in registry.list_names("bases"):
        table = registry.load_table("bases", base)
        if not Path(table["source"]).is_dir():
            assert hub.COMMIT.fullmatch(table["revision"])
        for kind in ("captioner", "emotion_clip"):
            place = table.get(kind, "")
            if place and not Path(place).is_dir():
                assert hub.COMMIT.fullmatch(hub.ID.fullmatch(place)[2])


def test_the_command_is_one_that_hf_understands_and_it_fills_the_cache(monkeypatch, tmp_path):
    """The very words, read by huggingface_hub's own program, against the stand-in."""
    program, *words = shlex.split(errors.download_command(standin.NAME, standin.COMMIT, hub.WEIGHTS))
    with standin.serving(tiny.make(tmp_path / "model")) as server:
        env = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
        }
        done = subprocess.run([Path(sys.executable).parent / program, *words], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert hub.find_cached(standin.NAME, standin.COMMIT) is not None


def test_devices_and_disk():
    facts = emoscene.doctor()
    assert facts["dtypes"]["float32"]
    assert facts["device"]["cores"] >= 1
    assert facts["disk"]["free_gigabytes"] > 0


def test_the_device_is_the_one_that_generating_takes(monkeypatch):
    monkeypatch.setattr(device_choice, "count_devices", lambda: {"mps": 1, "cpu": 1})
    facts = emoscene.doctor()
    assert facts["device"]["name"] == device_choice.choose_device().type == "mps"
    assert facts["dtypes"].keys() == device_choice.DTYPES.keys()


def test_the_page_says_each_thing_once(packages, capsys):
    assert main.main(["doctor"]) == 0
    page = capsys.readouterr().out
    assert "extra web" in page
    assert page.count(errors.install_command("web")) == 1
    assert "missing" in page
    assert main.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["extras"]["web"]["there"] is False


def test_it_answers_fast_and_loads_no_model_library():
    code = "import sys, emoscene; emoscene.doctor(); print({'diffusers', 'transformers'} & set(sys.modules))"
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
    assert time.perf_counter() - began < 15
