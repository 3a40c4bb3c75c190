"""How soon the page is there, and how soon something is seen: `python -m benchmarks.web`.

Seconds from the command to a page whose button can be pressed, with the browser waiting for it; and seconds from the
press to the first picture in the making that the browser has drawn. The page is the miniature's, a new process each
turn; a Chromium is driven by Playwright (CHROMIUM= says where it is).
"""

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from shutil import which

from playwright.sync_api import Browser, sync_playwright

ASKED = {"ready": 12.0, "preview": 1.5}
ALONE = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in ALONE)]


def turn(browser: Browser, presses: int) -> dict[str, list[float]]:
    """One page: how long until it was ready, and how long each press took to show something."""
    began = time.perf_counter()
    log = Path(tempfile.mkstemp()[1])
    with log.open("w") as told:
        process = subprocess.Popen([sys.executable, "-m", "emoscene", "web", "--port", "0"], stderr=told)
    try:
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        tab = browser.new_page()
        tab.goto(found[0])
        tab.wait_for_selector("button.go:visible")
        tab.wait_for_selector(".picker .said:visible")
        ready = time.perf_counter() - began
        seen = []
        for seed in range(presses):
            tab.get_by_label("Seed").first.fill(str(seed))
            began = time.perf_counter()
            tab.click("button.go:visible")
            tab.wait_for_selector(".gallery :text('in the making')", state="attached")
            tab.wait_for_function("document.querySelector('.gallery img')?.naturalWidth > 0")
            seen.append(time.perf_counter() - began)
            tab.wait_for_function("/images? in/.test(document.querySelector('.status')?.innerText)")
            tab.wait_for_selector(f".gallery :text('seed {seed}')", state="attached")
        tab.close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        log.unlink()
    return {"ready": [ready], "preview": seen}


def main() -> int:
    """Take turns, print medians and extremes, write the JSON; 1 where a median misses what was asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--presses", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/web.json"))
    asked = parser.parse_args()
    found: dict[str, list[float]] = {"ready": [], "preview": []}
    with sync_playwright() as play:
        place = os.environ.get("CHROMIUM") or which("chromium") or which("google-chrome")
        browser = play.chromium.launch(executable_path=place, args=FLAGS)
        for _ in range(asked.turns):
            for name, seconds in turn(browser, asked.presses).items():
                found[name] += seconds
        browser.close()
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        print(f"{name}: {middle:.2f} s [{min(seconds):.2f}, {max(seconds):.2f}], asked <= {ASKED[name]:g} s")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1))
    return int(any(statistics.median(seconds) > ASKED[name] for name, seconds in found.items()))


if __name__ == "__main__":
    sys.exit(main())
