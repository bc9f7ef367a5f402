"""Who may reach the web page, and what is served."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from page_fixtures import free_port

from identity_segmentation.errors import EngineUnavailable, InputError

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.gate import CALLER, Gate, caller_of
from identity_segmentation.ui.guard import Guard, Hosts
from identity_segmentation.ui.page import Page
from identity_segmentation.ui.serving import launch
from identity_segmentation.ui.site import build

MOST_BYTES = 1_200_000  # of the first load, from a browser that has nothing of it yet


@pytest.fixture
def open_page(pipeline, tmp_path, monkeypatch):
    """Serve the page with some options: (Gradio's blocks, an HTTP client)."""
    import httpx

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with contextlib.ExitStack() as ending:

        def serve(demo: Path | None = None, **options):
            page = Page(pipeline, tmp_path / "web", demo=demo)
            blocks = launch(page, port=free_port(), **options)
            ending.callback(blocks.close)
            address = f"http://127.0.0.1:{blocks.server_port}/"
            return blocks, ending.enter_context(httpx.Client(base_url=address, timeout=20, trust_env=False))

        yield serve


def test_results_go_after_a_day(page):
    old, upload = page.job(), page.folder / "abc123" / "private.jpg"
    upload.parent.mkdir()
    upload.write_bytes(b"x")
    for path in (old, upload.parent):
        os.utime(path, (time.time() - 90000,) * 2)
    page.job()
    assert not old.exists() and not upload.exists(), "an earlier server's uploads go too"


def test_others_are_let_in_only_with_a_password_or_on_purpose(pipeline, tmp_path):
    for options in ({"share": True}, {"host": "0.0.0.0"}):
        with pytest.raises(InputError, match="IDSEG_UI_PASSWORD"):
            launch(Page(pipeline, tmp_path / "w"), **options)


# ---- the command


def test_the_command_wants_a_real_password(monkeypatch, tmp_path, capsys):
    from identity_segmentation.cli.command import main

    monkeypatch.setenv("IDSEG_UI_PASSWORD", "short")
    assert main(["ui", "--user", "me", "--gallery", str(tmp_path / "g")]) == 1
    assert "8 characters" in capsys.readouterr().err


@pytest.fixture
def commanded(monkeypatch, tmp_path):
    """What `idseg ui` with some options would serve."""
    import identity_segmentation.ui.serving as module
    from identity_segmentation.cli.command import main

    seen = {}

    def serve(pipeline, folder, **options):
        seen.update(pipeline=pipeline, folder=Path(folder), **options)

    monkeypatch.setattr(module, "serve", serve)
    monkeypatch.chdir(tmp_path)

    def run(*options: str):
        assert main(["ui", "--face-engine", "embedded", "--segmenter", "embedded", *options]) == 0
        return seen

    return run


def test_the_command_serves_the_users_gallery_even_where_nobody_is_on_file(commanded, tmp_path):
    seen = commanded("--gallery", str(tmp_path / "mine"), "--allow-host", "nas.lan", "--allow-host", "idseg.example")
    assert seen["pipeline"].gallery_folder == tmp_path / "mine"
    assert seen["allow_hosts"] == ["nas.lan", "idseg.example"]
    served, demo = seen["folder"].resolve(), seen["demo"].resolve()
    assert served != demo and served not in demo.parents and demo not in served.parents
    assert not (tmp_path / "mine").exists() and not demo.exists(), "nobody is learned before somebody asks for it"


def test_the_command_ends_where_an_engine_that_was_asked_for_cannot_run(monkeypatch, tmp_path, capsys):
    import identity_segmentation.ui.serving as module
    from identity_segmentation.cli.command import main

    monkeypatch.setattr(module, "serve", lambda *_, **__: pytest.fail("served without an engine"))
    monkeypatch.chdir(tmp_path)
    assert main(["ui", "--face-engine", "insightface"]) == 1
    assert "insightface" in capsys.readouterr().err


def test_a_port_or_a_size_that_cannot_be_used_is_said(pipeline, tmp_path):
    for port in (99999, 1 << 40):
        with pytest.raises(EngineUnavailable, match="--port"):
            launch(Page(pipeline, tmp_path / "w"), port=port)
    with pytest.raises(InputError, match="served"):
        launch(Page(pipeline, tmp_path / "w"), port=free_port(), max_upload="2gigs")


# ---- what another site's page may not do


@pytest.mark.parametrize("path", ["", "config", "gradio_api/queue/data?session_hash=x", "gradio_api/info", "demo/"])
def test_the_page_does_not_answer_to_a_name_that_is_not_its_own(open_page, tmp_path, path):
    blocks, client = open_page(demo=tmp_path / "demo")
    refused = client.get(path, headers={"host": f"evil.test:{blocks.server_port}"})
    assert refused.status_code == 403 and "--allow-host evil.test" in refused.text and "Mina" not in refused.text
    assert client.options(path, headers={"host": "evil.test", "origin": "http://evil.test"}).status_code == 403
    assert client.get("config", headers={"x-forwarded-host": "evil.test"}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:1234", "[::1]:{}", "127.0.0.5"])
def test_the_page_answers_to_every_name_of_this_machine_alone(open_page, host):
    blocks, client = open_page()
    assert client.get("config", headers={"host": host.format(blocks.server_port)}).status_code == 200


@pytest.mark.parametrize("headers", [
    {"origin": "http://evil.test"}, {"origin": "null"}, {"origin": "http://127.0.0.1:8888"}, {"origin": "file://"},
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
])  # fmt: skip
def test_nothing_is_taken_from_another_sites_page(open_page, tmp_path, headers):
    _, client = open_page()
    asked = {"data": [None, "Mina", None, False], "fn_index": 0, "session_hash": "abc"}
    upload = {"files": ("a.png", b"x" * 100)}
    for path, given in (
        ("gradio_api/upload", {"files": upload}), ("gradio_api/queue/join", {"json": asked}),
        ("gradio_api/call/segment", {"json": asked}), ("login", {"data": {"username": "x", "password": "y"}}),
    ):  # fmt: skip
        refused = client.post(path, headers=headers, **given)
        assert refused.status_code == 403 and "event_id" not in refused.text, path
    assert client.get("config", headers=headers).status_code == 403, "nor read by one"
    assert not list((tmp_path / "web").rglob("a.png"))


def test_the_pages_own_requests_and_those_of_programs_are_taken(open_page):
    blocks, client = open_page()
    for origin in (f"http://127.0.0.1:{blocks.server_port}", None):
        headers = {"sec-fetch-site": "same-origin"} | ({"origin": origin} if origin else {})
        sent = client.post("gradio_api/upload", files={"files": ("a.png", b"x")}, headers=headers if origin else {})
        assert sent.status_code == 200
        assert "event_id" in client.post("gradio_api/call/segment", json={"data": []}, headers=headers).json()
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("", headers=followed).status_code == 200, "a link to the page"
    assert client.get("gradio_api/info", headers=followed).status_code == 403, "but not to what is below it"


def test_a_name_that_was_allowed_is_answered_through_a_proxy(open_page):
    blocks, client = open_page(allow_hosts=["proxy.test", "other.test:8443"])
    send = {"files": {"files": ("a.png", b"x")}}
    for host, origin, status in (
        ("proxy.test", "https://proxy.test", 200),
        (f"127.0.0.1:{blocks.server_port}", "https://proxy.test", 200),  # a proxy that asks for us by our own name
        ("other.test:8443", "https://other.test:8443", 200),
        ("other.test:9000", "https://other.test:9000", 403),
        ("proxy.test", "https://evil.test", 403),
        ("evil.test", "https://proxy.test", 403),
    ):
        sent = client.post("gradio_api/upload", headers={"host": host, "origin": origin}, **send)
        assert sent.status_code == status, (host, origin)
    forwarded = {"x-forwarded-host": "proxy.test", "x-forwarded-proto": "https", "origin": "https://proxy.test"}
    assert client.post("gradio_api/upload", headers=forwarded, **send).status_code == 200
    root = client.get("config", headers={"x-gradio-server": "http://evil.test"}).json()["root"]
    assert "evil" not in root


def test_where_every_address_is_listened_to_numbers_and_the_machines_name_are_answered(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Studio.lan")
    hosts = Hosts("0.0.0.0")
    for host in ("192.168.1.5:7860", "[fe80::1]:7860", "studio.lan:7860", "studio.local", "localhost"):
        assert hosts.answers(host), host
    for host in ("evil.test", "192.168.1.5.evil.test", "studio.lan.evil.test", "-", "", "evil.test:7860@127.0.0.1"):
        assert not hosts.answers(host), host
    assert Hosts("nas.lan").answers("nas.lan:7860") and not Hosts("nas.lan").answers("192.168.1.5")
    assert not Hosts("127.0.0.1").answers("192.168.1.5")


def test_an_address_made_for_sharing_is_answered_once_it_is_known():
    hosts = Hosts("127.0.0.1")
    assert not hosts.answers("abc123.gradio.live")
    hosts.shared = "abc123.gradio.live"
    assert hosts.answers("abc123.gradio.live")
    for host in ("abc123.gradio.live", "127.0.0.1:7860"):
        assert hosts.own_origin("https://abc123.gradio.live", host)
        assert not hosts.own_origin("https://other.gradio.live", host)
    assert not Hosts("127.0.0.1").own_origin("https://abc123.gradio.live", "127.0.0.1:7860")


def test_a_web_socket_of_another_site_is_closed():
    told = []

    async def connect(origin: str) -> None:
        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            told.append(message["type"])

        async def app(scope, receive, send):
            await send({"type": "websocket.accept"})

        headers = [(b"host", b"127.0.0.1:7860"), (b"origin", origin.encode())]
        scope = {"type": "websocket", "path": "/x", "headers": headers, "client": ("127.0.0.1", 1)}
        await Guard(app, Hosts("127.0.0.1"))(scope, receive, send)

    asyncio.run(connect("http://evil.test"))
    asyncio.run(connect("http://127.0.0.1:7860"))
    assert told == ["websocket.close", "websocket.accept"]


@contextlib.contextmanager
def site(body: str, name: str):
    """Another site on this machine: its address under a name, while it is served."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{name}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


_ATTACK = """<script>
const page = "TARGET";
const tried = async (name, asked) => {
  try { const a = await asked; return [name, a.type === "opaque" ? "sent" : a.status + " " + (await a.text())]; }
  catch (error) { return [name, "refused"]; }
};
const form = () => { const f = new FormData(); f.append("files", new Blob(["x"]), "evil.png"); return f; };
const asked = JSON.stringify({data: [null, "Mina"], fn_index: 0, session_hash: "evil"});
window.results = Promise.all([
  tried("read", fetch(page + "config")),
  tried("upload", fetch(page + "gradio_api/upload", {method: "POST", body: form()})),
  tried("blind upload", fetch(page + "gradio_api/upload", {method: "POST", mode: "no-cors", body: form()})),
  tried("join", fetch(page + "gradio_api/queue/join", {method: "POST", mode: "no-cors", body: asked})),
  tried("picture", new Promise((yes, no) => {
    const i = new Image(); i.onload = () => yes(new Response("seen")); i.onerror = no;
    i.src = page + "static/img/logo.svg";
  })),
]).then(Object.fromEntries);
</script>"""


def test_browser_a_page_of_another_site_gets_nothing_and_does_nothing(browser, open_page, tmp_path):
    blocks, _ = open_page()
    address = f"http://127.0.0.1:{blocks.server_port}/"
    context = browser.new_context()
    found = context.new_page()
    with site(_ATTACK.replace("TARGET", address), "evil.test") as evil:
        found.goto(evil)
        results = found.evaluate("() => window.results")
    assert results["read"] == results["upload"] == results["picture"] == "refused", results
    assert not list((tmp_path / "web").rglob("evil.png"))
    assert not any(
        blocks._queue.event_queue_per_concurrency_id[k].queue for k in blocks._queue.event_queue_per_concurrency_id
    )
    # The same name pointed at this machine ("DNS rebinding"): then the browser takes both for one site.
    answer = found.goto(f"http://evil.test:{blocks.server_port}/")
    assert answer.status == 403 and "--allow-host evil.test" in found.locator("body").inner_text()
    inside = "async () => { const a = await fetch('/config'); return [a.status, await a.text()]; }"
    status, text = found.evaluate(inside)
    assert status == 403 and "Mina" not in text
    context.close()


def test_browser_only_pages_of_this_machine_show_it_in_a_frame(browser, open_page):
    blocks, _ = open_page()
    frame = f'<iframe src="http://127.0.0.1:{blocks.server_port}/" width="900" height="700"></iframe>'
    context = browser.new_context()
    for name, shown in (("localhost", True), ("evil.test", False)):
        found = context.new_page()
        with site(frame, name) as other:
            found.goto(other)
            tabs = found.frame_locator("iframe").get_by_role("tab").first
            if shown:
                tabs.wait_for(timeout=60_000)
            else:
                found.wait_for_timeout(3000)
                assert not tabs.is_visible()
        found.close()
    context.close()


def test_browser_the_page_works_under_a_name_that_was_allowed(browser, open_page):
    blocks, _ = open_page(allow_hosts=["proxy.test"])
    context = browser.new_context()
    found = context.new_page()
    found.goto(f"http://proxy.test:{blocks.server_port}/")
    tab = found.get_by_role("tab", name="About this machine")
    tab.click(timeout=60_000)
    said = "() => document.querySelector('#about_text textarea').value.includes('embedded faces')"
    found.wait_for_function(said, timeout=60_000)
    context.close()


# ---- the password


def test_whoever_guesses_waits_longer_every_time_and_nobody_else_does(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    gate = Gate("원영", "a long password")

    def tries(caller: str, password: str) -> bool:
        CALLER.set(caller)
        return gate("원영", password)

    assert tries("a", "a long password") and not tries("a", "no") and not tries("a", "")
    assert tries("a", "a long password"), "two wrong ones are forgiven"
    waits = []
    for _ in range(10):
        assert not tries("stranger", "guess")
        waits.append(gate.wait("stranger"))
        now[0] += waits[-1]
    assert waits == [0, 0, 0, 0, 5, 10, 20, 40, 60, 60], "a minute at the most"
    assert not tries("stranger", "guess") and not tries("stranger", "a long password"), "shut, for the right one too"
    assert tries("owner", "a long password"), "others are let in meanwhile"
    now[0] += 60
    assert tries("stranger", "a long password") and gate.wait("stranger") == 0


def test_guesses_from_very_many_addresses_slow_everybody_down_and_shut_nobody_out(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    gate = Gate("u", "a long password")
    for number in range(30):
        assert gate.slowness() == 0
        CALLER.set(f"10.0.0.{number}")
        assert not gate("u", "guess")
    CALLER.set("owner")
    assert gate.slowness() == 1 and gate("u", "a long password")
    now[0] += 61
    assert gate.slowness() == 0


@pytest.mark.parametrize(("address", "counted"), [
    ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("::ffff:192.0.2.7", "192.0.2.7"),
    ("::1", "::1"), ("testclient", "testclient"),
])  # fmt: skip
def test_a_network_of_one_user_counts_as_one_address(address, counted):
    assert caller_of(address) == counted


def login(client, password: str, **headers: str):
    return client.post("login", data={"username": "원영", "password": password}, headers=headers)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second address of this machine")
def test_a_strangers_guesses_do_not_shut_the_owner_out(open_page):
    import httpx

    _, owner = open_page(auth=("원영", "a long password"))
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=owner.base_url, timeout=20, trust_env=False, transport=transport) as stranger:
        assert [login(stranger, "guess").status_code for _ in range(6)] == [400] * 5 + [429]
        refused = login(stranger, "a long password")
        assert refused.status_code == 429 and 1 <= int(refused.headers["retry-after"]) <= 5
        assert "Try again" in refused.text and stranger.get("config").status_code == 401
    assert login(owner, "a long password").status_code == 200 and owner.get("config").status_code == 200


def test_strangers_behind_a_proxy_on_this_machine_are_not_taken_for_its_owner(open_page):
    _, client = open_page(auth=("원영", "a long password"), allow_hosts=["proxy.test"])
    for _ in range(5):
        assert login(client, "guess", host="proxy.test", **{"x-forwarded-for": "6.6.6.6"}).status_code == 400
    assert login(client, "guess", host="proxy.test", **{"x-forwarded-for": "made up, 6.6.6.6"}).status_code == 429
    assert login(client, "a long password", host="proxy.test", **{"x-forwarded-for": "7.7.7.7"}).status_code == 200
    assert login(client, "a long password").status_code == 200, "the owner, at the machine itself"


def test_with_a_user_nothing_is_shown_without_the_password(open_page, tmp_path):
    _, client = open_page(auth=("원영", "a long password"), demo=tmp_path / "demo")
    for path in ("config", "gradio_api/info", "gradio_api/file=x", "demo/config", "demo/gradio_api/info"):
        assert client.get(path).status_code == 401, path
    for path in ("", "demo", "demo/"):
        asked = client.get(path).text
        assert 'type="password"' in asked and "Mina" not in asked
    assert client.post("gradio_api/call/segment", json={"data": []}).status_code == 401
    assert client.post("demo/gradio_api/upload", files={"files": ("a.png", b"x")}).status_code == 401
    assert not (tmp_path / "demo").exists(), "nor is the demo made for a stranger"
    assert login(client, "guess").status_code == 400
    assert login(client, "a long password").status_code == 200 and client.get("config").status_code == 200
    assert json.dumps(client.get("config").json())
    assert client.get("demo/").status_code == 200


def test_browser_the_way_in_speaks_the_visitors_language_and_says_how_long_to_wait(browser, open_page):
    blocks, client = open_page(auth=("원영", "a long password"))
    context = browser.new_context(locale="ko-KR")
    found = context.new_page()
    found.goto(f"http://127.0.0.1:{blocks.server_port}/")
    alert = found.get_by_role("alert")
    found.get_by_label("사용자").fill("원영")
    found.get_by_label("비밀번호").fill("guess")
    found.get_by_label("비밀번호").press("Enter")
    alert.filter(has_text="맞지 않습니다").wait_for()
    for _ in range(5):
        assert login(client, "guess").status_code in (400, 429)
    found.get_by_label("비밀번호").fill("a long password")
    found.get_by_label("비밀번호").press("Enter")
    alert.filter(has_text="초 뒤에 다시 시도하세요").wait_for()
    found.wait_for_timeout(5500)
    found.get_by_role("button", name="들어가기").click()
    found.get_by_role("tab").first.wait_for(timeout=60_000)
    context.close()


# ---- what is served


def test_nothing_outside_can_be_fetched_and_uploads_are_limited(open_page, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    _, client = open_page(max_upload="1mb")
    for path in ("/etc/passwd", str(secret), str(tmp_path / "web" / ".." / "secret.txt"), "app.py"):
        assert client.get(f"gradio_api/file={path}").status_code in (403, 404), path
    gallery = next((tmp_path / "gallery").glob("*.safetensors"))
    assert client.get(f"gradio_api/file={gallery}").status_code in (403, 404)
    big = client.post("gradio_api/upload", files={"files": ("a.png", b"0" * 2_000_000)})
    assert big.status_code == 413
    named = client.get("gradio_api/info").json()["named_endpoints"]
    assert set(named) == {"/segment", "/identify", "/possession"}, "editing people is not offered to scripts"


def test_nothing_on_the_page_points_outside(page):
    demo = build(page)
    for block in demo.config["components"]:
        assert "share" not in (block["props"].get("buttons") or []), block["props"].get("elem_id")
        assert not str(block["props"].get("link") or "").startswith("http")


def test_browser_no_link_leads_away_and_the_first_load_is_small(browser, open_page):
    blocks, client = open_page()
    assert client.get("", headers={"accept-encoding": "br"}).headers["content-encoding"] == "br"
    context = browser.new_context()
    found = context.new_page()
    session = context.new_cdp_session(found)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    found.goto(blocks.local_url)
    found.get_by_role("tab").first.wait_for(timeout=60_000)
    found.wait_for_timeout(2000)
    links = found.evaluate("() => [...document.querySelectorAll('a[href]')].map((a) => a.href)")
    context.close()
    assert all(link.startswith((blocks.local_url, "blob:", "data:")) for link in links), links
    assert 0 < sum(sizes) <= MOST_BYTES


def test_starting_loads_nothing_that_only_a_result_needs(tmp_path):
    """The page is there within seconds: torch is for later, and no type stubs are written."""
    code = f"""
import ast, sys
asked = []
ast.get_source_segment = lambda *_, **__: asked.append(1)
from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.ui import Page, build
build(Page(IdentityAwareSegmentation("embedded", "embedded", gallery={str(tmp_path / "g")!r}), {str(tmp_path / "w")!r}))
print([m for m in ("torch", "matplotlib", "skimage", "transformers") if m in sys.modules], len(asked))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[] 0", done.stderr[-2000:]
