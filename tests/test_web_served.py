"""The page served: many askers at once, two thousand odd requests, and what a person does in a browser."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from shutil import which

import pytest
from PIL import Image

from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS, emotion_weights, weights_at

pytestmark = pytest.mark.slow
httpx = pytest.importorskip("httpx", reason="the page needs Gradio: pip install 'emoscene[web]'")
pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'emoscene[web]'")

CHROMIUM = os.environ.get("CHROMIUM") or which("chromium") or which("chromium-browser") or which("google-chrome")
ALONE = ("gpu", "quic", "background-networking", "component-update", "sync")
FLAGS = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in ALONE)]
FUZZ, WAIT = 2000, 180
PYTHON = re.compile(
    r"Traceback|[a-z]Error|Exception|NoneType|<class|object (at|has|is)|argument|not supported between|unhashable"
    r"|invalid literal|not iterable|Errno"
)
"""Words of Python, which nobody who asks shall see."""
FORM = {
    "prompt": "a village by a lake",
    "negative_prompt": "",
    "emotion": "awe",
    "method": ["lora"],
    "emotion_scale": 1,
    "num_inference_steps": 20,
    "sampler": "dpm++",
    "guidance_scale": 5,
    "seed": 3,
    "num_images_per_prompt": 1,
    "width": None,
    "height": None,
}
GOOD = [*FORM.values()]


class Page:
    """A page in a process of its own, and its API as a program asks it."""

    def __init__(self, log, *options, **environment):
        command = [sys.executable, "-m", "emoscene", "web", "--port", "0", *options]
        self.log = log
        with log.open("w") as told:
            self.process = subprocess.Popen(command, stderr=told, env={**os.environ, **environment})
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.1)
        self.url = found[0]
        self.client = httpx.Client(base_url=self.url, timeout=WAIT)
        self.json = {"content-type": "application/json"}

    def call(self, name, data):
        """The status and the answer of a call: its components' values, or what is said against it."""
        asked = self.client.post(f"/gradio_api/call/{name}", content=json.dumps({"data": data}), headers=self.json)
        if asked.status_code != 200:
            return asked.status_code, asked.text
        told = self.client.get(f"/gradio_api/call/{name}/{asked.json()['event_id']}").text
        event, _, rest = told.strip().split("\n\n")[-1].partition("\n")
        answer = json.loads(rest.removeprefix("data: "))
        return (200, answer) if event == "event: complete" else (400, (answer or {}).get("error"))

    def upload(self, name, content):
        """The place of an uploaded file, as a call is told of it."""
        [path] = self.client.post("/gradio_api/upload", files={"files": (name, content)}).json()
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def memory(self):
        """Megabytes that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    one = Page(tmp_path_factory.mktemp("page") / "log")
    yield one
    one.client.close()
    one.process.send_signal(signal.SIGINT)
    assert one.process.wait(WAIT) == 0


def test_forty_requests_from_eight_clients_at_once(page):
    def ask(seed):
        status, answer = page.call("generate", [*(FORM | {"emotion": EMOTIONS[seed % 8], "seed": seed}).values()])
        assert status == 200, answer
        pictures, _, [row] = answer
        carried = Image.open(BytesIO(page.client.get(pictures[0]["image"]["url"]).content)).info["emoscene"]
        return seed, row, json.loads(carried)

    with ThreadPoolExecutor(8) as askers:
        list(askers.map(ask, range(8)))
        before = page.memory()
        answers = list(askers.map(ask, range(100, 140)))
    for seed, row, carried in answers:
        assert row.pop("seconds") > 0
        carried.pop("seconds", None)
        assert row == carried and row["seed"] == seed
        assert row["emotion"] == {EMOTIONS[seed % 8]: 1.0}
    assert page.memory() - before < 300


def odd_value(draw, files):
    """Anything that a program might send."""
    words = ["", "awe", "awe:0.7,fear:-0.3", "a" * 1200, "\x00\n", "'; --", "../../etc/passwd", "<b>", "${1}", "ümlaut"]
    numbers = [0, 1, -1, 2**63, 1e308, -1e-9, 0.5, 10**30, True, None]
    kinds = [
        lambda: draw.choice(words),
        lambda: draw.choice(numbers),
        lambda: [draw.choice(["lora", "none", "prompt", 1, None]) for _ in range(draw.randrange(4))],
        lambda: {"path": draw.choice(files), "meta": {"_type": "gradio.FileData"}},
        lambda: [{"path": draw.choice(files), "meta": {"_type": "gradio.FileData"}}],
        lambda: {"url": "data:image/png;base64,AAAA", "path": None, "meta": {"_type": "gradio.FileData"}},
    ]
    return draw.choice(kinds)()


def odd_file(draw):
    """The bytes of something that is, was, or never was a picture."""
    buffer = BytesIO()
    size = draw.randrange(1, 40), draw.randrange(1, 40)
    form = draw.choice(["PNG", "JPEG", "GIF", "BMP", "WEBP"])
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    Image.new(draw.choice(["RGB", "L"]), size, draw.randrange(256)).save(buffer, form, exif=exif)
    content = bytearray(buffer.getvalue())
    for _ in range(draw.randrange(6)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return draw.choice([bytes(content), bytes(content)[: draw.randrange(len(content))], b"", draw.randbytes(50)])


def test_odd_requests_and_uploads_are_refused_in_words(page, tmp_path):
    secret = "the-words-of-another-file"
    (tmp_path / "secret.png").write_text(secret)
    outside = [str(tmp_path / "secret.png"), "/etc/passwd", f"/proc/{page.process.pid}/environ", "secret.png", "~"]
    draw = random.Random(7)
    plain = {
        "generate": [*(FORM | {"num_inference_steps": 1}).values()],
        "compare": ["a hill", ["none"], ["awe"], "1", 1, 1],
        "edit": [None, "a hill", "awe", 0.1, 1, ["lora"], 1],
        "judge": [[]],
        "restore": [None],
    }

    def ask(seed):
        draw = random.Random(seed)
        files = [*outside, page.upload(draw.choice(["a.png", "b.jpg", "../c.png", "d"]), odd_file(draw))["path"]]
        name = draw.choice(list(plain))
        data = list(plain[name])
        if name in {"edit", "judge", "restore"}:
            file = {
                "path": draw.choice([files[-1], files[-1], draw.choice(files)]),
                "meta": {"_type": "gradio.FileData"},
            }
            data[0] = [file] if name == "judge" else file
        for _ in range(draw.randrange(3)):
            data[draw.randrange(len(data))] = odd_value(draw, files)
        if draw.random() < 0.05:
            data = data[: draw.randrange(len(data))] if draw.random() < 0.5 else data * 2
        status, answer = page.call(name, data)
        path = draw.choice(
            ["/gradio_api/file=" + draw.choice(outside), "/gradio_api/file=../" + outside[0], "/config/../x"]
        )
        return seed, name, data, status, answer, page.client.get(path)

    with ThreadPoolExecutor(8) as askers:
        answers = list(askers.map(ask, draw.sample(range(10**6), FUZZ)))
    for seed, name, data, status, answer, file in answers:
        assert status < 500, (seed, name, data, answer)
        said = status == 200 or (isinstance(answer, str) and len(answer) > 8 and not PYTHON.search(answer))
        assert said, (seed, name, data, status, answer)
        assert "mistake of the page's own" not in str(answer), f"{seed} {name} {data}\n{page.log.read_text()}"
        assert file.status_code in {403, 404} and secret not in file.text
        assert secret not in str(answer) and "root:" not in str(answer)
    assert {200, 400} <= {answer[3] for answer in answers}
    log = page.log.read_text()
    assert not PYTHON.search(log), log
    assert page.call("generate", GOOD)[0] == 200


def test_a_file_that_was_not_uploaded_is_not_read(page, tmp_path):
    save_image(Image.new("RGB", (64, 64)), tmp_path / "mine.png", GenerationParams(seed=123))
    status, answer = page.call("restore", [{"path": str(tmp_path / "mine.png"), "meta": {"_type": "gradio.FileData"}}])
    assert status == 400 and "was not uploaded" in answer
    status, answer = page.call("restore", [page.upload("mine.png", (tmp_path / "mine.png").read_bytes())])
    assert status == 200 and answer[list(FORM).index("seed")] == 123


@pytest.mark.parametrize("ending", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGTERM, signal.SIGTERM]], ids=str)
def test_a_busy_page_that_is_ended_leaves_no_file(tmp_path, ending):
    """Uploads and images under way are in the temporary folder when the signal arrives, and gone with the process."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    page = Page(tmp_path / "log", TMPDIR=str(folder))
    page.upload("a.png", b"x" * 10**6)
    long = json.dumps({"data": [*(FORM | {"num_images_per_prompt": 8, "num_inference_steps": 100}).values()]})
    asked = page.client.post("/gradio_api/call/generate", content=long, headers=page.json).json()
    with page.client.stream("GET", f"/gradio_api/call/generate/{asked['event_id']}") as answer:
        assert "event: generating" in answer.iter_lines()
        assert list(folder.glob("emoscene-*"))
        for number in ending:
            page.process.send_signal(number)
        assert page.process.wait(30) == 0
    assert not list(folder.glob("emoscene-*"))
    assert not PYTHON.search(page.log.read_text()), page.log.read_text()


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="pip install playwright drives the browser")
    if not CHROMIUM:
        pytest.skip("no Chromium here: install it, or say where it is with CHROMIUM=")
    with driver.sync_playwright() as play:
        one = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def tab(browser, page):
    with opened(browser, page) as one:
        yield one


@contextmanager
def opened(browser, page, **size):
    context = browser.new_context(**size)
    tab = context.new_page()
    tab.set_default_timeout(1000 * WAIT)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.url)
    tab.wait_for_selector("button.go:visible")
    tab.wait_for_selector(".picker .said:visible")
    yield tab
    assert all(url.startswith((page.url, "data:", "blob:")) for url in asked)
    context.close()


SAID = "text => [...document.querySelectorAll('.status span')].some(s => s.offsetParent && s.innerText.includes(text))"


def generate(tab, seed):
    tab.get_by_label("Seed").first.fill(str(seed))
    tab.click("button.go:visible")
    tab.wait_for_function(SAID, arg="1 image in")
    tab.wait_for_selector(f".gallery img[alt*='seed {seed}'], .gallery :text('seed {seed}')", state="attached")


def test_a_person_paints_and_the_plane_reads_as_emotions_does(tab):
    generate(tab, 11)
    box = tab.locator("svg.plane.live").first.bounding_box()
    tab.mouse.click(
        box["x"] + box["width"] * (170 + 140 * 0.1) / 340, box["y"] + box["height"] * (170 + 140 * 0.5) / 340
    )
    tab.keyboard.press("ArrowRight")
    outputs = tab.locator(".picker").first.locator("output").all_inner_texts()
    place = tab.locator(".hand").first.get_attribute("aria-valuetext")
    valence, arousal = (float(number) for number in re.findall(r"-?\d\.\d\d", place)[:2])
    assert (valence, arousal) == pytest.approx((0.15, -0.5), abs=0.03)
    assert [float(text) for text in outputs] == pytest.approx(weights_at(valence, arousal), abs=0.006)
    tab.locator(".picker button[data-name=fear]").first.click()
    assert tab.locator(".picker .said").first.inner_text() == "fear"
    tab.locator(".picker input[data-name=awe]").first.focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator(".picker .said").first.inner_text() == "fear, awe -0.05"


def seconds(page):
    """How long one picture takes, asked for and answered."""
    began = time.perf_counter()
    assert page.call("generate", GOOD)[0] == 200
    return time.perf_counter() - began


def test_stop_stops(tab, page):
    alone = seconds(page)
    tab.get_by_text("More settings").click()
    tab.get_by_label("Images", exact=True).first.fill("8")
    tab.get_by_label("Steps").first.fill("100")
    tab.click("button.go:visible")
    tab.wait_for_function("Number(document.querySelector('.status progress')?.value) > 0.01")
    tab.click("button.stop:visible")
    tab.wait_for_function(SAID, arg="stopped")
    assert seconds(page) < 5 * alone + 3, "what was stopped is forty times the work"
    assert tab.locator(".status span").first.inner_text() == "stopped"


def test_who_goes_away_stops_the_work(page):
    """When their streams are closed, what was being painted stops, and what waits its turn is not painted either."""
    alone = seconds(page)
    long = json.dumps({"data": [*(FORM | {"num_images_per_prompt": 8, "num_inference_steps": 100}).values()]})
    with ExitStack() as streams:
        answers = []
        for _ in range(3):
            asked = page.client.post("/gradio_api/call/generate", content=long, headers=page.json).json()
            way = f"/gradio_api/call/generate/{asked['event_id']}"
            answers.append(streams.enter_context(page.client.stream("GET", way)))
        assert "event: generating" in answers[0].iter_lines()
    assert seconds(page) < 5 * alone + 3, "what nobody waits for goes on"


def test_settings_come_back_and_a_bad_file_is_explained(tab, tmp_path):
    row = GenerationParams(
        prompt="a castle on a hill",
        emotion=emotion_weights("fear:0.5"),
        method="prompt",
        emotion_scale=0.5,
        seed=77,
        guidance_interval=(0.2, 1.0),
    )
    save_image(Image.new("RGB", (128, 128)), tmp_path / "castle.png", row)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    tab.get_by_text("Restore settings from an image").click()
    drop = tab.locator("input[type=file]").first
    drop.set_input_files(tmp_path / "castle.png")
    tab.wait_for_function("document.querySelector('textarea').value === 'a castle on a hill'")
    assert tab.get_by_label("Seed").first.input_value() == "77"
    assert tab.locator(".picker .said").first.inner_text() == "fear 0.5"
    tab.wait_for_selector("text=cannot take over guidance_interval 0.2, 1.0 (here 0.0, 1.0)")
    tab.get_by_role("tab", name="Judge").click()
    tab.locator("input[type=file]").last.set_input_files(tmp_path / "bad.png")
    tab.wait_for_selector("text=bad.png")
    tab.wait_for_timeout(500)
    tab.click("button.go:visible")
    tab.wait_for_selector("text=cannot be read as an image")


def test_a_person_logs_in_and_paints(browser, tmp_path):
    page = Page(tmp_path / "log", "--password", "a long secret")
    context = browser.new_context()
    try:
        tab = context.new_page()
        tab.set_default_timeout(1000 * WAIT)
        tab.goto(page.url)
        for word in ("guessed", "a long secret"):
            tab.locator("input").first.fill("emoscene")
            tab.locator("input[type=password]").fill(word)
            tab.get_by_role("button", name="Login").click()
            if word == "guessed":
                tab.wait_for_selector("text=/incorrect/i")
        tab.wait_for_selector("button.go:visible")
        generate(tab, 31)
        assert "a wrong password from 127.0.0.1, 1 in a row" in page.log.read_text()
    finally:
        context.close()
        page.client.close()
        page.process.send_signal(signal.SIGINT)
        assert page.process.wait(WAIT) == 0


RUN = "window.hit=(window.hit||0)+1"
PAYLOADS = [
    f'<svg width="300" height="40"><a href="javascript:{RUN}"><text y="20">click</text></a></svg>',
    f'<svg><a xlink:href="javascript:{RUN}"><rect width="300" height="90"/></a></svg>',
    f'<svg onload="{RUN}"></svg>',
    f'<svg><animate onbegin="{RUN}" attributeName="x" dur="1s"/></svg>',
    f'<svg><set href="#a" attributeName="href" to="javascript:{RUN}"/><a id="a"><text y="20">x</text></a></svg>',
    f"<script>{RUN}</script>",
    f'<img src="x" onerror="{RUN}">',
    f'<a href="javascript:{RUN}">click</a>',
    f'<a href="java&#115;cript:{RUN}">click</a>',
    f'<math><mtext><a href="javascript:{RUN}">click</a></mtext></math>',
    f'<math><mi xlink:href="javascript:{RUN}">click</mi></math>',
    f'<details open ontoggle="{RUN}"><summary>click</summary></details>',
    f'<form action="javascript:{RUN}"><button>click</button></form>',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f'<video><source onerror="{RUN}"></video>',
    f'<input autofocus onfocus="{RUN}">',
    f'<style>@keyframes a{{}}</style><b style="animation:a" onanimationstart="{RUN}">x</b>',
    "<style>body { display: none }</style>",
    f'[click](javascript:{RUN}) ![x](x"onerror="{RUN})',
    f"&lt;img src=x onerror={RUN}&gt;",
    f'"><img src=x onerror={RUN}>',
    f"${{{RUN}}} {{{{{RUN}}}}}",
]


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_a_crafted_picture_is_shown_as_text(tab, tmp_path, number):
    """What a PNG says of its base, its file name, and its settings: each is text on the page, and runs nothing."""
    payload = PAYLOADS[number]
    save_image(
        Image.new("RGB", (128, 128)), tmp_path / "base.png", GenerationParams(base=payload, width=128, height=128)
    )
    row = GenerationParams(
        prompt=payload, base="mini", width=128, height=128, settings={payload: payload}, adapters=(payload,)
    )
    save_image(Image.new("RGB", (128, 128)), tmp_path / "settings.png", row)
    tab.get_by_text("Restore settings from an image").click()
    drop = tab.locator("input[type=file]").first
    name = payload.replace("/", "") + ".png"
    content = (tmp_path / "settings.png").read_bytes()
    drop.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    tab.wait_for_selector("text=cannot take over")
    assert tab.locator("textarea").first.input_value() == payload
    assert tab.locator(".note *").count() == 0
    tab.get_by_label("Clear").or_(tab.get_by_label("Remove")).first.click()
    content = (tmp_path / "base.png").read_bytes()
    tab.locator("input[type=file]").first.set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
    toast = tab.locator("[data-testid=toast-text]")
    toast.first.wait_for()
    assert "was generated on" in toast.first.inner_text() and payload.split()[0] in toast.first.inner_text()
    assert toast.first.evaluate("text => text.children.length") == 0, toast.first.inner_html()
    box = toast.first.bounding_box()
    tab.mouse.click(box["x"] + 30, box["y"] + 10)
    tab.wait_for_timeout(100)
    assert tab.evaluate("window.hit") is None
    assert tab.evaluate("getComputedStyle(document.body).display") != "none"


def test_a_comparison_is_shown(tab):
    tab.get_by_role("tab", name="Compare").click()
    tab.click("button.go:visible")
    tab.wait_for_function(SAID, arg="8 of 8")
    tab.wait_for_function("document.querySelector('.sheet img')?.naturalWidth > 500")
    tab.locator(".sheet").get_by_label("Fullscreen").click()
    ground = tab.locator(".sheet.fullscreen").evaluate("sheet => getComputedStyle(sheet).backgroundColor")
    assert ground == "rgb(250, 248, 244)", "the page shows through"


def test_two_people_at_once_see_their_own(browser, page):
    with opened(browser, page) as tab, opened(browser, page, viewport={"width": 390, "height": 844}) as phone:
        assert phone.evaluate("document.documentElement.scrollWidth") == 390
        for one, seed in ((tab, 21), (phone, 22)):
            one.get_by_label("Seed").first.fill(str(seed))
        tab.click("button.go:visible")
        phone.click("button.go:visible")
        for one, seed in ((tab, 21), (phone, 22)):
            one.wait_for_function(SAID, arg="1 image in")
            one.wait_for_selector(f".gallery :text('seed {seed}')", state="attached")
