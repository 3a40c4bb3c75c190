"""The page under attack, without a browser: strange names and origins, guessed passwords, uploads, abandoned calls."""

import asyncio
import base64
import hashlib
import json
import re
import socket
import threading
import time
from contextlib import contextmanager
from itertools import pairwise
from types import SimpleNamespace

import pytest
from PIL import Image

import emoscene
import tiny
from emoscene.core.errors import UsageError
from emoscene.core.images import save_image
from emoscene.core.params import GenerationParams
from emoscene.core.taxonomy import EMOTIONS
from emoscene.web import read_password, read_root_path
from emoscene.web.session import Session, Verdict

gr = pytest.importorskip("gradio", reason="the page needs Gradio: pip install 'emoscene[web]'")
httpx = pytest.importorskip("httpx")

from gradio.server_messages import LogMessage, ProcessCompletedMessage  # noqa: E402
from starlette.routing import Mount  # noqa: E402

from emoscene.web import fair_queue, login_brake, server, uploads  # noqa: E402
from emoscene.web import page as web_page  # noqa: E402
from emoscene.web.affect_plane import verdicts_html  # noqa: E402
from emoscene.web.allowed_hosts import AllowedHosts, is_loopback  # noqa: E402
from emoscene.web.fair_queue import FairQueue  # noqa: E402
from emoscene.web.login_brake import LoginBrake, client_key, delay  # noqa: E402
from emoscene.web.request_filter import JSON_DEPTH, json_depth, mount_page  # noqa: E402

PASSWORD = "a long secret"
SVG = '<svg width="300"><a href="javascript:alert(1)"><text y="20">here</text></a></svg>'
LONG = ["a dog", "", "awe", ["prompt"], 1, 50, "dpm++", 5, 3, 16, None, None]
SHORT = ["a dog", "", "awe", ["prompt"], 1, 1, "dpm++", 5, 3, 1, None, None]


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return Session(str(tiny.make(tmp_path_factory.mktemp("base"))))


@contextmanager
def serving(studio, folder, password=None, root_path=""):
    """A page on loopback in a thread, its files in `folder`, and the sentences that it reports."""
    with pytest.MonkeyPatch.context() as patch, socket.socket() as place:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        place.bind(("127.0.0.1", 0))
        reports = []

        async def build():
            return mount_page(studio, password, report=reports.append, root_path=root_path)

        door = asyncio.run(build())
        one = server.build_server(door)
        thread = threading.Thread(target=one.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        while not one.started:
            time.sleep(0.01)
        port = place.getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield SimpleNamespace(client=client, door=door, folder=folder, port=port, reports=reports)
        one.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def page(studio, tmp_path_factory):
    with serving(studio, tmp_path_factory.mktemp("files")) as one:
        yield one


def begin(client, data, name="generate"):
    """The id of a call that is begun, or the status and sentence of its refusal."""
    asked = client.post(f"/gradio_api/call/{name}", json={"data": data})
    return asked.json().get("event_id"), asked.status_code, asked.text


def listen(client, event, name="generate"):
    """The last event of a call and its data."""
    text = client.get(f"/gradio_api/call/{name}/{event}").text
    kind, _, rest = text.strip().split("\n\n")[-1].partition("\n")
    return kind.removeprefix("event: "), json.loads(rest.removeprefix("data: "))


def send(page, head, *pieces, wait=20.0):
    """The answer to bytes that are sent as they are, until the page closes the connection."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=wait) as line:
        line.sendall(head.replace(b"\n", b"\r\n"))
        for piece in pieces:
            try:
                line.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        answer = b""
        try:
            while piece := line.recv(65536):
                answer += piece
        except ConnectionResetError:
            return answer
        return answer


def stored(page):
    return sorted(path for path in page.folder.rglob("*") if path.is_file())


# whose requests


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {"host": "localhost:7860"}, None),
        ("/", {"host": "[::1]:7860"}, None),
        ("/", {"host": "LOCALHOST."}, None),
        ("/", {"host": "paint.example.org"}, None),
        ("/", {"host": "evil.example"}, 403),
        ("/", {"host": "localhost.evil.example"}, 403),
        ("/", {"host": "127.0.0.1.nip.io:7860"}, 403),
        ("/", {"host": "192.168.1.7:7860"}, 403),
        ("/", {"host": "127.0.0.1@evil.example"}, 403),
        ("/", {"host": ""}, 403),
        ("/", {}, 400),
        ("/", {"host": "localhost", "x-forwarded-host": "evil.example"}, 403),
        ("/", {"host": "localhost", "x-forwarded-host": "paint.example.org, evil.example"}, None),
        ("/", {"host": "localhost", "x-forwarded-proto": "javascript"}, 400),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": "http://localhost:1"}, None),
        ("/gradio_api/upload", {"host": "localhost", "origin": "http://localhost:80"}, None),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": "https://evil.example"}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": "null"}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": ""}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "origin": "https://paint.example.org"}, None),
        ("/gradio_api/upload", {"host": "localhost:1", "sec-fetch-site": "cross-site"}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "sec-fetch-site": "same-site"}, 403),
        ("/gradio_api/upload", {"host": "localhost:1", "sec-fetch-site": "same-origin"}, None),
        ("/gradio_api/upload", {"host": "localhost:1", "sec-fetch-site": "same-origin", "origin": "http://a"}, 403),
    ],
)
def test_a_request_of_another_name_or_page_is_refused(path, headers, status):
    hosts = AllowedHosts.of("127.0.0.1", "127.0.0.1", ["paint.example.org"])
    for method in ("GET", "POST"):
        refused = hosts.refuse(method, path, {name: [value] for name, value in headers.items()})
        assert (refused[0] if refused else None) == status
    assert hosts.refuse("GET", "/", {"host": ["localhost", "localhost"]}) == (
        400,
        "a request must have one header Host",
    )


def test_a_link_from_another_page_opens_the_page_and_nothing_else():
    headers = {"host": ["localhost"], "sec-fetch-site": ["cross-site"]}
    assert AllowedHosts().refuse("GET", "/", headers) is None
    assert AllowedHosts().refuse("POST", "/", headers)[0] == 403
    assert AllowedHosts().refuse("GET", "/gradio_api/queue/data", headers)[0] == 403


@pytest.mark.parametrize(
    ("host", "address", "allowed", "strange"),
    [
        ("127.0.0.1", "127.0.0.1", "localhost", "10.0.0.2"),
        ("10.0.0.2", "10.0.0.2", "10.0.0.2:7860", "10.0.0.3"),
        ("studio.lan", "10.0.0.2", "STUDIO.lan:80", "studio.lan.evil.example"),
        ("0.0.0.0", "0.0.0.0", "10.0.0.2:7860", "evil.example"),
        ("::", "::", "[fe80::1]:7860", "evil.example"),
    ],
)
def test_the_names_of_a_page_are_loopback_s_and_those_it_is_bound_to(host, address, allowed, strange):
    hosts = AllowedHosts.of(host, address)
    assert hosts.allow(allowed) and hosts.allow("localhost") and not hosts.allow(strange)
    assert is_loopback(address) == address.startswith("127.")


def test_the_served_page_refuses_other_names_and_origins(page):
    assert page.client.get("/").status_code == 200
    rebound = page.client.get("/config", headers={"host": "evil.example"})
    assert rebound.status_code == 403 and "--allow-host evil.example" in rebound.json()["detail"]
    before = stored(page)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        sent = page.client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 1000)}, headers=headers)
        assert sent.status_code == 403
    assert stored(page) == before
    poisoned = page.client.get("/config", headers={"x-gradio-server": "http://evil.example"})
    assert "evil.example" not in poisoned.text
    for method in ("OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT"):
        assert page.client.request(method, "/gradio_api/upload").status_code == 405


def test_scripts_of_the_page_are_named_and_no_others_run(page):
    """A script passes by its own hash alone: no script in a message, no `onerror=` and no `javascript:` link runs."""
    for headers in ({}, {"accept-encoding": "br, gzip"}):
        opened = page.client.get("/", headers=headers)
        policy = opened.headers["content-security-policy"]
        [scripts] = re.findall("script-src ([^;]*)", policy)
        texts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", opened.text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert texts and scripts.split() == ["'self'", "'unsafe-eval'", *(f"'sha256-{digest}'" for digest in hashes)]
        assert "object-src 'none'" in policy
    for path in ("/config", "/gradio_api/info", "/nothing"):
        answer = page.client.get(path)
        assert "'unsafe-inline'" not in re.findall("script-src ([^;]*)", answer.headers["content-security-policy"])[0]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.client.head("/").headers["content-security-policy"]


@pytest.mark.parametrize("keeps", [True, False])
def test_a_proxy_serves_the_page_under_a_path(studio, tmp_path, keeps):
    """Whether the proxy leaves its path in a request or takes it off, links of the page have it."""
    with serving(studio, tmp_path, root_path="/paint") as page:
        before = "/paint" if keeps else ""
        config = page.client.get(f"{before}/config").json()
        assert config["root"].endswith(f":{page.port}/paint")
        [path] = page.client.post(f"{before}/gradio_api/upload", files={"files": ("a.png", b"x")}).json()
        assert page.client.get(f"{before}/gradio_api/file={path}").content == b"x"
        assert page.client.get(f"{before}/").status_code == 200
        assert page.client.get(f"{before}x/config").status_code == 404
        page.client.base_url = f"http://127.0.0.1:{page.port}{before}/"
        event, status, text = begin(page.client, SHORT)
        assert status == 200, text
        kind, told = listen(page.client, event)
        assert kind == "complete" and told[0][0]["image"]["url"].startswith(f"http://127.0.0.1:{page.port}/paint/")


@pytest.mark.parametrize("path", ["paint", "/paint//x", "/../x", "/a b", "/<b>", "http://evil.example", "/a/./b", "//"])
def test_a_root_path_is_a_path(path):
    if path.strip("/"):
        with pytest.raises(UsageError, match="--root-path"):
            read_root_path(path)
    else:
        assert read_root_path(path) == ""
    assert read_root_path("/a/b-c/") == "/a/b-c"


# passwords


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"password": ""}, "--password is empty"),
        ({"password": "  "}, "--password is empty"),
        ({"host": "0.0.0.0", "password": ""}, "--password is empty"),
        ({"host": "0.0.0.0"}, "give --password"),
        ({"host": ""}, "give --password"),
        ({"host": "0"}, "give --password"),
        ({"host": "x" * 70}, "cannot be had"),
    ],
)
def test_a_page_for_others_needs_a_password(words, sentence, monkeypatch):
    monkeypatch.setattr("emoscene.web.import_module", forbid_loading)
    with pytest.raises(UsageError, match=sentence):
        emoscene.web(port=0, **words)


def test_the_password_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "password").write_text(f"{PASSWORD}\nmore\n")
    assert read_password(None, tmp_path / "password") == PASSWORD
    assert read_password(None, None) is None
    monkeypatch.setenv("EMOSCENE_PASSWORD", "from outside")
    assert read_password(None, None) == "from outside"
    assert read_password(PASSWORD, None) == PASSWORD
    monkeypatch.setenv("EMOSCENE_PASSWORD", "")
    with pytest.raises(UsageError, match="EMOSCENE_PASSWORD is empty"):
        read_password(None, None)


def test_a_password_of_endless_length_is_not_read(tmp_path):
    (tmp_path / "long").write_bytes(b"x" * 5000)
    with pytest.raises(UsageError, match="a first line of more than 4096 bytes"):
        read_password(None, tmp_path / "long")


def forbid_loading(name):
    if name == "emoscene.web.session":
        raise AssertionError("the page was about to be served")
    return __import__(name, fromlist=["_"])


def test_each_wrong_password_makes_the_next_wait_longer():
    now, reports = [0.0], []
    slow = LoginBrake(reports.append, lambda: now[0])
    passed = []
    for _ in range(24_000):  # ten guesses a second for forty minutes
        if not slow.wait("10.0.0.2"):
            passed.append(now[0])
            slow.report_failure("10.0.0.2")
        now[0] += 0.1
    assert len(passed) < 24
    gaps = [round(after - before) for before, after in pairwise(passed)]
    assert gaps[:7] == [0, 0, 1, 2, 4, 8, 16] and max(gaps) == login_brake.LONGEST
    assert reports[4] == "a wrong password from 10.0.0.2, 5 in a row: the next try in 4 s"
    assert slow.wait("10.0.0.3") == 0, "another client does not wait"
    now[0] += login_brake.FORGET + 1
    assert slow.wait("10.0.0.2") == 0 and slow.tries["10.0.0.2"][0] == 1
    assert delay(10**9) == login_brake.LONGEST


def test_many_clients_are_remembered_and_no_more():
    slow = LoginBrake(print, lambda: 0.0)
    for number in range(login_brake.CLIENTS + 10):
        slow.wait(str(number))
    assert len(slow.tries) == login_brake.CLIENTS


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.0.0.2", "10.0.0.2"),
        ("::ffff:10.0.0.2", "10.0.0.2"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1%eth0", "2001:db8::/64"),
        ("\n<b>", "unknown"),
    ],
)
def test_a_client_is_an_address_or_a_network(address, key):
    assert client_key(address) == key


def test_passwords_are_not_guessed_in_a_burst(studio, tmp_path):
    """240 guesses with forged addresses in a burst: a few are tried, and the right one gets in after the delay."""
    with serving(studio, tmp_path, PASSWORD) as page:

        def guess(word, number=0):
            headers = {"x-forwarded-for": f"10.0.0.{number % 250}", "forwarded": f"for=10.0.0.{number % 250}"}
            return page.client.post("/login", data={"username": "emoscene", "password": word}, headers=headers)

        answers = [guess(f"guess {number}", number) for number in range(240)]
        tried = [answer for answer in answers if answer.status_code == 400]
        assert len(tried) <= login_brake.FREE + 2 and {answer.status_code for answer in answers} == {400, 429}
        assert "the next try is in" in answers[-1].json()["detail"]
        assert len(page.reports) == len(tried) and page.reports[0].startswith(
            "a wrong password from 127.0.0.1, 1 in a row"
        )
        assert guess(PASSWORD).status_code == 429, "the right one waits, too"
        private = [("POST", "cancel"), ("POST", "reset"), ("GET", "heartbeat/abc"), ("GET", "startup-events")]
        private += [("GET", "info"), ("GET", "queue/data?session_hash=a"), ("GET", "upload_progress?upload_id=a")]
        private += [("GET", "file=/etc/passwd"), ("HEAD", "file=/etc/passwd"), ("GET", "call/generate/abc")]
        words = {"session_hash": "a", "fn_index": 0, "event_id": "b"}
        for method, path in private:
            sent = page.client.request(method, f"/gradio_api/{path}", json=words if method == "POST" else None)
            assert sent.status_code == 401, path
        page.door.brake.forget("127.0.0.1")
        assert guess(PASSWORD).status_code == 200
        assert page.client.post("/gradio_api/cancel", json=words).status_code == 200
        assert page.client.post("/gradio_api/reset", json=words).status_code == 200


# uploads

HEAD = b"POST /gradio_api/upload HTTP/1.1\nHost: localhost\nContent-Type: multipart/form-data; boundary=b\n"
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
END = b"\r\n--b--\r\n"


def test_an_upload_that_says_two_lengths_is_not_read(page):
    """`Transfer-Encoding: chunked` beside a small Content-Length: refused by its first lines, and nothing is kept."""
    before = stored(page)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = send(
        page, HEAD + b"Content-Length: 100\nTransfer-Encoding: chunked\n\n", PART, *[chunk] * 64, b"0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400")
    answer = send(page, HEAD + b"Transfer-Encoding: chunked\n\n", *[chunk] * 64, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 411")
    assert stored(page) == before


def test_the_bytes_of_an_upload_are_counted_as_they_are_read(page, monkeypatch):
    monkeypatch.setattr(uploads, "UPLOAD_BYTES", 100_000)
    sent = page.client.post("/gradio_api/upload", files={"files": ("a.png", b"x" * 200_000)})
    assert sent.status_code == 413 and page.door.space.arriving == 0


def test_the_folder_holds_so_much_and_no_more(page, monkeypatch):
    monkeypatch.setattr(page.door.space, "limit", uploads.folder_bytes(page.folder) + 700_000)
    answers = [
        page.client.post("/gradio_api/upload", files={"files": ("a.png", bytes([number]) * 300_000)})
        for number in range(6)
    ]
    assert [answer.status_code for answer in answers] == [200, 507, 507, 507, 507, 507]
    assert uploads.folder_bytes(page.folder) <= page.door.space.limit
    assert "they go after an hour" in answers[-1].json()["detail"]
    monkeypatch.setattr(page.door.space, "limit", uploads.folder_bytes(page.folder))
    assert begin(page.client, SHORT)[1] == 507, "a call would write, too"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (PART + b"x" + END, 200),
        ((PART + b"x\r\n") * 10_000 + END[2:], 413),
        ((PART + b"x\r\n") * 13 + END[2:], 413),
        (PART.replace(b"files", b"other") + b"x" + END, 400),
        (b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx' + END, 400),
        (PART + b"x", 400),
        (b"no multipart at all", 400),
        (b"--b\r\n" + b"A: " + b"y" * 100_000 + b"\r\n\r\nx" + END, 400),
        (PART.replace(b"a.png", b"../../../etc/a.png") + b"x" + END, 200),
    ],
)
def test_an_upload_has_a_few_files_as_parts(page, body, status):
    before = stored(page)
    answer = send(page, HEAD + b"Connection: close\nContent-Length: %d\n\n" % len(body), body)
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    fresh = set(stored(page)) - set(before)
    assert {path.name for path in fresh} <= {"a.png"}
    assert status == 200 or not fresh


def test_an_upload_that_falls_silent_or_breaks_off_leaves_nothing(page, monkeypatch):
    monkeypatch.setattr(uploads, "SILENCE", 0.3)
    before = stored(page)
    began = time.monotonic()
    answer = send(page, HEAD + b"Content-Length: 100000\n\n", PART + b"x" * 5000)
    assert answer.startswith(b"HTTP/1.1 408") and time.monotonic() - began < 5
    with socket.create_connection(("127.0.0.1", page.port)) as line:
        line.sendall(HEAD.replace(b"\n", b"\r\n") + b"Content-Length: 100000\r\n\r\n" + PART + b"x" * 5000)
    answer = send(page, b"POST /gradio_api/call/judge HTTP/1.1\nHost: localhost\nContent-Length: 50\n\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    wait_until(lambda: page.door.space.arriving == 0)
    assert stored(page) == before


def test_an_upload_that_drips_is_let_go(page, monkeypatch):
    monkeypatch.setattr(uploads, "SECONDS", 0.5)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as line:
        line.sendall(HEAD.replace(b"\n", b"\r\n") + b"Content-Length: 100000\r\n\r\n" + PART)
        line.settimeout(0.1)
        answer = b""
        while not answer and time.monotonic() - began < 8:
            try:
                line.sendall(b"x")
                answer = line.recv(100)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")


def test_half_a_first_line_is_let_go(page, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    began = time.monotonic()
    assert send(page, b"GET / HT") == b"" and send(page, b"") == b""
    assert time.monotonic() - began < 5


def test_huge_first_lines_and_deep_words_are_refused(page):
    assert send(page, b"GET / HTTP/1.1\nHost: localhost\nA: " + b"x" * 200_000 + b"\n\n").startswith(b"HTTP/1.1 400")
    for depth, status in ((JSON_DEPTH + 1, 400), (20_000, 400)):
        body = b'{"data": ' + b"[" * depth + b"]" * depth + b"}"
        sent = page.client.post("/gradio_api/call/judge", content=body)
        assert sent.status_code == status
    assert json_depth({"data": [[1], {"a": [2]}]}) == 5


@pytest.mark.parametrize("call", ["cancel", "reset", "queue/join", "call/generate"])
@pytest.mark.parametrize("data", ["NaN", "-Infinity", "1e999", '"\\ud800"'])
def test_what_cannot_be_answered_is_refused(page, call, data):
    body = f'{{"data": [{data}]}}'
    sent = page.client.post(f"/gradio_api/{call}", content=body, headers={"content-type": "application/json"})
    assert sent.status_code == 400
    assert "whole characters and finite numbers" in sent.json()["detail"]


@pytest.mark.parametrize("path", ["call/generate/nobody", "queue/data?session_hash=nobody", "queue/data"])
def test_who_listens_to_no_call_is_told(page, path, caplog):
    answer = page.client.get(f"/gradio_api/{path}")
    assert answer.status_code == 404
    assert "no such call" in answer.json()["detail"]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e%2f%2e%2e%2fetc/passwd",
        "/gradio_api/file=//etc/passwd",
        "/gradio_api/file=/proc/self/environ",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=\\\\evil\\share",
        "/gradio_api/file=/etc/passwd%00.png",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc/passwd",
    ],
)
def test_no_path_leads_out_of_the_page_s_folder(page, path):
    for method in (b"GET", b"HEAD"):
        answer = send(page, method + b" " + path.encode() + b" HTTP/1.1\nHost: localhost\nConnection: close\n\n")
        status = int(answer.split()[1])
        assert 400 <= status < 500 and b"root:" not in answer and b"PATH=" not in answer


@pytest.mark.parametrize("path", ["/assets/" + "a/" * 3000, "/static/" + "a" * 300, "/gradio_api/file=" + "a" * 300])
def test_a_path_longer_than_the_disk_s_is_refused(page, path):
    assert page.client.get(path).status_code == 404


def test_a_boundary_that_is_too_long_is_refused(page):
    headers = {"content-type": f"multipart/form-data; boundary={'B' * 3000}"}
    answer = page.client.post("/gradio_api/upload", content=b"x", headers=headers)
    assert (answer.status_code, "shorter" in answer.text) == (400, True)


def test_what_a_judge_calls_its_labels_is_escaped():
    likely = {**dict.fromkeys(EMOTIONS, 0.1), "<script>": 0.2}
    assert "<script>" not in verdicts_html({"a": [Verdict(Image.new("RGB", (8, 8)), likely, (0.0, 0.0))]})


def test_a_websocket_is_refused(page):
    head = b"GET /gradio_api/queue/data HTTP/1.1\nHost: localhost\nConnection: Upgrade, close\nUpgrade: websocket\n"
    answer = send(page, head + b"Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\n\n")
    assert answer.startswith(b"HTTP/1.1 4")


# calls


def wait_until(holds, seconds=20.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_abandoned_calls_do_not_block_the_others(page, monkeypatch):
    """80 calls that nobody listens to, each of a minute's work: another address is answered before long."""
    monkeypatch.setattr(fair_queue, "GRACE", 0.5)
    begun = [begin(page.client, LONG) for _ in range(80)]
    assert {status for _, status, _ in begun} <= {200, 503}
    began = time.monotonic()
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=page.client.base_url, transport=transport, timeout=60) as other:
        event, status, text = begin(other, SHORT)
        assert status == 200, text
        assert listen(other, event)[0] == "complete"
    assert time.monotonic() - began < 10
    queue = page.door.queue
    wait_until(lambda: not queue.event_ids_to_events)
    assert len(queue) == 0 and not any(queue.pending_event_ids_session.values())


def test_one_address_has_a_share_of_the_queue(page, monkeypatch):
    begun = [begin(page.client, LONG) for _ in range(fair_queue.SHARE + 4)]
    assert begun[-1][1] == 503 and "calls from this address are waiting" in begun[-1][2]
    monkeypatch.setattr(fair_queue, "GRACE", 0.0)
    wait_until(lambda: not page.door.queue.active_jobs[0])
    page.door.queue.drop_unattended()
    assert len(page.door.queue) == 0


def test_a_call_that_waits_is_told_how_many_there_are(page, monkeypatch):
    wait_until(lambda: not page.door.queue.event_ids_to_events)
    begun = [begin(page.client, LONG) for _ in range(3)]
    sent = [page.door.queue.pending_messages_per_session[event] for event, _, _ in begun]
    logs = [[message.log for message in list(queue._queue) if isinstance(message, LogMessage)] for queue in sent]
    assert logs[0] == [] and logs[1] == ["another call is being computed: yours begins after it"]
    assert logs[2] == ["2 other calls are computed or wait: yours begins when its turn comes"]
    monkeypatch.setattr(fair_queue, "GRACE", 0.0)
    page.door.queue.drop_unattended()
    wait_until(lambda: not page.door.queue.active_jobs[0])


def test_the_state_of_a_few_callers_is_kept(studio, tmp_path, monkeypatch):
    """Gradio's own number is 10,000, of which each call of a program takes one and .2 MB."""
    monkeypatch.setattr(web_page, "SESSIONS", 3)
    with serving(studio, tmp_path) as page:
        for _ in range(5):
            event, status, text = begin(page.client, [[]], "judge")
            assert status == 200, text
            listen(page.client, event, "judge")
        [inner] = [route.app for route in page.door.app.routes if isinstance(route, Mount)]
        assert len(inner.state_holder.session_data) == 3


def test_a_call_that_is_listened_to_is_finished_however_long_it_takes(page, monkeypatch):
    monkeypatch.setattr(fair_queue, "GRACE", 0.05)
    event, status, text = begin(page.client, [*LONG[:5], 25, *LONG[6:9], 4, *LONG[10:]])
    assert status == 200, text
    began = time.monotonic()
    assert listen(page.client, event)[0] == "complete"
    assert time.monotonic() - began > fair_queue.GRACE
    wait_until(lambda: not page.door.queue.listeners)


def test_the_next_call_is_of_the_client_that_was_served_longest_ago():
    queue = asyncio.run(queue_of(["10.0.0.2"] * 4 + ["10.0.0.3"] * 2 + ["10.0.0.4"]))
    order = []
    while chosen := queue.get_events():
        order.append(chosen[0][0].request.client.host[-1])
    assert order == ["2", "3", "4", "2", "3", "2", "2"]


async def queue_of(clients):
    """A queue without a page, in which calls of these clients wait; outside of a loop Gradio leaves some open."""
    queue = FairQueue(
        live_updates=False,
        concurrency_count=1,
        update_intervals=1,
        max_size=64,
        blocks=None,
        default_concurrency_limit=1,
    )
    function = SimpleNamespace(concurrency_id="one", concurrency_limit=1, batch=False)
    queue.create_event_queue_for_fn(function)
    for number, host in enumerate(clients):
        request = SimpleNamespace(client=SimpleNamespace(host=host))
        event = fair_queue.Event(f"session {number}", function, request, None)
        queue.event_queue_per_concurrency_id["one"].queue.append(event)
        queue.pending_messages_per_session[event.session_hash] = asyncio.Queue()
    return queue


# sentences


def test_every_sentence_for_the_page_is_escaped_where_it_leaves():
    queue = asyncio.run(queue_of(["10.0.0.2"]))
    [event] = queue.event_queue_per_concurrency_id["one"].queue
    failed = {"error": f"it's {SVG} & so", "title": SVG, "duration": 3.0}
    queue.send_message(event, ProcessCompletedMessage(output=failed, success=False))
    queue.send_message(event, LogMessage(log=SVG, level="warning", title=SVG))
    queue.send_message(event, ProcessCompletedMessage(output={"data": ["<p>ours</p>"]}, success=True))
    sent = queue.pending_messages_per_session[event.session_hash]
    failure, warning, success = (sent.get_nowait() for _ in range(3))
    assert failure.output["error"].startswith("it's &lt;svg") and failure.output["error"].endswith("&amp; so")
    assert not re.search("[<>]", "".join([failure.output["title"], warning.log, warning.title]))
    assert failure.output["duration"] == 3.0 and success.output["data"] == ["<p>ours</p>"]


@pytest.mark.parametrize("field", ["base", "method", "sampler", "prompt"])
def test_what_an_image_says_of_itself_reaches_nobody_as_html(page, studio, tmp_path, field):
    row = GenerationParams(**{"base": studio.base.name, "prompt": "a dog", "method": "prompt", field: SVG})
    save_image(Image.new("RGB", (64, 64)), tmp_path / "crafted.png", row)
    content = (tmp_path / "crafted.png").read_bytes()
    [path] = page.client.post("/gradio_api/upload", files={"files": (f"{SVG[:5]}.png", content)}).json()
    event, status, text = begin(page.client, [{"path": path, "meta": {"_type": "gradio.FileData"}}], "restore")
    assert status == 200, text
    kind, told = listen(page.client, event, "restore")
    if field == "prompt":  # a text box's value, which is no HTML
        assert kind == "complete" and told[0] == SVG and "<svg" not in told[-1]
    else:
        assert kind == "error" and "&lt;svg" in told["error"] and "<" not in told["error"]
