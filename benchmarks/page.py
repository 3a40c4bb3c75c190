"""The page under load: `python -m benchmarks.page`, or `--calls 160 --abandoned 20 --half-open 10` in two minutes.

Clients with an address each ask in turn, one call after the other. Meanwhile one more address begins long calls and
listens to none, and connections are opened that send half an upload or half a line. Asked for: every call of the others
is answered, within their share (a turn of each client, and the seconds after which an abandoned call is dropped); the
process grows by 100 MB at most after a warm-up; once SIGTERM has ended it, its temporary folder is empty.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil

GROWTH = 100.0  # megabytes
GRACE = 10.0  # seconds, `fair_queue.GRACE`
SLACK = 2.0  # times a client's turn
SHORT = ["a dog", "", "awe", ["prompt"], 1, 1, "dpm++", 5, 3, 1, None, None]
LONG = ["a dog", "", "awe", ["prompt"], 1, 50, "dpm++", 5, 3, 16, None, None]
UPLOAD = (
    b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 1000000\r\n\r\n--b\r\n"
)
HALVES = [
    UPLOAD,
    b"GET / HT",
    b"POST /gradio_api/call/judge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
]


class Page:
    """A page of the miniature in a process and a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.temporary, self.log = folder / "temporary", folder / "log"
        self.temporary.mkdir()
        command = [sys.executable, "-m", "emoscene", "web", "--port", "0"]
        with self.log.open("w") as told:
            environment = {**os.environ, "TMPDIR": str(self.temporary)}
            self.process = subprocess.Popen(command, stderr=told, env=environment)
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text())):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        self.url, self.port = found[0], int(found[1])
        self.memories: list[int] = []  # megabytes, on the way

    def connect(self, number: int) -> httpx.Client:
        """A client with an address of its own."""
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{number + 2}")
        return httpx.Client(base_url=self.url, transport=transport, timeout=600)

    def memory(self) -> float:
        """Megabytes that the process holds."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20

    def end(self) -> list[str]:
        """End the process; the files that it leaves."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        return [str(path) for path in self.temporary.glob("emoscene*")]


def ask(client: httpx.Client, data: list[Any]) -> float:
    """Seconds until a call is answered; infinity where it fails."""
    began = time.perf_counter()
    asked = client.post("/gradio_api/call/generate", json={"data": data})
    if asked.status_code != 200:
        return float("inf")
    text = client.get(f"/gradio_api/call/generate/{asked.json()['event_id']}").text
    if "event: complete" not in text:
        return float("inf")
    return time.perf_counter() - began


def ask_in_turn(page: Page, number: int, count: int) -> list[float]:
    """The seconds of each call of one client; the first one notes the memory, ten times."""
    seconds = []
    with page.connect(number) as client:
        for place in range(count):
            seconds.append(ask(client, [*SHORT[:8], 1000 * number + place, *SHORT[9:]]))
            if number == 0 and count >= 10 and place % (count // 10) == 0:
                page.memories.append(round(page.memory()))
    return seconds


def abandon(page: Page, number: int, count: int, ended: threading.Event) -> None:
    """Begin calls, in bursts of ten, and listen to none."""
    with page.connect(number) as client:
        for place in range(count):
            client.post("/gradio_api/call/generate", json={"data": LONG})
            if place % 10 == 9 and ended.wait(2 * GRACE):
                return


def open_halves(page: Page, count: int) -> list[socket.socket]:
    """Open connections that send the beginning of a request."""
    lines = []
    for place in range(count):
        line = socket.create_connection(("127.0.0.1", page.port))
        line.sendall(HALVES[place % len(HALVES)])
        lines.append(line)
    return lines


def measure(page: Page, asked: argparse.Namespace) -> dict[str, float]:
    """Put the page under load."""
    each = asked.calls // asked.clients
    with ThreadPoolExecutor(asked.clients) as pool:
        with page.connect(asked.clients) as client:
            ask(client, LONG)
        alone = statistics.median(ask_in_turn(page, 0, 5))
        list(pool.map(lambda number: ask_in_turn(page, number, 5), range(asked.clients)))
        before = page.memory()
        ended = threading.Event()
        rude = threading.Thread(target=abandon, args=(page, asked.clients, asked.abandoned, ended))
        rude.start()
        halves = open_halves(page, asked.half_open)
        seconds = []
        for mine in pool.map(lambda number: ask_in_turn(page, number, each), range(asked.clients)):
            seconds += mine
    ended.set()
    rude.join()
    after = page.memory()
    for line in halves:
        line.close()
    lost = seconds.count(float("inf"))
    return {
        "calls": len(seconds),
        "lost": lost,
        "alone_s": round(alone, 3),
        "median_s": round(statistics.median(seconds), 3),
        "longest_s": round(max(seconds), 3),
        "share_s": round(SLACK * (asked.clients + 1) * alone + GRACE, 3),
        "memory_before_mb": round(before, 1),
        "memory_after_mb": round(after, 1),
    }


def main() -> int:
    """Measure, print and write the figures; 1 where one misses what is asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--abandoned", type=int, default=200)
    parser.add_argument("--half-open", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("out/page.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = Page(Path(folder))
        try:
            found = measure(page, asked)
        finally:
            left = page.end()
        found["files_left"] = len(left)
        print(f"megabytes on the way: {page.memories}")
        found["lines_of_log"] = len(page.log.read_text().splitlines())
    for name, figure in found.items():
        print(f"{name}: {figure:g}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1))
    grown = found["memory_after_mb"] - found["memory_before_mb"]
    return int(found["lost"] > 0 or found["longest_s"] > found["share_s"] or grown > GROWTH or len(left) > 0)


if __name__ == "__main__":
    sys.exit(main())
