import numpy as np
import pytest

from emoscene.core import seeds


def test_a_number_is_a_golden_function_of_its_words():
    assert seeds.derive_seed(7, "noise", 3) == 3487439877023281728


def test_words_do_not_run_together():
    calls = [(0, "a", "bc"), (0, "ab", "c"), (0, "abc"), (0, 1), (0, "1"), (0,), (1, 0), (0, "a,b"), (0, "a", "b")]
    numbers = {seeds.derive_seed(*call) for call in calls}
    assert len(numbers) == len(calls)
    assert all(0 <= number < 2**63 for number in numbers)


def test_whole_numbers_of_any_make_are_the_same_word():
    assert seeds.derive_seed(np.int64(3), np.uint8(4)) == seeds.derive_seed(3, 4)
    with pytest.raises(TypeError):
        seeds.derive_seed(0, 1.5)


def test_many_seeds_are_those_of_one_by_one():
    numbers = [0, 3, np.int64(70000)]
    found = seeds.derive_seeds(7, "noise", 5, last=numbers)
    assert found == [seeds.derive_seed(7, "noise", 5, number) for number in numbers]
    with pytest.raises(TypeError):
        seeds.derive_seeds(0, "noise", last=[1.5])


def test_streams_repeat_and_differ():
    assert seeds.numpy_generator(1, "x").random(4).tolist() == seeds.numpy_generator(1, "x").random(4).tolist()
    assert seeds.numpy_generator(1, "x").random() != seeds.numpy_generator(1, "y").random()


def test_torchs_stream_repeats():
    torch = pytest.importorskip("torch")
    first, again, other = (torch.rand(4, generator=seeds.torch_generator(1, word)) for word in "xxy")
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
