import pytest

import emoscene
from emoscene.core.errors import EmosceneError, UsageError, unknown_name
from emoscene.diffusion.device import is_out_of_memory


def test_the_nearest_name_is_offered():
    error = unknown_name("emotion", "aw", ["awe", "anger"], hint="emoscene ls emotions")
    assert isinstance(error, UsageError)
    assert str(error) == "no emotion 'aw': did you mean 'awe'? (emoscene ls emotions)"


def test_errors_are_those_that_python_users_expect():
    with pytest.raises(ValueError, match="no emotion"):
        raise unknown_name("emotion", "aw", ["awe"])
    assert issubclass(EmosceneError, RuntimeError)
    assert not is_out_of_memory(EmosceneError("out of memory with 8 samples at a time: take fewer"))  # it is explained


def test_a_misspelt_keyword_of_load_is_told_its_neighbour():
    with pytest.raises(UsageError, match="no setting 'methd': did you mean 'method'"):
        emoscene.load("mini", methd="lora")


def test_without_a_near_name_all_are_listed():
    assert str(unknown_name("method", "zzz", ["lora", "none"])) == "no method 'zzz': there is lora, none"


def test_where_there_is_nothing_nothing_is_offered():
    assert str(unknown_name("recipe", "fast", [])) == "no recipe 'fast'"
