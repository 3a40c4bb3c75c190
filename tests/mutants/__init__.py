"""Bugs on purpose: a test suite is as good as the wrong programs that it refuses.

`*.patch` are one-line bugs of kinds that once passed all tests; `tests/test_mutants.py` proves that each is found.
`run.py` makes bugs by the hundred (`make mutants`).
"""
