"""Serve the page: on this machine alone, unless told otherwise, and then with a password."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
from fastapi import FastAPI

from ..errors import EngineUnavailable, InputError
from ..pipeline import IdentityAwareSegmentation
from . import look
from .example import PATH, Beside, Example
from .gate import Gate
from .guard import LOOPBACK, Guard, Hosts
from .login import Login
from .page import Page
from .site import build
from .smaller import Smaller


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
    demo: str | os.PathLike | None = None,
    **options: Any,
) -> gr.Blocks:
    """Serve the page over a pipeline until the server ends; options as in `launch`.

    Args:
        folder: of results; default ".web" in the settings' output folder.
        examples: folder of pictures to click on.
        demo: folder for the demo's people, who have a page of their own at /demo; None = no such page.
    """
    folder = Path(folder or Path(pipeline.settings.output) / ".web")
    page = Page(pipeline, folder, Path(examples) if examples else None, Path(demo) if demo else None)
    return launch(page, block=True, **options)


def launch(
    page: Page,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    no_auth: bool = False,
    max_upload: str = "2gb",
    block: bool = False,
    allow_hosts: Sequence[str] = (),
) -> gr.Blocks:
    """Serve a page; returns its Gradio blocks (`local_url` is its address, `close()` ends it).

    Args:
        host: whom to listen to; the default is this machine alone.
        share: make a public address through Gradio's servers.
        auth: (user, password); demanded where others could reach the page.
        no_auth: do without, on purpose.
        max_upload: largest upload.
        block: stay until the server ends.
        allow_hosts: further names that the page answers to: a reverse proxy's, or this machine's in its network.

    Raises:
        InputError: reachable by others without a password.
        EngineUnavailable: the port is taken.
    """
    _check_exposed(host, share, auth, no_auth)
    # Uploads and what is served; nothing outside can be fetched.
    os.environ["GRADIO_TEMP_DIR"] = str(page.folder.absolute())
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    gate, hosts = Gate(*auth) if auth else None, Hosts(host, allow_hosts)

    def prepared(shown: Page) -> gr.Blocks:
        threading.Thread(target=_sweep_hourly, args=(weakref.ref(shown),), daemon=True, name="sweep").start()
        return build(shown).queue(max_size=32, default_concurrency_limit=4)

    def mounted(shown: Page) -> FastAPI:
        blocks = prepared(shown)
        return gr.mount_gradio_app(
            FastAPI(docs_url=None, redoc_url=None, openapi_url=None), blocks, PATH, i18n=blocks.translations,
            max_file_size=max_upload, allowed_paths=[], run_history=False, enable_monitoring=False, ssr_mode=False,
            mcp_server=False, show_error=True, css=look.CSS, theme=look.theme(), head=_script() + look.head(),
            footer_links=[],
        )  # fmt: skip

    demo = prepared(page)
    try:
        demo.launch(
            server_name=host, server_port=port, share=share, auth=gate, i18n=demo.translations,
            max_file_size=max_upload, allowed_paths=[], run_history=False, enable_monitoring=False, ssr_mode=False,
            mcp_server=False, show_error=True, css=look.CSS, theme=look.theme(), head=_script() + look.head(),
            prevent_thread_lock=True, quiet=not block, footer_links=[],
            app_kwargs={"lifespan": _guarded(page, hosts, gate, mounted)},
        )  # fmt: skip
    except (OSError, OverflowError) as error:
        raise EngineUnavailable(f"port {port} cannot be used ({error}); choose another with --port") from error
    except ValueError as error:
        raise InputError(f"the page cannot be served so: {error}") from error
    hosts.shared = urlsplit(demo.share_url).hostname if demo.share_url else None
    if block:
        demo.block_thread()
    return demo


def _check_exposed(host: str, share: bool, auth: tuple[str, str] | None, no_auth: bool) -> None:
    """Refuse to let others in by oversight; warn where it is meant."""
    if not share and host in LOOPBACK:
        return
    if auth is None and not no_auth:
        raise InputError(
            f"{'a shared address' if share else f'listening on {host}'} lets others reach this page, with the faces on "
            "file and every photo given to it. Give a user and a password (--user NAME, the password in "
            "IDSEG_UI_PASSWORD; in the notebook UI_AUTH), or say --no-auth if that is what you want"
        )
    print(
        "warning: this page can be reached by others. Faces are biometric data: whoever gets in sees and changes "
        f"the people on file{'' if auth else ', and there is no password'}.",
        file=sys.stderr,
    )


def _guarded(page: Page, hosts: Hosts, gate: Gate | None, mounted: Callable[[Page], FastAPI]) -> Callable[[Any], Any]:
    """A lifespan that puts the guard, the way in and the demo around Gradio's application before its first request.

    It is not one of Gradio's `middleware`: that would come after Gradio's own, which answers some requests itself.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        example = Example(page.demo, page, mounted) if page.demo is not None else None
        pages = app.middleware_stack if example is None else Beside(app, app.middleware_stack, example)
        app.middleware_stack = Guard(Smaller(Login(app, pages)), hosts, gate)
        try:
            yield
        finally:
            if example is not None:
                await example.close()

    return lifespan
