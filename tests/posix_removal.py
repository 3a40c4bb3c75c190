"""What only POSIX has, taken away from emoscene's modules; Python itself and other packages keep it.

    pytest --without-posix              in this process, in pytest's workers and in every Python that a test starts
    posix_removal.take_away()           in this process, before emoscene is imported

A module of emoscene that imports `os`, `signal`, `time`, `select`, `socket` or `importlib` gets one without the names
below, `import fcntl` and `import resource` fail, no folder can be opened (and so none flushed), nothing is flushed that
is open for reading alone, no folder is replaced, and torch has no operators of oneDNN. Windows has SIGTERM by name and
delivers none, so it is taken away as well.
"""

import builtins
import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

OF_OS = """
O_CLOEXEC O_DIRECTORY O_NOFOLLOW WNOHANG chown chroot ctermid fchdir fchmod fchown fdatasync fork forkpty getegid
geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getsid getuid initgroups kill killpg lchown link
memfd_create mkfifo mknod nice openpty posix_fadvise posix_fallocate posix_spawn pread pwrite readlink
sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setpgid setpriority setsid setuid
statvfs symlink sync sysconf ttyname uname wait wait3 wait4 waitid
"""
OF_SIGNAL = """
SIGALRM SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1
SIGUSR2 SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait
sigwait sigwaitinfo
"""
MODULES = {"crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource", "spwd", "syslog"}
MODULES |= {"termios", "tty"}
CALLS = {
    "os": set(OF_OS.split()),
    "signal": set(OF_SIGNAL.split()),
    "socket": {"AF_UNIX", "SO_REUSEPORT", "socketpair"},
    "time": {"clock_settime", "pthread_getcpuclockid", "tzset"},
    "select": {"epoll", "kqueue", "poll"},
}
SWITCH = "EMOSCENE_WITHOUT_POSIX"
REPLACE, IMPORT = os.replace, builtins.__import__


class LesserModule(ModuleType):
    """A module as emoscene sees it: some names are absent, some functions are others."""

    def __init__(self, real: ModuleType, absent: set[str], instead: Mapping[str, Callable[..., Any]]) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(lesser_real=real, lesser_absent=absent, lesser_instead=instead)

    def __getattr__(self, name: str) -> Any:
        if name in self.lesser_absent:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name in self.lesser_instead:
            return self.lesser_instead[name]
        return getattr(self.lesser_real, name)


def open_file(path: Any, *options: Any, **named: Any) -> int:
    """`os.open` as on Windows, where a folder is not opened."""
    if isinstance(path, str | os.PathLike) and Path(path).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return os.open(path, *options, **named)


def flush(handle: int) -> None:
    """`os.fsync` as on Windows, where only what may be written is flushed."""
    import fcntl

    if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(handle)


def replace(source: Any, target: Any, **named: Any) -> None:
    """`os.replace` as on Windows, where no folder is replaced."""
    if Path(target).is_dir():
        raise PermissionError(errno.EACCES, "Access is denied", str(source), 5, str(target))
    REPLACE(source, target, **named)


def find_spec(name: str, *options: Any) -> Any:
    """`importlib.util.find_spec`, which finds no module of POSIX's."""
    return None if name in MODULES else importlib.util.find_spec(name, *options)


def import_module(name: str, *options: Any) -> ModuleType:
    """`importlib.import_module`, which imports none of them."""
    if name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return importlib.import_module(name, *options)


INSTEAD: dict[str, dict[str, Callable[..., Any]]] = {
    "os": {"open": open_file, "fsync": flush},
    "importlib": {"import_module": import_module},
    "importlib.util": {"find_spec": find_spec},
}
ABSENT = {**CALLS, "signal": CALLS["signal"] | {"SIGTERM"}}
LESSER: dict[str, LesserModule] = {}


def import_lesser(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
    """`import` as emoscene's modules have it; everybody else's is Python's own."""
    caller = str((globals or {}).get("__name__", ""))
    if level or not caller.startswith("emoscene"):
        return IMPORT(name, globals, locals, fromlist, level)
    if name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    found = IMPORT(name, globals, locals, fromlist, level)
    if name == "torch":
        found.ops.mkldnn = SimpleNamespace()
    if found.__name__ not in ABSENT and found.__name__ not in INSTEAD:
        return found
    if found.__name__ not in LESSER:
        lesser = LesserModule(found, ABSENT.get(found.__name__, set()), INSTEAD.get(found.__name__, {}))
        LESSER[found.__name__] = lesser
    return LESSER[found.__name__]


def take_away() -> None:
    """Take away what only POSIX has, here and in every Python that is started from here."""
    if builtins.__import__ is import_lesser:
        return
    for name in [name for name in sys.modules if name.startswith("emoscene")]:
        raise RuntimeError(f"{name} is imported already, with all that POSIX has")
    builtins.__import__ = import_lesser
    os.replace = replace
    here = Path(__file__).parent
    paths = [str(here / "without_posix"), str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {SWITCH: "1", "PYTHONPATH": os.pathsep.join(paths)}
