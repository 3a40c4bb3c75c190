"""Python runs this as it starts, where `pytest --without-posix` has put the folder on the path."""

import os

import posix_removal

if os.environ.get(posix_removal.SWITCH):
    posix_removal.take_away()
