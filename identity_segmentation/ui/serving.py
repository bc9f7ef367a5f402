"""Serve the page: on this machine alone, unless told otherwise, and then with a password."""

from __future__ import annotations

import hmac
import logging
import os
import sys
import threading
import time
import weakref
from importlib import resources
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import EngineUnavailable, InputError
from ..pipeline import IdentityAwareSegmentation
from .page import Page
from .site import build

logger = logging.getLogger(__name__)

_LOCAL = ("127.0.0.1", "localhost", "::1")
_TRIES, _LOCKOUT = 5, 60.0  # wrong passwords in a row, and the seconds the next one then waits
_CHECKERED = """
.gradio-container {max-width: 1200px !important}
.checkered img {background: repeating-conic-gradient(#bbb 0% 25%, #eee 0% 50%) 50% / 24px 24px}
"""


class Gate:
    """A user and a password; after five wrong ones in a row the door is shut for a minute."""

    def __init__(self, user: str, password: str):
        self._pair = (user, password)
        self._wrong, self._until = 0, 0.0
        self._lock = threading.Lock()

    def __call__(self, user: str, password: str) -> bool:
        with self._lock:
            if time.monotonic() < self._until:
                return False
            given = (user.encode(), password.encode())
            same = [hmac.compare_digest(a, b.encode()) for a, b in zip(given, self._pair, strict=True)]
            right = same == [True, True]  # both compared, whichever is wrong
            self._wrong = 0 if right else self._wrong + 1
            if self._wrong >= _TRIES:
                self._wrong, self._until = 0, time.monotonic() + _LOCKOUT
                logger.warning("%d wrong passwords in a row; nobody is let in for %.0f s", _TRIES, _LOCKOUT)
            return right


def _script() -> str:
    """What runs in the browser before anything is given to the page; see the file."""
    script = resources.files("identity_segmentation").joinpath("data/photos.js").read_text("utf-8")
    return f"<script>\n{script}</script>"


def _sweep_hourly(page: weakref.ref) -> None:
    while (found := page()) is not None:
        found.sweep()
        del found
        time.sleep(3600)


def serve(
    pipeline: IdentityAwareSegmentation,
    folder: str | os.PathLike | None = None,
    examples: str | os.PathLike | None = None,
    **options: Any,
) -> gr.Blocks:
    """Serve the page over a pipeline until the server ends; options as in `launch`.

    Args:
        folder: of results; default ".web" in the settings' output folder.
        examples: folder of pictures to click on.
    """
    folder = Path(folder or Path(pipeline.settings.output) / ".web")
    return launch(Page(pipeline, folder, Path(examples) if examples else None), block=True, **options)


def launch(
    page: Page,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    no_auth: bool = False,
    max_upload: str = "2gb",
    block: bool = False,
) -> gr.Blocks:
    """Serve a page; returns its Gradio blocks (`local_url` is its address, `close()` ends it).

    Args:
        host: whom to listen to; the default is this machine alone.
        share: make a public address through Gradio's servers.
        auth: (user, password); demanded where others could reach the page.
        no_auth: do without, on purpose.
        max_upload: largest upload.
        block: stay until the server ends.

    Raises:
        InputError: reachable by others without a password.
        EngineUnavailable: the port is taken.
    """
    exposed = share or host not in _LOCAL
    if exposed and auth is None and not no_auth:
        raise InputError(
            f"{'a shared address' if share else f'listening on {host}'} lets others reach this page, with the faces on "
            "file and every photo given to it. Give a user and a password (--user NAME, the password in "
            "IDSEG_UI_PASSWORD; in the notebook UI_AUTH), or say --no-auth if that is what you want"
        )
    if exposed:
        print(
            "warning: this page can be reached by others. Faces are biometric data: whoever gets in sees and changes "
            f"the people on file{'' if auth else ', and there is no password'}.",
            file=sys.stderr,
        )
    # Uploads and what is served; nothing outside can be fetched.
    os.environ["GRADIO_TEMP_DIR"] = str(page.folder.absolute())
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    threading.Thread(target=_sweep_hourly, args=(weakref.ref(page),), daemon=True, name="sweep").start()
    demo = build(page)
    demo.queue(max_size=32, default_concurrency_limit=4)
    try:
        demo.launch(
            server_name=host, server_port=port, share=share, auth=Gate(*auth) if auth else None,
            i18n=demo.translations, max_file_size=max_upload, allowed_paths=[], run_history=False,
            enable_monitoring=False, ssr_mode=False, mcp_server=False, show_error=True, css=_CHECKERED, head=_script(),
            prevent_thread_lock=not block, quiet=not block, footer_links=[],
        )  # fmt: skip
    except (OSError, OverflowError) as error:
        raise EngineUnavailable(f"port {port} cannot be used ({error}); choose another with --port") from error
    except ValueError as error:
        raise InputError(f"the page cannot be served so: {error}") from error
    return demo
