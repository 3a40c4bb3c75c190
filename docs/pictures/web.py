"""Takes the screenshots of the page: `python docs/pictures/web.py [URL]` beside a running `emoscene web`."""

import os
import sys
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
DISABLED = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in DISABLED)]
STATUS = (
    "text => [...document.querySelectorAll('.status span')].some(s => s.offsetParent && s.innerText.includes(text))"
)
DRAG = ((0.4, 0.6), (0.12, 0.7))  # valence and arousal, from and to


def generate(tab: Page) -> None:
    """Drag the handle to a place between awe and fear, and generate four images."""
    box = tab.locator("svg.plane.live").first.bounding_box()
    unit = box["width"] / 340
    start, end = [(box["x"] + unit * (170 + 140 * v), box["y"] + unit * (170 - 140 * a)) for v, a in DRAG]
    tab.mouse.move(*start)
    tab.mouse.down()
    tab.mouse.move(*end, steps=4)
    tab.mouse.up()
    tab.get_by_label("Images", exact=True).first.fill("4")
    tab.get_by_label("Seed").first.fill("7")
    tab.keyboard.press("Tab")
    tab.click("button.go:visible")
    tab.wait_for_function(STATUS, arg="images in")


def edit(tab: Page) -> None:
    """Give a contented village sadness."""
    tab.get_by_role("tab", name="Edit emotion").click()
    tab.locator("input[type=file]").first.set_input_files(HERE / "contentment-0007.png")
    tab.get_by_label("Prompt").locator("visible=true").fill("a village by a lake")
    tab.wait_for_timeout(2000)
    tab.click("button.go:visible")
    tab.wait_for_function(STATUS, arg="image in")


with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=os.environ.get("CHROMIUM") or which("chromium"), args=FLAGS)
    for name, act, colours in (("web", generate, "light"), ("web-edit", edit, "dark")):
        tab = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme=colours)
        tab.set_default_timeout(600_000)
        tab.goto(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860")
        tab.wait_for_selector(".picker .said:visible")
        act(tab)
        tab.mouse.move(5, 5)
        tab.wait_for_timeout(2000)
        shot = Image.open(BytesIO(tab.screenshot(full_page=True))).convert("RGB")
        shot.save(HERE / f"{name}.png", optimize=True)
    browser.close()
