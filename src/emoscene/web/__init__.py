"""The page: every verb that a browser has use for, on one's own machine.

    form.py              what may be asked of it, and how much
    session.py           a base, its methods and its judges, held ready; pictures while they come into being
    safety_filter.py     the base's safety checker
    affect_plane.py      the picker of emotions, and the bars of a judge
    page.py              four tabs, and the same four by Gradio's API
    request_filter.py    what may go in and out, with allowed_hosts, login_brake, uploads, fair_queue and server

It is bound to this machine unless asked otherwise, sends nothing anywhere, fetches nothing from elsewhere, and serves
no file but those that it was given or made. The room itself is the verb `web`, so it can be called: `emoscene.web()`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from emoscene.core.errors import UsageError, missing_extra
from emoscene.core.run_dir import as_list

QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DIFFUSERS_DISABLE_REMOTE_CODE": "1"}


class _Room(ModuleType):
    """A module that can be called."""

    def __call__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 7860,
        password: str | None = None,
        base: str = "mini",
        adapter: str | Path | Sequence[str | Path] | None = None,
        judge: Sequence[str] = (),
        screen: bool = True,
        device: str | None = None,
        dtype: str | None = None,
        allow_host: str | Sequence[str] = (),
        on_message: Callable[[str], None] = print,
    ) -> None:
        """Serve the page until Ctrl-C; whatever was uploaded or painted goes with it.

        host: who may reach it, only this machine by default. password: of the user `emoscene`; needed where others may
        reach it. allow_host: more names by which it may be asked, such as a proxy's. adapter, judge: folders that
        `train` made. screen: whether the base's safety checker looks at pictures, where it has one. Raises Usage for
        words that are off and a port that is taken, Failure where Gradio is missing.
        """
        if find_spec("gradio") is None:
            raise missing_extra("web")
        if password is not None and not password.strip():
            raise UsageError("--password is empty, and would keep nobody out: give one, or leave it out")
        taken = _bound(host, port)
        address = taken.getsockname()[0]
        hosts = import_module("emoscene.web.allowed_hosts")
        if password is None and not hosts.is_loopback(address):
            taken.close()
            raise UsageError(f"others would reach {address} without a password: give --password, or leave --host out")
        with taken, TemporaryDirectory(prefix="emoscene-web-") as folder:
            os.environ |= {**QUIET, "GRADIO_TEMP_DIR": folder, "GRADIO_EXAMPLES_CACHE": folder}
            studio = import_module("emoscene.web.session").Session(base, adapter, judge, screen, device, dtype)
            for remark in studio.remarks:
                on_message(remark)
            names = hosts.AllowedHosts.of(host, address, as_list(allow_host))
            app = import_module("emoscene.web.request_filter").mount_page(studio, password, names, on_message)
            on_message(f"http://{f'[{host}]' if ':' in host else host}:{taken.getsockname()[1]}  (Ctrl-C ends it)")
            import_module("emoscene.web.server").serve_page(app, taken)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at this place, so that a port that is taken is said before anything is loaded."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port} is out of range: it goes from 0 (any that is free) to 65535")
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        # On Windows the other option would share the port with whoever has it already.
        alone = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        bound.setsockopt(socket.SOL_SOCKET, alone, 1)
        bound.bind((host, port))
    except (OSError, ValueError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}:{port} cannot be had ({reason}): give another --port or --host") from error
    return bound


sys.modules[__name__].__class__ = _Room
