"""Who may reach the web page, and what is served."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest
from page_fixtures import free_port

from identity_segmentation.errors import EngineUnavailable, InputError

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.page import Page
from identity_segmentation.ui.serving import Gate, launch


def test_results_go_after_a_day(page):
    import os

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


def test_the_command_wants_a_real_password(monkeypatch, tmp_path, capsys):
    from identity_segmentation.cli.command import main

    monkeypatch.setenv("IDSEG_UI_PASSWORD", "short")
    assert main(["ui", "--user", "me", "--gallery", str(tmp_path / "g")]) == 1
    assert "8 characters" in capsys.readouterr().err


def test_the_command_keeps_the_gallery_out_of_what_is_served(monkeypatch, tmp_path):
    import identity_segmentation.ui.serving as module
    from identity_segmentation.cli.command import main

    seen = {}
    monkeypatch.setattr(module, "serve", lambda pipeline, folder, *_, **__: seen.update(p=pipeline, f=Path(folder)))
    monkeypatch.chdir(tmp_path)
    assert main(["ui", "--face-engine", "embedded", "--segmenter", "embedded"]) == 0
    served, gallery = seen["f"].resolve(), seen["p"].gallery_folder.resolve()
    assert served not in gallery.parents and gallery.is_dir()
    for port in (99999, 1 << 40):
        with pytest.raises(EngineUnavailable, match="--port"):
            launch(Page(seen["p"], tmp_path / "w"), port=port)
    with pytest.raises(InputError, match="served"):
        launch(Page(seen["p"], tmp_path / "w"), port=free_port(), max_upload="2gigs")


def test_the_gate_shuts_after_five_wrong_passwords(monkeypatch):
    gate = Gate("원영", "a long password")
    assert gate("원영", "a long password") and not gate("원영", "no") and not gate("", "")
    assert gate("원영", "a long password"), "two wrong ones are forgiven"
    assert not any(gate("원영", str(i)) for i in range(5))
    assert not gate("원영", "a long password"), "shut"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert gate("원영", "a long password")


def test_nothing_outside_can_be_fetched_and_uploads_are_limited(pipeline, tmp_path, monkeypatch):
    import httpx

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    demo = launch(Page(pipeline, tmp_path / "web"), port=free_port(), max_upload="1mb")
    try:
        with httpx.Client(base_url=demo.local_url, timeout=20, trust_env=False) as client:
            for path in ("/etc/passwd", str(secret), str(tmp_path / "web" / ".." / "secret.txt"), "app.py"):
                assert client.get(f"gradio_api/file={path}").status_code in (403, 404), path
            gallery = next((tmp_path / "gallery").glob("*.safetensors"))
            assert client.get(f"gradio_api/file={gallery}").status_code in (403, 404)
            big = client.post("gradio_api/upload", files={"files": ("a.png", b"0" * 2_000_000)})
            assert big.status_code == 413
            named = client.get("gradio_api/info").json()["named_endpoints"]
            assert set(named) == {"/segment", "/identify", "/possession"}, "editing people is not offered to scripts"
    finally:
        demo.close()


def test_with_a_user_nothing_is_shown_without_the_password(pipeline, tmp_path, monkeypatch):
    import httpx

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    demo = launch(Page(pipeline, tmp_path / "web"), port=free_port(), auth=("원영", "a long password"))
    try:
        with httpx.Client(base_url=demo.local_url, timeout=20, trust_env=False) as client:
            for path in ("config", "gradio_api/info", "gradio_api/file=x"):
                assert client.get(path).status_code == 401
            assert client.post("gradio_api/call/segment", json={"data": []}).status_code == 401
            wrong = client.post("login", data={"username": "원영", "password": "guess"})
            assert wrong.status_code == 400
            right = client.post("login", data={"username": "원영", "password": "a long password"})
            assert right.status_code == 200 and client.get("config").status_code == 200
            assert json.dumps(client.get("config").json())
    finally:
        demo.close()
    assert tempfile.gettempdir()
