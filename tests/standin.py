"""A stand-in for the hub on loopback: one model's files, and the ways in which a hub can fail.

    with serving(folder) as hub:
        hub.status = 503                        every answer is an error
        hub.broken = 1                          the next download of weights breaks off half way
        hub.pause = 0.1                         seconds between a download's pieces

It speaks as much of the hub's API as `snapshot_download` asks for: the model's commit, its tree, and its files by HEAD
and GET, with ranges.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/tiny"
PIECE = 4096


class Server(ThreadingHTTPServer):
    """What it serves, how it fails, and what it was asked."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.status, self.code, self.broken, self.pause = 200, "", 0, 0.0
        self.asked: list[tuple[str, str, str]] = []

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def starts(self, suffix: str) -> list[int]:
        """The first byte that each download of the files with this ending asked for."""
        asked = [span for method, path, span in self.asked if method == "GET" and path.endswith(suffix)]
        return [int(span.removeprefix("bytes=").partition("-")[0] or 0) for span in asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *words: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Range", "")))
        if self.server.status != 200:
            return self.reply(self.server.status, {"X-Error-Code": self.server.code} if self.server.code else {})
        if path.startswith(f"/api/models/{NAME}/tree/"):
            return self.reply(200, data=json.dumps(self.tree()).encode())
        if path.startswith(f"/api/models/{NAME}"):
            revision = path.partition("/revision/")[2]
            if revision not in {"", "main", COMMIT}:
                return self.reply(404, {"X-Error-Code": "RevisionNotFound"})
            return self.reply(200, data=json.dumps({"id": NAME, "sha": COMMIT, "siblings": []}).encode())
        head, _, name = path.partition(f"/resolve/{COMMIT}/")
        if head != f"/{NAME}" or not (self.server.folder / name).is_file():
            return self.reply(404, {"X-Error-Code": "EntryNotFound" if head == f"/{NAME}" else "RepoNotFound"})
        return self.file(name, body)

    def tree(self) -> list[dict[str, object]]:
        files = sorted(path for path in self.server.folder.rglob("*") if path.is_file())
        return [
            {
                "type": "file",
                "path": path.relative_to(self.server.folder).as_posix(),
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]

    def file(self, name: str, body: bool) -> None:
        data = (self.server.folder / name).read_bytes()
        facts = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if start:
            facts["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = len(data)
        if body and self.server.broken and name.endswith("unet/diffusion_pytorch_model.safetensors"):
            self.server.broken -= 1
            cut = start + (len(data) - start) // 2
        self.reply(206 if start else 200, facts, data[start:], cut=cut - start)

    def reply(self, status, facts=None, data=b"{}", cut=None) -> None:
        """The first `cut` bytes of the data, a piece at a time."""
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **(facts or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for at in range(0, len(data[:cut]), PIECE):
            self.wfile.write(data[:cut][at : at + PIECE])
            threading.Event().wait(self.server.pause)
        self.close_connection = len(data[:cut]) < len(data)


@contextmanager
def serving(folder: Path):
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
