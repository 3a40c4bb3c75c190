"""Takes the picture of the report: `python docs/pictures/report.py out/report`, its first screens at desktop width."""

import os
import sys
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import sync_playwright

ALONE = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in ALONE)]

with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=os.environ.get("CHROMIUM") or which("chromium"), args=FLAGS)
    tab = browser.new_page(viewport={"width": 1280, "height": 1560}, color_scheme="light")
    tab.goto((Path(sys.argv[1]) / "index.html").absolute().as_uri())
    seen = Image.open(BytesIO(tab.screenshot(timeout=200_000))).convert("RGB")
    place = Path(__file__).parent / "report.png"
    seen.quantize(256, dither=Image.Dither.NONE).save(place, optimize=True)
    browser.close()
