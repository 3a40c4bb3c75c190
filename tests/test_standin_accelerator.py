"""The stand-in accelerator itself: it counts, refuses, runs out of memory, and leaves nothing behind."""

import threading

import pytest
import torch
from torch import nn

from emoscene.learning.precision import AsyncScalars
from standin_accelerator import H100, T4, Card, format_waits, small_card, use_card


def test_each_kind_of_wait_is_counted_at_its_line() -> None:
    with use_card(H100) as record:
        x = torch.arange(6.0).to("cuda").view(2, 3)
        waits = {
            "item": lambda: x.sum().item() + float(x.max()) + bool(x.any()),
            "tolist": lambda: x.tolist(),
            "nonzero": lambda: (x > 1).nonzero(),
            "mask as index": lambda: x[x > 1],
            "masked_select": lambda: x.masked_select(x > 1),
            "unique": lambda: x.unique(),
            "indices of the host": lambda: x[torch.tensor([0, 1])],
            "copy to the host": lambda: [x.cpu(), x.to("cpu"), torch.zeros(2, 3).copy_(x)],
            "copy to the card": lambda: [torch.zeros(2).cuda(), x.new_tensor([1.0]), torch.tensor(1, device="cuda")],
            "synchronize": lambda: torch.cuda.synchronize(),
        }
        counts = {"item": 3, "copy to the host": 3, "copy to the card": 3}
        for kind, wait in waits.items():
            before = record.waits.copy()
            wait()
            new = record.waits - before
            assert {found for found, _ in new} == {kind}, format_waits(new, kind)
            assert sum(new.values()) == counts.get(kind, 1)
            assert all("test_standin_accelerator.py" in line for _, line in new)


def test_what_does_not_wait_is_not_counted() -> None:
    with use_card(H100) as record:
        x = torch.ones(4).pin_memory().to("cuda", non_blocking=True)
        y = torch.where(x > 0, x, 0.0) @ torch.eye(4, device="cuda")
        index = torch.zeros(2, dtype=torch.long, device="cuda")
        y[index].sum().to("cpu", non_blocking=True)
        assert not record.waits, format_waits(record.waits)
        assert record.operators > 5


def test_a_wait_of_the_project_is_counted_at_the_projects_line() -> None:
    with use_card(H100) as record:
        AsyncScalars(torch.ones(2, device="cuda")).wait()
    assert not record.waits
    [(kind, line)] = record.late_waits
    assert kind == "event"
    assert line.startswith("learning/precision.py:")


def test_a_copy_that_does_not_wait_holds_nothing_until_its_event() -> None:
    with use_card(H100):
        x = torch.ones(2, device="cuda")
        first, event = x.to("cpu", non_blocking=True), torch.cuda.Event()
        event.record()
        second = (2 * x).to("cpu", non_blocking=True)
        assert first.isnan().all()
        event.synchronize()
        assert first.tolist() == [1, 1]
        assert second.isnan().all()
        torch.cuda.synchronize()
        assert second.tolist() == [2, 2]


@pytest.mark.parametrize(
    "mix",
    [
        lambda gpu, cpu: gpu + cpu,
        lambda gpu, cpu: cpu + gpu,
        lambda gpu, cpu: gpu @ cpu,
        lambda gpu, cpu: torch.cat([gpu, cpu]),
        lambda gpu, cpu: torch.where(gpu > 0, cpu, gpu),
        lambda gpu, cpu: nn.functional.linear(gpu, cpu),
        lambda gpu, cpu: nn.functional.embedding(cpu.long(), gpu),
        lambda gpu, cpu: cpu[gpu.long()],
        lambda gpu, cpu: gpu.index_put((gpu.long(),), cpu),
        lambda gpu, cpu: gpu.add_(cpu),
        lambda gpu, cpu: torch._foreach_add([gpu, gpu], [cpu, cpu]),
        lambda gpu, cpu: nn.Linear(2, 2)(gpu),
    ],
)
def test_two_devices_in_one_operator_raise(mix) -> None:
    with use_card(H100) as record:
        with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
            mix(torch.ones(2, 2, device="cuda"), torch.ones(2, 2))
        assert record.errors


@pytest.mark.parametrize(
    "mix",
    [
        lambda gpu, number: gpu * number,
        lambda gpu, number: torch.where(gpu > 0, number, gpu),
        lambda gpu, number: gpu[number.long()],
        lambda gpu, number: torch.zeros(2, 2).copy_(gpu),
    ],
)
def test_a_number_of_the_cpu_may_meet_the_device(mix) -> None:
    with use_card(H100) as record:
        mix(torch.ones(2, 2, device="cuda"), torch.tensor(1.0))
        assert not record.errors


@pytest.mark.parametrize(
    ("misuse", "error"),
    [
        (lambda x: x.numpy(), TypeError),
        (lambda x: x.pin_memory(), RuntimeError),
        (lambda x: torch.randn(2, device="cuda", generator=torch.Generator()), RuntimeError),
        (lambda x: setattr(x, "data", torch.zeros(2)), RuntimeError),
    ],
)
def test_what_cuda_refuses_is_refused(misuse, error) -> None:
    with use_card(H100), pytest.raises(error):
        misuse(torch.ones(2, device="cuda"))


def test_memory_runs_out_at_the_cards_size_and_comes_back() -> None:
    with use_card(small_card(1000)) as record:
        x = torch.zeros(200, device="cuda")
        views = x.view(2, 100), x.detach(), x[:10]
        assert record.memory.allocated == torch.cuda.memory_allocated() == 800
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            x + 1
        with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
            torch.zeros(51).to("cuda")
        del x, views
        assert record.memory.allocated == 0
        torch.zeros(250, device="cuda")
        assert torch.cuda.max_memory_allocated() == 1000


def test_activations_are_memory_until_the_backward_pass() -> None:
    with use_card(H100) as record:
        layer, x = nn.Linear(8, 8, device="cuda"), torch.ones(100, 8, device="cuda")
        before = record.memory.allocated
        loss = layer(x).exp().sum()
        assert record.memory.allocated >= before + 100 * 8 * 4
        loss.backward()
        del loss
        assert record.memory.allocated == before + 4 * (64 + 8)


@pytest.mark.parametrize(("card", "native"), [(H100, True), (T4, False)])
def test_a_card_says_what_it_computes_in(card: Card, native: bool) -> None:
    with use_card(card):
        assert torch.cuda.is_bf16_supported()
        assert torch.cuda.is_bf16_supported(including_emulation=False) == native
        assert torch.cuda.get_device_capability() == card.capability
        assert torch.cuda.get_device_properties(0).total_memory == card.memory
        assert torch.cuda.device_count() == 1


def test_a_module_moves_there_and_back_and_its_ties_hold() -> None:
    pair = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    pair[1].weight = pair[0].weight
    held, values = pair[0].weight, pair[0].weight.detach().clone()
    with use_card(H100):
        pair.to("cuda")
        assert held.is_cuda
        assert pair[1].weight is pair[0].weight is held
        assert isinstance(held, nn.Parameter)
        pair.to("cpu")
    assert torch.equal(held, values)
    assert type(held) is nn.Parameter


def test_gradients_pass_between_the_devices() -> None:
    x = torch.ones(2, requires_grad=True)
    with use_card(H100):
        (3 * x.to("cuda")).cpu().sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_autocast_takes_the_precision_that_it_is_given() -> None:
    with use_card(H100):
        layer, x = nn.Linear(2, 2, device="cuda"), torch.ones(1, 2, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        with torch.autocast("cuda"):
            assert layer(x).dtype == torch.float16
        with torch.autocast("cuda", enabled=False):
            assert layer(x).dtype == torch.float32


def test_the_card_is_there_in_threads_begun_inside() -> None:
    found = []
    with use_card(H100):
        thread = threading.Thread(target=lambda: found.append(torch.zeros(2).pin_memory().to("cuda").is_cuda))
        thread.start()
        thread.join()
    assert found == [True]


def test_nothing_is_left_behind() -> None:
    def look() -> tuple:
        return (
            *(getattr(torch.cuda, name, None) for name in ("is_available", "Event", "_is_compiled", "device_count")),
            torch.Tensor.pin_memory,
            threading.Thread._bootstrap_inner,
            torch.amp.autocast_mode.autocast.__init__,
            torch.__future__.get_swap_module_params_on_conversion(),
            torch.cuda.is_available(),
            torch._C._len_torch_function_stack(),
        )

    before, inside = look(), []

    def fail() -> None:
        with use_card(H100):
            inside.append(look())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside[0] != before
    assert look() == before
    assert type(torch.zeros(2) + 1) is torch.Tensor
