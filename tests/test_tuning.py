"""The verb `tune`: the default first, the floor kept, the laggard stopped, a dead worker's trial done by another."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
import pytest
import torch
from transformers import CLIPTokenizer

import emoscene
import tiny
from emoscene.cli.app import read_call
from emoscene.core import config, registry, run_dir
from emoscene.core.errors import EmosceneError, TrainingDiverged, TrainingStopped, UsageError
from emoscene.core.setting_names import RENAMED
from emoscene.data.dataset import PreparedDataset
from emoscene.data.preparation import prepare
from emoscene.encoders.emotion_clip import EmotionCLIP
from emoscene.encoders.judge import Judge
from emoscene.learning import learner as learners
from emoscene.reporting.comparisons import compare_all
from emoscene.reporting.scores import load_entries
from emoscene.training import state
from emoscene.training import train as train_verb
from emoscene.tuning import final, studies
from emoscene.tuning.objective import TuningObjective
from emoscene.tuning.selector import Observation, Selector, check_disjoint, choose_captions

FEW = {"steps": 4, "batch_size": 4, "precision": "fp32", "rank": 2, "looks": 2, "rungs": 1, "pulse": 1}
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
    tiny.judges(folder, data="the judges' own")
    small = {"side": 32, "width": 32, "layers": 1, "text_width": 32, "text_layers": 1, "heads": 2, "vector": 8}
    clip = EmotionCLIP.from_scratch(EmotionCLIP.Config(tokenizer=f"{base}/tokenizer", **small), None)
    (folder / "clip").mkdir()
    learners.save_learner(clip, "emotion_clip", folder / "clip", None)
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
        "on_message": lambda line: None,
        **FEW,
    }


@pytest.fixture
def seen(monkeypatch):
    """Painting replaced by a made-up landscape: it rises with cfg, and little is kept from 10 on."""
    looks = []

    def look(self, pipe, cfg):
        looks.append(pipe)
        return Observation(cfg / 20, 0.5, 1.0 if cfg < 10 else 0.2)

    def evaluate(out, **words):
        opened = run_dir.RunDir.open(out, "scores", {})
        row = {"prompt": "a beach", "seed": 0, "asked": "awe", "kept": 1, "likely": {"emotion": [0.1, 0.9] + [0.0] * 6}}
        row |= {"seen": {"emotion": "awe"}}
        run_dir.write_atomic(opened.path / "verdicts.jsonl", f"{json.dumps(row)}\n".encode())
        opened.finish()
        return opened.path

    monkeypatch.setattr(Selector, "observe", look)
    monkeypatch.setattr(Selector, "observe_base", lambda self, pipe, cfg: 1.0)
    monkeypatch.setattr(final, "evaluate", evaluate)
    return looks


def study_of(out):
    return optuna.load_study(study_name=Path(out).name, storage=f"sqlite:///{out}/study.db")


def test_a_search_from_end_to_end(call, tmp_path):
    """Real training, painting and judging; the looks on the way change nothing of what is trained."""
    told = []
    out = emoscene.tune("lora", trials=2, lr="1e-4..1e-2", guidance_scale=1, **{**call, "on_message": told.append})
    trials = study_of(out).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert trials[0].params == {"lr": registry.load_table("recipes", "lora_sd15")["lr"]}
    assert 1e-4 <= trials[1].params["lr"] <= 1e-2
    assert all(0 <= trial.value <= 1 and list(trial.intermediate_values) == [0] for trial in trials)
    artifacts = [run_dir.read_manifest(folder, "artifact") for folder in (out / "trained").iterdir()]
    assert len(artifacts) == 2
    few = {key: call[key] for key in ("data", "base", "on_message", "steps", "batch_size", "precision", "rank")}
    alone = emoscene.train("lora", out=tmp_path / "alone", **few)
    assert run_dir.read_manifest(alone)["fingerprint"] in [artifact["fingerprint"] for artifact in artifacts]
    manifest = run_dir.read_manifest(out, "tuning")
    assert any(artifact.get("selected_by") == manifest["config"]["selector"] for artifact in artifacts)
    told_of = json.loads((out / "comparison.json").read_text())
    assert told_of["default"]["trial"] == 0
    gap = told_of["differences"]["emotion as asked, by emotion"]
    assert gap["n"] == 16
    assert gap["low"] is None is gap["high"]  # too few prompts
    assert any("less the default" in line for line in told)
    taken = read_call("train", ["lora", "--data", "d", "--out", "o", "--recipe", str(out / "train.toml")])
    assert taken.pairs["lr"] == pytest.approx(trials[told_of["winner"]["trial"]].params["lr"], rel=1e-4)
    assert taken.pairs["steps"] == 4
    used = read_call("evaluate", ["--out", "o", "--recipe", str(out / "evaluate.toml")])
    assert used.given["method"] == "lora"
    assert emoscene.load(call["base"], method="lora", adapter=used.given["adapter"]).method == "lora"
    assert "emoscene tune lora" in (out / "train.toml").read_text()
    if told_of["winner"]["trial"]:
        pair = compare_all(load_entries(sorted((out / "scores").iterdir())))
        assert {found.what for found in pair} >= {"emotion accuracy"}


@pytest.mark.slow
def test_the_same_call_does_nothing_again_and_more_trials_go_on(call, seen):
    out = emoscene.tune("lora", trials=2, guidance_scale="1..8", **call)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and ".lock" not in path.name}
    assert emoscene.tune("lora", trials=2, guidance_scale="1..8", **call) == out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    painted = len(seen)
    emoscene.tune("lora", trials=3, guidance_scale="1..8", **call)
    assert len(study_of(out).trials) == 3
    assert len(seen) == painted + 1
    assert run_dir.read_manifest(out)["trials"] == 3
    assert run_dir.read_manifest(out)["state"] == "done"


@pytest.mark.slow
def test_trials_that_only_paint_differently_share_one_training(call, seen, monkeypatch):
    trained, real = [], train_verb.run_training
    monkeypatch.setattr(train_verb, "run_training", lambda *words, **more: trained.append(1) or real(*words, **more))
    out = emoscene.tune("lora", trials=6, guidance_scale="1..20", **call)
    assert len(trained) == len(list((out / "trained").iterdir())) == 1
    study = study_of(out)
    allowed = [trial for trial in study.trials if trial.user_attrs["content"] == 1]
    assert len(allowed) < 6, "some trial must be beyond the floor for this to prove anything"
    winner = json.loads((out / "comparison.json").read_text())["winner"]
    assert winner["params"]["guidance_scale"] < 10
    assert winner["probability"] == max(trial.value for trial in allowed)


def test_an_artifact_that_is_there_is_not_trained_again(call, seen, data, base, tmp_path):
    few = {key: call[key] for key in ("steps", "batch_size", "precision", "rank")}
    artifact = emoscene.train("lora", data=data, out=tmp_path / "lora", base=base, on_message=call["on_message"], **few)
    marks = run_dir.fingerprint_folder(artifact)
    rest = {key: value for key, value in call.items() if key not in few}
    out = emoscene.tune("lora", trials=2, adapter=artifact, **rest)
    assert not (out / "trained").exists()
    assert not (out / "train.toml").exists()
    assert run_dir.fingerprint_folder(artifact) == marks
    assert str(artifact) in (out / "evaluate.toml").read_text()
    with pytest.raises(UsageError, match="rank was settled"):
        emoscene.tune("lora", trials=2, adapter=artifact, rank=3, **{**rest, "out": tmp_path / "other"})


def test_differences_are_of_the_judges_own_verdicts():
    """A judge is silent about what it cannot say or did not read, and its ties are broken as `evaluate` breaks them."""

    def row(prompt, asked, **seen):
        likely = {"tied": [0.5, 0.0, 0.5] + [0.0] * 5, "mute": [None] * 8}
        return {"prompt": prompt, "seed": 0, "asked": asked, "kept": None, "seen": seen, "likely": likely}

    ours = [row("a", "contentment", tied="contentment"), row("b", "awe", tied="awe", mute="awe"), row("c", "awe")]
    theirs = [row("a", "contentment", tied="amusement"), row("b", "awe", tied="awe", mute="fear"), row("c", "awe")]
    found = final.compare_verdicts(ours, theirs)
    told = {what.rpartition(" ")[2]: (gap.value, gap.n) for what, gap in found.items()}
    assert told == {"tied": (0.5, 2), "mute": (1.0, 1)}


def test_no_trial_that_keeps_the_floor_is_a_failure(call, seen, monkeypatch):
    monkeypatch.setattr(Selector, "observe", lambda self, pipe, cfg: Observation(0.5, 0.5, 0.2))
    with pytest.raises(EmosceneError, match=r"content of 0\.900, the best has 0\.200: give a lower floor="):
        emoscene.tune("lora", trials=2, guidance_scale="1..8", **call)


def test_a_laggard_is_stopped_and_the_default_never(call, seen, monkeypatch):
    """Every trial is worse than those before it, so all that may be stopped are."""
    values = iter(range(100, 0, -1))
    monkeypatch.setattr(Selector, "observe", lambda self, pipe, cfg: Observation(next(values) / 100, 0.5, 1.0))
    monkeypatch.setattr(studies, "STARTUP", 1)
    out = emoscene.tune("lora", trials=3, lr="1e-4..1e-2", **call)
    assert [trial.state.name for trial in study_of(out).trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert len(list((out / "trained").iterdir())) == 1, "what was stopped leaves nothing behind"


def test_settings_that_diverge_or_contradict_are_given_up(call, seen, monkeypatch):
    real = train_verb.train

    def train(name, **more):
        if more["lr"] != 1e-4:
            more["out"].mkdir(parents=True)
            raise TrainingDiverged("not finite at step 3")
        return real(name, **more)

    monkeypatch.setattr(train_verb, "train", train)
    out = emoscene.tune("lora", trials=2, lr="1e-2,1e-4", **call, seed=4)
    states = {trial.params["lr"]: trial.state.name for trial in study_of(out).trials}
    assert states[1e-4] == "COMPLETE"
    assert states.get(1e-2, "PRUNED") == "PRUNED"
    assert len(list((out / "trained").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("lora lrr=1e-4..1e-2", "no option 'lrr': did you mean 'lr'?"),
        ("lora lr=1e-9..1e-2", "lr=1e-9 is out of range: it goes from 1e-06 to 1.0"),
        ("lora lr=1e-2..1e-4", "write the lower end first"),
        ("lora rank=1..x", "rank=x is off"),
        ("guidance width=32,33", "no width '33'"),
        ("lorra lr=1e-4..1e-2", "did you mean 'lora'?"),
        ("lora objective=acuracy", "did you mean 'accuracy'?"),
    ],
)
def test_what_is_searched_is_checked_without_torch(words, sentence):
    with pytest.raises(UsageError, match=sentence.replace("?", r"\?")):
        read_call("tune", [*words.split(), "--data", "d", "--out", "o"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"name": "judge"}, "tune searches methods"),
        ({"name": "prompt"}, "nothing to learn"),
        ({"looks": "2..4"}, "is not searched"),
        ({"lr": "1e-2..5e-2"}, "begins with the default, 0.0001: widen it"),
        ({"looks": 99}, "captions for the selector, and looks=99: prepare more"),
        ({"storage": "rubbish"}, "--storage is no URL"),
        ({"storage": "nosuch://a/b"}, "is off"),
        ({"storage": "sqlite:///a{b}.db"}, "--storage holds { or }, which Optuna reads as a place to fill"),
        ({"storage": "sqlite:///a}b.db"}, "--storage holds { or }"),
        ({"selector": "nowhere"}, "--selector nowhere is not there"),
    ],
)
def test_words_that_are_off(words, sentence, call):
    with pytest.raises(UsageError, match=sentence):
        emoscene.tune(**{"name": "lora", **call, **words})
    assert not list(call["out"].glob("**/*.safetensors"))


@pytest.mark.parametrize("name", ["plain", "b?x=1", "d%41", "c#f", "i:j@k", "é", "a{b", "a}b", "a{SCHEMA_VERSION}b"])
def test_the_database_lies_in_the_folder_whatever_its_name(name, tmp_path):
    (tmp_path / name).mkdir()
    url = studies.locate_database(tmp_path / name)
    with studies.check_storage(url), studies.open_study(url, "study", {"a": 1}, {"lr": 0.1}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "study.db").is_file()


@pytest.mark.parametrize("where", ["sqlite:////nowhere/at/all.db", "postgresql://me:secret@/x?host=/nowhere"])
def test_a_storage_that_cannot_be_reached(where, call):
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with pytest.raises(EmosceneError, match="cannot be reached") as caught:
        emoscene.tune("lora", storage=where, **call)
    assert "secret" not in str(caught.value)


def test_a_study_of_another_call_is_refused(call, seen, tmp_path):
    storage = f"sqlite:///{tmp_path}/all.db"
    emoscene.tune("lora", trials=1, guidance_scale="1..8", storage=storage, **call)
    with pytest.raises(UsageError, match=r"another call's: config\.search\.guidance_scale"):
        emoscene.tune("lora", trials=1, guidance_scale="1..9", storage=storage, **call)
    shutil.rmtree(call["out"])
    with pytest.raises(
        UsageError, match=r"the study 'tuned' there is another call's: search.guidance_scale is .* here"
    ):
        emoscene.tune("lora", trials=1, guidance_scale="1..9", storage=storage, **call)


def as_version_1(call):
    """A search's recorded call in the form of version 0.1: the same keys, settings by the names that they had."""
    old = {today: name for name, today in RENAMED.items()} | {"guidance_scale": "cfg"}
    renamed = {}
    for part in ("search", "default"):
        renamed[part] = {old.get(key, key): value for key, value in call[part].items()}
    return {**call, **renamed}


def test_a_search_that_version_1_began_is_refused_with_the_remedy(call, seen, tmp_path):
    storage = f"sqlite:///{tmp_path}/all.db"
    out = emoscene.tune("lora", trials=1, guidance_scale="1..8", storage=storage, **call)
    manifest = run_dir.read_manifest(out)
    (out / run_dir.MANIFEST).write_text(json.dumps({**manifest, "config": as_version_1(manifest["config"])}))
    remedy = (
        r"was begun by emoscene 0\.1, .*: finish it with that version, or search anew with another --out \(and --st"
    )
    with pytest.raises(UsageError, match=f"{out} {remedy}"):
        emoscene.tune("lora", trials=1, guidance_scale="1..8", storage=storage, **call)
    shutil.rmtree(out)
    study = studies.optuna.load_study(storage=storage, study_name="tuned")
    study.set_user_attr(studies.CALL, as_version_1(study.user_attrs[studies.CALL]))
    with pytest.raises(UsageError, match=f"the study 'tuned' {remedy}"):
        emoscene.tune("lora", trials=1, guidance_scale="1..8", storage=storage, **call)


def test_who_picks_may_not_judge(encoders, data, tmp_path):
    prepared = PreparedDataset(data, role="selector")
    judges = [encoders / "emotion"]
    check_disjoint(encoders / "clip", judges, ("latent",), prepared)
    with pytest.raises(UsageError, match="is the judge"):
        check_disjoint(shutil.copytree(encoders / "emotion", tmp_path / "copy"), judges, ("latent",), prepared)
    torch.manual_seed(1)
    (tmp_path / "kin").mkdir()
    kin = Judge.from_scratch(learners.load_learner("encoders", encoders / "emotion", None).config, None)
    learners.save_learner(kin, "judge", tmp_path / "kin", None, data="the judges' own")
    with pytest.raises(UsageError, match="learnt from the images of the judge"):
        check_disjoint(tmp_path / "kin", judges, ("latent",), prepared)
    learners.save_learner(kin, "judge", tmp_path / "kin", None, data="others")
    check_disjoint(tmp_path / "kin", judges, ("latent",), prepared)
    prepared.emotion_clip = run_dir.fingerprint_folder(encoders / "clip")
    check_disjoint(encoders / "clip", judges, ("latent",), prepared)
    with pytest.raises(UsageError, match="the method stands on"):
        check_disjoint(encoders / "clip", judges, ("latent", "vector"), prepared)


def test_captions_come_from_as_many_scenes_as_there_are(data):
    prepared = PreparedDataset(data, role="selector")
    scenes = dict(zip(prepared.column("caption"), prepared.column("scene"), strict=True))
    count = len(set(scenes.values()))
    assert len({scenes[caption] for caption in choose_captions(prepared, count)}) == count


def test_content_is_the_share_whose_prompt_is_found_again(encoders, base):
    """An untrained CLIP that is shown the prompts' own vectors as pictures finds each, and none when they are moved."""
    selector = Selector(encoders / "clip", None, ["a beach", "a park", "a road"])

    class Shown:
        def __init__(self, vectors):
            self.vectors = vectors

        def read(self, images):
            return type("Reading", (), {"features": self.vectors})

    selector.clip = Shown(selector.texts[[0, 1, 2]])
    assert selector._content_kept([], torch.arange(3).numpy()) == 1
    selector.clip = Shown(selector.texts[[1, 2, 0]])
    assert selector._content_kept([], torch.arange(3).numpy()) == 0


def test_the_default_is_the_recipes_where_a_range_is_searched(data, base, tmp_path):
    settings = {"classifier_scale": "4..40", "lr": "1e-4..1e-2"}
    bench = TuningObjective("guidance", data, tmp_path, "mini", [], print, settings)
    assert bench.first == {
        "classifier_scale": train_verb.find_recipe("guidance")["classifier_scale"],
        "lr": train_verb.find_recipe("guidance")["lr"],
    }
    assert bench.first["classifier_scale"] != bench.cls.Config().classifier_scale
    unknown = TuningObjective("guidance", data, tmp_path, base, [], print, settings)
    assert unknown.first["lr"] == registry.load_table("recipes", "guidance_sd15")["lr"] != bench.first["lr"]


def test_ranges_keep_their_scale_and_everything_else_is_a_value():
    named = {field.name: field for field in config.list_options(state.Config)}
    assert config.narrow_option(named["lr"], "1e-4..1e-2").span == (1e-4, 1e-2, "log")
    assert config.narrow_option(named["steps"], "100,200").choices == (100, 200)
    assert config.narrow_option(named["schedule"], "cosine,constant").choices == ("cosine", "constant")
    assert config.narrow_option(named["lr"], "1e-3") == 1e-3
    layers = {field.name: field for field in registry.list_options("methods", "lora")}["layers"]
    assert config.narrow_option(layers, "attention,feedforward") == "attention,feedforward"


@pytest.fixture
def shared(tmp_path):
    """A study whose default is x = .5, as each worker opens it."""
    url = f"sqlite:///{tmp_path}/study.db"
    with studies.check_storage(url):
        yield lambda: studies.open_study(url, "shared", {"what": 1}, {"x": 0.5}, 1)


def objective(trial):
    return -((trial.suggest_float("x", 0, 1) - 0.3) ** 2)


def test_a_dead_workers_trial_is_done_by_another(shared, monkeypatch):
    monkeypatch.setattr(studies, "MISSED", 1)
    with shared() as dead, shared() as alive:
        with pytest.warns(UserWarning, match="Heartbeat"):
            trial = dead.ask()
        dead._storage.record_heartbeat(trial._trial_id)
        studies.run_trials(alive, 3, objective, pulse=1, on_message=lambda line: None)
        assert [trial.state.name for trial in alive.trials] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
        found = studies.counted_trials(alive)
    assert [trial.number for trial in found] == [1, 2, 3]
    assert {"x": 0.5} in [trial.params for trial in found], "the default was the dead worker's"


def test_what_fails_is_put_back_and_in_the_end_given_up(shared):
    with shared() as study:
        for _ in range(studies.TRIES):
            with pytest.raises(ZeroDivisionError):
                studies.run_trials(
                    study, 1, lambda trial: trial.suggest_float("x", 0, 1) / 0, on_message=lambda line: None
                )
        studies.run_trials(study, 1, objective, on_message=lambda line: None)
        assert [trial.state.name for trial in study.trials] == ["FAIL"] * studies.TRIES
        assert {trial.params["x"] for trial in study.trials} == {0.5}
        assert studies.best_trial(study) is None


def test_a_trial_too_many_counts_for_nothing(shared):
    with shared() as study, shared() as other:

        def greedy(trial):
            if trial.number == 0:
                studies._run_one(other, 1, objective, 0)
            return objective(trial)

        studies.run_trials(study, 1, greedy, on_message=lambda line: None)
        assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
        assert [trial.number for trial in studies.counted_trials(study)] == [0]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    """A database's URL; PostgreSQL is the test's own, on a socket in a private folder and on no port."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/all.db"
        return
    if not POSTGRES:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed: pip install 'psycopg[binary]'")
    root = os.geteuid() == 0
    with TemporaryDirectory(prefix="pg") as place:  # short, as sockets want it, and open to the server's own user
        if root:
            shutil.chown(place, "postgres")
        control = [*(["runuser", "-u", "postgres", "--"] if root else []), POSTGRES[-1].with_name("pg_ctl")]
        control += ["-D", f"{place}/data", "-l", f"{place}/log"]
        quiet = {"check": True, "cwd": place, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*control, "initdb", "-o", "-U emoscene -A trust"], **quiet)
        words = f"-c listen_addresses='' -c unix_socket_directories={place} -c fsync=off"
        subprocess.run([*control, "-w", "-o", words, "start"], **quiet)
        try:
            yield f"postgresql://emoscene@/postgres?host={place}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


@pytest.mark.slow
def test_two_workers_one_killed(storage, call, tmp_path):
    """Real processes through the command line; one dies of SIGKILL in the middle of a training."""
    words = ["tune", "lora", "--trials", "5", "--storage", storage, "lr=1e-4..1e-2", "guidance_scale=1", *pairs(call)]
    command = [sys.executable, "-m", "emoscene", *words]
    database = optuna.storages.RDBStorage(storage)
    try:
        with (tmp_path / "told").open("w") as told:
            workers = [subprocess.Popen(command, stdout=told, stderr=told) for _ in range(2)]
            try:
                killed_in_a_trial(database, workers)
                assert workers[1].wait(timeout=900) == 0, (tmp_path / "told").read_text()[-3000:]
            finally:
                for worker in workers:
                    worker.kill()
                    worker.wait()
        trials = trials_of(database)
        states = [trial.state.name for trial in trials]
        assert states.count("FAIL") == 1, "the dead worker's"
        assert len([state for state in states if state in {"COMPLETE", "PRUNED"}]) == 5
        assert any(trial.user_attrs.get("before") for trial in trials), "taken over"
        assert run_dir.read_manifest(call["out"], "tuning")["state"] == "done"
        again = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "5 of 5 trials finished" in again.stderr
        assert len(trials_of(database)) == len(states)
    finally:
        database.remove_session()
        database.engine.dispose()


def pairs(call):
    """The call's options and settings as the command line has them."""
    options = {key: call[key] for key in ("data", "base", "selector", "prompts", "seeds", "out")}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    words += [word for folder in call["judge"] for word in ("--judge", str(folder))]
    return [*words, *(f"{key}={value}" for key, value in (FEW | {"steps": 40, "pulse": 3}).items())]


def trials_of(database):
    """The trials of the study, none where nobody made it yet."""
    studied = {study.study_name: study._study_id for study in database.get_all_studies()}
    return database.get_all_trials(studied["tuned"]) if "tuned" in studied else []


def killed_in_a_trial(database, workers):
    """Wait until two trials run and one is finished, then kill the first worker."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert [worker.poll() for worker in workers] == [None, None], "a worker left too early"
        states = [trial.state.name for trial in trials_of(database)]
        if states.count("RUNNING") == 2 and "COMPLETE" in states:
            workers[0].kill()
            return
        time.sleep(0.2)
    pytest.fail("no two trials ran at once")


def open_and_close(folder, call=None):
    url = studies.locate_database(folder)
    with studies.check_storage(url), studies.open_study(url, "study", call or {"a": 1}, {"lr": 0.1}):
        pass


@pytest.mark.parametrize("kind", ["text", "truncated", "overwritten"])
def test_a_database_that_is_damaged_is_one_sentence(kind, tmp_path):
    file = tmp_path / "study.db"
    open_and_close(tmp_path)
    content = file.read_bytes()
    damaged = {
        "text": b"no database at all\n" * 50,
        "truncated": content[: len(content) // 3],
        "overwritten": content[:1000] + b"\xff" * 60_000 + content[61_000:],
    }
    file.write_bytes(damaged[kind])
    with pytest.raises(EmosceneError, match=r"study.db is damaged, or no database \(.*\): put a copy of it back"):
        open_and_close(tmp_path)
    file.write_bytes(b"")
    open_and_close(tmp_path)  # an empty file is an empty database


def execute(folder, statement):
    with closing(sqlite3.connect(folder / "study.db")) as database:
        database.execute(statement)
        database.commit()


@pytest.mark.parametrize(
    ("statement", "kind", "sentence"),
    [
        ("update study_user_attributes set value_json = '{'", EmosceneError, "the study 'study' is damaged"),
        ("update study_user_attributes set value_json = '[]'", UsageError, "was not begun by emoscene: name another"),
        ("update study_user_attributes set key = 'x'", UsageError, "was not begun by emoscene: name another --out"),
        ("update alembic_version set version_num = 'v9.9'", EmosceneError, "cannot be used: .* updating optuna"),
    ],
)
def test_a_study_that_somebody_changed_is_one_sentence(statement, kind, sentence, tmp_path):
    open_and_close(tmp_path)
    execute(tmp_path, statement)
    with pytest.raises(kind, match=sentence):
        open_and_close(tmp_path)


def test_a_study_of_another_program_stays_as_it_is(tmp_path):
    url = studies.locate_database(tmp_path)
    theirs = optuna.create_study(storage=url, study_name="study", directions=["minimize", "maximize"])
    theirs.enqueue_trial({"lr": 0.5})
    with pytest.raises(UsageError, match="the study 'study' there was not begun by emoscene: name another --out or --"):
        open_and_close(tmp_path)
    assert theirs.user_attrs == {} and len(theirs.trials) == 1


def test_a_training_that_a_signal_stops_says_what_goes_on(call, monkeypatch):
    """`tune` has no --resume."""

    def train(name, out, **words):
        raise TrainingStopped("stopped at step 3: the same call with --resume goes on")

    monkeypatch.setattr(train_verb, "train", train)
    bench = TuningObjective("lora", call["data"], call["out"], call["base"], [], print, {"lr": "1e-4..1e-2"})
    bench.out.mkdir()
    with pytest.raises(EmosceneError, match=r"what is trained is saved: the same call goes on"):
        bench.train_artifact(bench.full_settings(bench.first))
