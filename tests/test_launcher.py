"""What `accelerate launch` asks of a run is honoured, or refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import emoscene
import tiny
from emoscene.core import run_dir
from emoscene.core.errors import UsageError
from emoscene.data.preparation import prepare
from emoscene.training import launcher
from emoscene.training.state import Config

FEW = {"steps": 2, "batch_size": 4, "rank": 2, "ema_decay": 0.0, "validation_images": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.make(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def data(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "prepared"
    return prepare("mini", out=out, limit=16, base=base, workers=0, on_message=str)


@pytest.mark.parametrize(
    ("variables", "config", "device"),
    [
        ({}, Config(), None),
        ({"MIXED_PRECISION": "no", "USE_CPU": "False", "DYNAMO_BACKEND": "NO"}, Config(), None),
        ({"MIXED_PRECISION": "bf16"}, Config(precision="bf16"), None),
        ({"GRADIENT_ACCUMULATION_STEPS": "4"}, Config(micro_batch_size=8), None),
        ({"GRADIENT_ACCUMULATION_STEPS": "5"}, Config(micro_batch_size=7), None),
        ({"USE_CPU": "true"}, Config(), "cpu"),
        ({"TORCH_DEVICE": "cuda:1"}, Config(), "cuda:1"),
    ],
)
def test_what_is_asked_for_is_honoured(variables: dict, config: Config, device: str | None) -> None:
    environment = {f"ACCELERATE_{name}": value for name, value in variables.items()}
    assert launcher.read_launcher_device(None, environment) == device
    assert launcher.apply_launcher(Config(), environment) == config


def test_the_parts_of_a_step_are_those_of_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = launcher.apply_launcher(Config(), {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "2"})
    assert config.micro_batch_size == 4


@pytest.mark.parametrize(
    ("variables", "settings", "sentence"),
    [
        ({"USE_DEEPSPEED": "true"}, {}, "ACCELERATE_USE_DEEPSPEED=true is not honoured: .*--multi_gpu"),
        ({"USE_FSDP": "true"}, {}, "ACCELERATE_USE_FSDP=true is not honoured"),
        ({"USE_MEGATRON_LM": "true"}, {}, "ACCELERATE_USE_MEGATRON_LM=true is not honoured"),
        ({"USE_PARALLELISM_CONFIG": "true"}, {}, "ACCELERATE_USE_PARALLELISM_CONFIG=true is not honoured"),
        ({"USE_SAGEMAKER": "true"}, {}, "ACCELERATE_USE_SAGEMAKER=true is not honoured"),
        ({"DYNAMO_BACKEND": "INDUCTOR"}, {}, "DYNAMO_BACKEND=INDUCTOR is not honoured: give compile=yes"),
        ({"MIXED_PRECISION": "fp8"}, {}, "MIXED_PRECISION=fp8 is not honoured: .*precision=.*fp32 or"),
        ({"MIXED_PRECISION": "bf16"}, {"precision": "fp32"}, "bf16 and precision=fp32 do not go together"),
        ({"GRADIENT_ACCUMULATION_STEPS": "auto"}, {}, "STEPS=auto is not honoured"),
        ({"GRADIENT_ACCUMULATION_STEPS": "4"}, {"micro_batch_size": 3}, "micro_batch_size=3 do not go together"),
        ({"USE_CPU": "true"}, {"device": "cuda"}, "ACCELERATE_USE_CPU=true and --device cuda do not go together"),
        ({"TORCH_DEVICE": "cuda:1"}, {"device": "cpu"}, "TORCH_DEVICE=cuda:1 and --device cpu do not go together"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name_before_anything_loads(
    variables: dict, settings: dict, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    monkeypatch.setattr(launcher, "default_config_file", str(tmp_path / "none"))
    run_dir.RunDir.open(tmp_path / "data", "prepared", {}).finish()
    with pytest.raises(UsageError, match=sentence) as told:
        emoscene.train("lora", data=tmp_path / "data", out=tmp_path / "out", **{"batch_size": 32, **settings})
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_every_variable_that_accelerate_switches_on_is_known() -> None:
    """A version of Accelerate that learns another way to train is noticed here."""
    source = Path(launcher.load_config_from_file.__code__.co_filename).parents[2] / "utils/launch.py"
    names = set()
    for word in source.read_text(encoding="utf8").split('"'):
        if word.startswith(("ACCELERATE_USE_", "ACCELERATE_MIXED")):
            names.add(word.removeprefix("ACCELERATE_"))
    assert names <= {*launcher.REFUSED, "MIXED_PRECISION", "USE_CPU"}


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("mixed_precision: 'no'\ndistributed_type: 'NO'\nnum_processes: 1\nuse_cpu: false\n", ""),
        (
            "mixed_precision: bf16\ndistributed_type: MULTI_GPU\nnum_processes: 2\nuse_cpu: false\n",
            "mixed_precision=bf16",
        ),
        ("mixed_precision: 'no'\ndistributed_type: FSDP\nnum_processes: 2\nuse_cpu: false\n", "distributed_type=fsdp"),
        ("distributed_type: nothing known\n", "what Accelerate itself does not read"),
    ],
)
def test_a_file_that_only_the_launcher_reads_is_named(
    written: str, asked: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "default_config.yaml"
    file.write_text(f"compute_environment: LOCAL_MACHINE\ndebug: false\nmachine_rank: 0\nnum_machines: 1\n{written}")
    monkeypatch.setattr(launcher, "default_config_file", str(file))
    monkeypatch.setattr("accelerate.commands.config.config_args.default_config_file", str(file))
    told: list[str] = []
    launcher.remark_config_file(told.append)
    assert len(told) == bool(asked)
    assert all(asked in line and "accelerate launch -m emoscene train" in line for line in told)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launcher.remark_config_file(told.append)
    assert len(told) == bool(asked)


@pytest.mark.slow
def test_accelerate_launch_trains(base: str, data: Path, tmp_path: Path) -> None:
    """With the words of the guide; what it asks for stands in the run's manifest."""
    options = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "bf16", "--dynamo_backend", "no"]
    call = [
        "-m",
        "emoscene",
        "train",
        "lora",
        "--data",
        data,
        "--base",
        base,
        "--out",
        tmp_path / "out",
        "--device",
        "cpu",
    ]
    line = [sys.executable, "-m", "accelerate.commands.launch", *options, *map(str, call)]
    line += [f"{key}={value}" for key, value in FEW.items()]
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run(line, env=environment, capture_output=True, encoding="utf8")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "training on cpu in bf16 (as asked)" in done.stderr
    assert run_dir.read_manifest(tmp_path / "out")["config"]["training"]["precision"] == "bf16"


@pytest.mark.slow
def test_one_process_trains_on_one_device_after_another(base: str, data: Path, tmp_path: Path) -> None:
    """Accelerate keeps the device of a process's first run."""
    from standin_accelerator import H100, use_card

    with use_card(H100) as record:
        for place in ("cuda", "cpu", "cuda:0"):
            told: list[str] = []
            before = record.operators
            out = tmp_path / place.replace(":", "-")
            emoscene.train("lora", data=data, base=base, out=out, device=place, on_message=told.append, **FEW)
            assert any(line.startswith(f"training on {place.partition(':')[0]}") for line in told)
            assert (record.operators > before) == (place != "cpu")
        assert not record.errors
