"""What benchmarks share: turns, ratios, and a plot."""

import json
import sys
import warnings
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks import adapters, gpu, metrics, training, turns, twins

from emoscene.core import registry
from emoscene.data import duplicates


def test_contenders_take_turns_and_the_first_are_not_counted() -> None:
    calls: list[tuple[str, int]] = []
    runners = {name: lambda turn, name=name: calls.append((name, turn)) for name in ("a", "b")}
    seconds = turns.take(runners, 3, 2)
    assert calls == [(name, turn) for turn in range(5) for name in ("a", "b")]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_of_each_turn_and_not_of_the_medians() -> None:
    ratio = turns.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    assert (ratio.low, ratio.median, ratio.high) == (1.0, 2.0, 3.0)
    assert turns.ratio([3.0], [2.0]) == turns.Ratio(1.5, 1.5, 1.5)


def test_the_plot_is_an_svg_with_every_contender() -> None:
    drawn = turns.plot({"none": [1.0, 2.0, 1.5], "a < b": [0.5]}, "Seconds")
    root = ElementTree.fromstring(drawn)
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Seconds", "none", "a < b", "2"} <= set(words)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 4
    with pytest.raises(ValueError, match="zip"):
        turns.ratio([1.0], [1.0, 2.0])


def test_a_promise_that_is_missed_is_told_and_is_the_status() -> None:
    row = {"median": 1.2, "quartiles": [1.1, 1.3]}
    found = {
        "seconds a step": {"lora": row},
        "ratios": {name: training.held(row, promise) for name, (*_, promise) in training.LIMITS.items()},
    }
    assert training.missed(found) == ["engine / bare", "lora / its bare", "published / engine"]
    console = Console(record=True, width=120, file=StringIO())
    console.print(training.told(found))
    lines = console.export_text().splitlines()
    assert [line.count("missed") for line in lines if " / " in line] == [1, 1, 1, 0]
    assert any("512 pixels" in line and "unconfirmed" in line for line in lines)
    on_cuda = {"peak GB": {"bare": {"median": 9.0}, "lora": training.held({"median": 6.5}, "<= 6")}}
    assert training.missed({"ratios": {}} | on_cuda) == ["peak GB: lora"]


def test_a_step_is_counted_with_its_backward_pass() -> None:
    """Of a matrix product that is thrice the product's own arithmetic."""
    a = torch.ones(64, 64, requires_grad=True)
    assert training.operations(lambda count: a @ a) == 2 * 64**3
    assert training.operations(lambda count: (a @ a).sum().backward()) == 3 * 2 * 64**3
    assert training.throughput(lambda count: a @ a, 4, 0.5)["pictures a second"] == 8


def test_the_drawing_of_trainings_has_every_curve() -> None:
    history = [{"step": step, "loss": {"all": loss}} for step, loss in ((0, 2.0), (10, 1.0), (20, 0.5))]
    manifests = {name: {"history": history} for name in ("lora", "guidance")}
    assert [(point.x, point.y) for point in adapters.curve("lora", manifests["lora"])] == [
        (0, 0),
        (0.5, 2 / 3),
        (1, 1),
    ]
    root = ElementTree.fromstring(adapters.drawing(manifests, {"t": [50, 950], "accuracy": [0.9, 0.3]}))
    ways = [node for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("class") == "way"]
    assert len(ways) == 3
    assert root.find("{*}rect").get("class") == "paper"  # or a dark page shows through


def test_every_metric_and_the_paired_difference_are_timed_with_their_memory() -> None:
    rows = metrics.measure_metrics(48, 8, folder=False)
    assert set(rows) == {*registry.list_names("metrics"), "paired difference"}
    assert all(row["seconds"] > 0 and row["peak"] > 0 for row in rows.values())
    assert metrics.measure_cost(lambda: bytes(10**6))["peak"] >= 10**6


def test_twins_are_counted_where_they_are_grouped() -> None:
    """The copies of scenes of smooth noise; nothing is found where nothing is grouped."""
    rng = np.random.default_rng(0)
    scenes = []
    for _ in range(4):
        coarse = Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8))
        scenes.append(coarse.resize((96, 96), Image.Resampling.BICUBIC))
    contender = twins.Contender(duplicates.hash_looks, duplicates.group_duplicates, (duplicates.HASHES,))
    found = twins.measure_found(contender, scenes)
    assert set(found) == set(twins.CHANGES)
    assert found["mirrored"] == found["grey"] == 1.0
    assert twins.measure_false(contender, [*scenes, scenes[0]]) == {
        "pairs in one group": 1,
        "of pairs": 10,
        "largest": 2,
    }
    alone = twins.Contender(duplicates.hash_looks, lambda digests, looks, alike: np.arange(len(looks)), (6,))
    assert not any(twins.measure_found(alone, scenes).values())
    older = twins.load_older(Path(duplicates.__file__))
    assert older.HASHES == duplicates.HASHES
    cost = twins.measure_cost(contender, scenes[0], 1000)
    assert min(cost.values()) > 0
    assert cost["hashes"] == 1000


def test_the_table_of_a_gpu_says_which_row_failed() -> None:
    rows = [
        gpu.Row("sampling", "lora", 1, per_second=2.5, peak_gib=3.25, share=0.41, waits=0, difference=1e-5),
        gpu.Row("sampling", "guidance", 8, per_second=2.5, difference=0.5),
        gpu.Row("training", "lora", 1),
    ]

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nand a lot more")

    gpu.attempt(rows[2], fail)
    assert [row.met for row in rows] == [True, False, False]
    console = Console(record=True, width=160, file=StringIO())
    console.print(gpu.format_table(rows, "none"))
    good, far, full = [line for line in console.export_text().splitlines() if "lora" in line or "guidance" in line]
    assert all(word in good for word in ("2.5", "3.25", "41.0%", "1.0e-05", "ok"))
    assert "further than" in far
    assert "OutOfMemoryError: CUDA out of memory." in full
    assert "a lot more" not in full


def test_what_cuda_says_of_waits_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with gpu.count_waits(torch.device("cuda")) as waits:
        for words in (
            "called a synchronizing CUDA operation",
            "something else",
            "called a synchronizing CUDA operation",
        ):
            warnings.warn(words, stacklevel=1)
    assert len(waits) == 2
    assert modes == ["warn", "default"]


def test_without_a_gpu_the_rows_are_walked_only_on_the_miniature(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu"])
    assert "--tiny --device cpu" in capsys.readouterr().err


@pytest.mark.slow
def test_every_row_of_the_gpus_table_runs(tmp_path: Path) -> None:
    """On a CPU and the miniature, which is nearer to itself than anything."""
    assert gpu.main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    kinds = {(row["work"], row["method"]) for row in rows}
    methods = set(registry.list_names("methods"))
    assert kinds == {("sampling", name) for name in methods} | {
        ("training", name) for name in methods - {"none", "prompt"}
    }
    for row in rows:
        assert row["per_second"] > 0
        assert row["share"] > 0
        assert row["difference"] == 0
