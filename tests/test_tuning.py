"""The verb `tune`: the default first, the floor kept, the laggard stopped, a dead worker's trial done by another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from transformers import CLIPTokenizer

import emoscene
import tiny
from emoscene import config, plugins, stage, training
from emoscene import learner as learners
from emoscene.data.dataset import Prepared
from emoscene.data.preparation import prepare
from emoscene.emotions import EMOTIONS
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.errors import Failure, Usage
from emoscene.reporting.entries import comparisons, entries
from emoscene.tuning import bench, studies
from emoscene.tuning.selection import Look, Selector, captions, disjoint
from emoscene.verbs import read
from emoscene.world.scenes import SCENES

FEW = {"steps": 4, "batch": 4, "precision": "fp32", "rank": 2, "looks": 2, "rungs": 1, "pulse": 1}
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "prepared"
    return prepare("mini", out=out, limit=24, base=base, workers=0, selector=0.3)


@pytest.fixture(scope="module")
def encoders(base, tmp_path_factory):
    """A judge of emotions, one of scenes, and an EmotionCLIP, all untrained."""
    folder = tmp_path_factory.mktemp("encoders")
    for target, labels in (("emotion", EMOTIONS), ("scene", tuple(sorted(SCENES)))):
        torch.manual_seed(0)
        (folder / target).mkdir()
        small = {"side": 64, "patch": 16, "width": 32, "layers": 1, "heads": 2}
        judge = Judge.start(Judge.Config(target=target, labels=labels, **small), None)
        learners.save(judge, "judge", folder / target, None, data="the judges' own")
    small = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2, "vector": 8}
    clip = EmotionCLIP.start(EmotionCLIP.Config(tokenizer=f"{base}/tokenizer", **small), None)
    learners.save(clip, "emotion_clip", folder / "clip", None) if (folder / "clip").mkdir() is None else None
    CLIPTokenizer.from_pretrained(f"{base}/tokenizer").save_pretrained(folder / "clip")
    return folder


@pytest.fixture
def call(base, data, encoders, tmp_path):
    (tmp_path / "prompts.txt").write_text("a beach\na park\n")
    return {
        "data": data,
        "base": base,
        "selector": encoders / "clip",
        "judge": [encoders / "emotion", encoders / "scene"],
        "prompts": tmp_path / "prompts.txt",
        "seeds": "0:1",
        "out": tmp_path / "tuned",
        "tell": lambda line: None,
        **FEW,
    }


@pytest.fixture
def seen(monkeypatch):
    """Painting replaced by a made-up landscape: best near cfg 3, and nothing is kept beyond 5."""
    looks = []

    def look(self, pipe, cfg):
        looks.append(pipe)
        return Look(1 / (1 + abs(cfg - 3)), 0.5, 1.0 if cfg < 5 else 0.2)

    monkeypatch.setattr(Selector, "look", look)
    monkeypatch.setattr(Selector, "bare", lambda self, pipe, cfg: 1.0)
    return looks


def study_of(out):
    return optuna.load_study(study_name=Path(out).name, storage=f"sqlite:///{out}/study.db")


def test_a_search_from_end_to_end(call, tmp_path, capsys):
    told = []
    out = emoscene.tune("lora", trials=2, lr="1e-4..1e-2", cfg=1, **{**call, "tell": told.append})
    trials = study_of(out).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert trials[0].params == {"lr": 1e-3}
    assert 1e-4 <= trials[1].params["lr"] <= 1e-2
    assert all(0 <= trial.value <= 1 and list(trial.intermediate_values) == [0] for trial in trials)
    artifacts = [stage.read(folder, "artifact") for folder in (out / "trained").iterdir()]
    assert len(artifacts) == 2
    manifest = stage.read(out, "tuning")
    assert any(artifact.get("selected_by") == manifest["config"]["selector"] for artifact in artifacts)
    told_of = json.loads((out / "comparison.json").read_text())
    assert told_of["default"]["trial"] == 0
    gap = told_of["differences"]["emotion as asked, by emotion"]
    assert gap["n"] == 16
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert any("less the default" in line for line in told)
    taken = read("train", ["lora", "--data", "d", "--out", "o", "--recipe", str(out / "train.toml")])
    assert taken.pairs["lr"] == pytest.approx(trials[told_of["winner"]["trial"]].params["lr"], rel=1e-4)
    assert taken.pairs["steps"] == 4
    used = read("evaluate", ["--out", "o", "--recipe", str(out / "evaluate.toml")])
    assert used.given["method"] == "lora"
    assert emoscene.load(call["base"], method="lora", adapter=used.given["adapter"]).method == "lora"
    assert "emoscene tune lora" in (out / "train.toml").read_text()
    if told_of["winner"]["trial"]:
        pair = comparisons(entries(sorted((out / "scores").iterdir())))
        assert {found.what for found in pair} >= {"emotion as asked"}
