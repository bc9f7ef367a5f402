"""The demo's people on a page of their own, below /demo: their own gallery, their own results, nobody else's faces.

It is made when it is first asked for, so that it costs nothing until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from ..demo import write_clip, write_example
from ..errors import GalleryMismatch, IdentitySegmentationError
from ..images import read_image, shrink_to, write_image
from ..pipeline import IdentityAwareSegmentation
from .guard import Receive, Scope, Send
from .login import let_in
from .page import Page, spoken

logger = logging.getLogger(__name__)

PATH = "/demo"
_SIDE = 960  # pixels of the pictures to click on: they are shown before anybody asks for them
_QUALITY = 85


def people_of_demo(home: Path, pipeline: IdentityAwareSegmentation) -> tuple[IdentityAwareSegmentation, Path]:
    """The demo's people in a gallery of their own, with the engines of another pipeline.

    Args:
        home: folder that the demo's photos, pictures, gallery and results are kept in; not one that is served.
        pipeline: whose engines and settings are used. Its gallery and data set are not touched.

    Returns:
        (the demo's pipeline, folder of pictures to click on).

    Raises:
        IdentitySegmentationError: the demo's pictures are not on this machine, or cannot be written.
    """
    dataset, pictures = home / "Dataset", home / "Pictures"
    if not (dataset / "members.toml").is_file():
        write_example(home)
    if not (pictures / "clip.mp4").is_file():
        for path in sorted((home / "Input").glob("*.jpg")):
            write_image(pictures / path.name, shrink_to(read_image(path), _SIDE)[0], _QUALITY)
        write_clip(pictures, read_image(sorted((home / "Input").glob("*.jpg"))[0]))
    settings = replace(pipeline.settings, dataset=str(dataset), output=str(home / "outputs"), analyses="")
    engine = "".join(c if c.isalnum() else "-" for c in pipeline.face_engine.id)
    for gallery in (home / "gallery", home / f"gallery-{engine}"):
        people = IdentityAwareSegmentation(
            pipeline.face_engine, pipeline.segmenter, gallery, settings=replace(settings, gallery=str(gallery))
        )
        try:
            people.build_gallery(dataset)
            break
        except GalleryMismatch:  # learnt with another engine, at an earlier time
            continue
    return people, pictures


class Example:
    """An ASGI application: the demo's page, once it is made, and until then a word on that.

    Args:
        home: see `people_of_demo`.
        page: the page of the user's own people, whose engines are used, and within whose folder results are served.
        mounted: Gradio's application around a page: page -> ASGI application.
    """

    def __init__(self, home: Path, page: Page, mounted: Callable[[Page], Any]):
        self._home, self._page, self._mounted = home, page, mounted
        self._app: Any = None
        self._error: str | None = None
        self._task: asyncio.Task | None = None
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None:
            await self._app(scope, receive, send)
            return
        if self._task is None:
            self._error, self._task = None, asyncio.create_task(self._run())
        if self._error:
            self._task = None  # the next look tries again
        await _say(scope, send, self._error)

    async def _run(self) -> None:
        try:
            app = await asyncio.to_thread(self._make)
        except IdentitySegmentationError as error:
            self._error = str(error)
            return
        except Exception:
            logger.exception("the demo's page could not be made")
            self._error = "the log of the server says more"
            return
        async with app.router.lifespan_context(app):
            self._app = app
            await self._closing.wait()

    def _make(self) -> Any:
        people, pictures = people_of_demo(self._home, self._page.pipeline)
        return self._mounted(Page(people, self._page.folder / "demo", pictures, shows_demo=True))

    async def close(self) -> None:
        """Stop serving it."""
        self._closing.set()
        if self._task is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._task), 2)


async def _say(scope: Scope, send: Send, error: str | None) -> None:
    """The page that is seen while the demo's people are made: it asks again by itself."""
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    words = spoken("first")
    mine = words[_language(headers.get("accept-language", ""), words)]
    template = resources.files("identity_segmentation").joinpath("data/making.html").read_text("utf-8")
    body = (
        template.replace("{again}", "" if error else '<meta http-equiv="refresh" content="1">')
        .replace("{back}", html.escape(mine["back"]))
        .replace("{title}", html.escape(mine["demo"]))
        .replace("{said}", html.escape(mine["failed" if error else "making"]))
        .replace("{error}", html.escape(error or ""))
        .encode()
    )
    answer = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 503 if error else 200, "headers": answer})
    await send({"type": "http.response.body", "body": body})


def _language(accepted: str, known: Iterable[str]) -> str:
    """The first language of an `Accept-Language` header that the page speaks."""
    asked = [part.partition(";")[0].strip().partition("-")[0].lower() for part in accepted.split(",")]
    return next((language for language in asked if language in known), "en")


class Beside:
    """An ASGI application: one page below `PATH`, the other everywhere else; both behind the same password.

    Args:
        app: Gradio's application of the user's own page.
        inner: what answers for it.
        example: the demo's page.
    """

    def __init__(self, app: Any, inner: Any, example: Example):
        self._app, self._inner, self._example = app, inner, example

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{PATH}/"):
            await self._inner(scope, receive, send)
        elif not let_in(self._app, scope):
            await _answer_json(send, 401, {"error": "Not authenticated"})
        elif scope["path"] == PATH:
            await _answer_json(send, 307, {}, f"{scope.get('root_path', '')}{PATH}/")
        else:
            await self._example(scope, receive, send)


async def _answer_json(send: Send, status: int, content: dict, location: str | None = None) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if location is not None:
        headers.append((b"location", location.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
