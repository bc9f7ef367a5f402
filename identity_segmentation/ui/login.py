"""Where the password is asked for: a small page of our own, which says how long to wait after too many wrong ones."""

from __future__ import annotations

import contextlib
import json
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import Any

from .guard import PAGES, App, Receive, Scope, Send
from .page import spoken


class Login:
    """An ASGI application: to whoever has given no password yet it shows where to, in place of another's pages.

    Args:
        app: Gradio's application, which keeps who has given it.
        inner: what answers once somebody has.
    """

    def __init__(self, app: Any, inner: App):
        self._app, self._inner = app, inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in PAGES
        if not asks or let_in(self._app, scope):
            await self._inner(scope, receive, send)
            return
        page = resources.files("identity_segmentation").joinpath("data/login.html").read_text("utf-8")
        words = json.dumps(spoken("login")).replace("<", "\\u003c")
        answer = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": answer})
        await send({"type": "http.response.body", "body": page.replace("WORDS", words, 1).encode()})


def let_in(app: Any, scope: Scope) -> bool:
    """Does a request come from somebody who has given the password to Gradio's application, where it has one?"""
    if app.auth is None:
        return True
    given = b"; ".join(value for key, value in scope["headers"] if key.lower() == b"cookie").decode("latin-1")
    cookies: SimpleCookie = SimpleCookie()
    with contextlib.suppress(CookieError):
        cookies.load(given)
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies[name].value in app.tokens for name in names if name in cookies)
