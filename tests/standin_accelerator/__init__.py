"""A stand-in for a CUDA device: real numbers, CUDA's code paths, and an error wherever a GPU would raise one.

    with use_card(H100) as record:
        emoscene.train(...)
    print(format_waits(record.waits))

A tensor of the stand-in keeps its numbers in main memory. Python is told `device` cuda:0 and `is_cuda`, and every
operator passes `__torch_dispatch__`, so that

* an operator that is given a tensor of the device and one of the CPU raises RuntimeError, as on CUDA (`rules`);
* each wait of the host for the device is counted by the line of `emoscene` that asked for it (`record`);
* a copy to the host that does not block holds nothing until an event, recorded after it, was waited for;
* the live bytes are counted, and torch.OutOfMemoryError is raised where a card (`cards`) has no more of them.

What it does not have: CUDA's kernels (speed, rounding, missing dtypes), autocast's list of operators (the CPU's is
used), streams, several cards. FakeTensor and a C++ backend were tried before it: the first aborts on a build of torch
without CUDA, the second walks no branch that asks for "cuda".
"""

from standin_accelerator.cards import H100, T4, Card, small_card
from standin_accelerator.record import Record, format_waits
from standin_accelerator.session import use_card

__all__ = ["H100", "T4", "Card", "Record", "format_waits", "small_card", "use_card"]
