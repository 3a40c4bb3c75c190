from emoscene.core.errors import UsageError, unknown_name


def test_the_nearest_name_is_offered():
    error = unknown_name("emotion", "aw", ["awe", "anger"], hint="emoscene ls emotions")
    assert isinstance(error, UsageError)
    assert str(error) == "no emotion 'aw': did you mean 'awe'? (emoscene ls emotions)"


def test_without_a_near_name_all_are_listed():
    assert str(unknown_name("method", "zzz", ["lora", "none"])) == "no method 'zzz': there is lora, none"


def test_where_there_is_nothing_nothing_is_offered():
    assert str(unknown_name("recipe", "fast", [])) == "no recipe 'fast'"
