"""What a process limits for its threads."""

import platform
import subprocess
import sys

import pytest

from emoscene.core import processes

THREADS = """
import ctypes, sys, threading
from emoscene.core.processes import limit_arenas

if sys.argv[2] == "limited":
    print(limit_arenas())
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
all_there = threading.Barrier(8)

def allocate():
    all_there.wait()
    for _ in range(50):
        libc.malloc(2000)
    all_there.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def count_arenas(path, kind, monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    subprocess.run([sys.executable, "-c", THREADS, str(path), kind], check=True, capture_output=True, timeout=60)
    return path.read_text().count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_threads_share_a_few_arenas(tmp_path, monkeypatch):
    assert count_arenas(tmp_path / "limited", "limited", monkeypatch) <= processes.ARENAS
    assert count_arenas(tmp_path / "free", "free", monkeypatch) > processes.ARENAS


def test_what_the_environment_says_goes_first(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    assert not processes.limit_arenas()


def test_another_c_library_has_no_arenas(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not processes.limit_arenas()
