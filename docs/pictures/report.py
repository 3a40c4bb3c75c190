"""Takes the picture of the report: `python docs/pictures/report.py out/report`, down to its first table's last line.

The window is as wide as that table, which a narrower one scrolls.
"""

import os
import sys
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import sync_playwright

ALONE = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in ALONE)]
MARGIN, BELOW = 48, 12  # pixels on either side, and under the table

with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=os.environ.get("CHROMIUM") or which("chromium"), args=FLAGS)
    tab = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
    tab.goto((Path(sys.argv[1]) / "index.html").absolute().as_uri())
    tab.add_style_tag(content="main { max-width: none }")
    wide = tab.locator(".scroll").first.evaluate("table => table.scrollWidth") + 2 * MARGIN
    tab.set_viewport_size({"width": wide, "height": 1000})
    table = tab.locator(".scroll").first.bounding_box()
    clip = {"x": 0, "y": 0, "width": wide, "height": table["y"] + table["height"] + BELOW}
    shot = tab.screenshot(full_page=True, clip=clip, timeout=200_000)
    seen = Image.open(BytesIO(shot)).convert("RGB")
    seen.quantize(256, dither=Image.Dither.NONE).save(Path(__file__).parent / "report.png", optimize=True)
    browser.close()
