"""Who may talk to the page: requests for a name that is not ours, or from another site's page, are refused.

A page of another site runs in the browser of somebody who has this one open, and can send requests here. Three headers
that no script can forge tell it: `Host` (a name that its owner has pointed at this machine, "DNS rebinding"), `Origin`
and `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from .gate import CALLER, Gate, caller_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")  # what is listened to is every address of this machine
PAGES = ("/", "/demo", "/demo/")  # what a link on another site may open
# Notebooks show the page in a frame; they are served on this machine, or are VS Code's own.
_FRAMES = "'self' http://localhost:* http://127.0.0.1:* https://localhost:* https://127.0.0.1:* vscode-webview:"


class Hosts:
    """The names and addresses that the page answers to.

    Args:
        listening: the address that is listened to.
        allowed: further names, of a reverse proxy or of this machine in its network: "NAME" or "NAME:PORT".
    """

    def __init__(self, listening: str, allowed: Iterable[str] = ()):
        self._listening = listening.strip("[]").lower()
        self.allowed = {name.strip().lower().rstrip(".") for name in allowed}
        self.shared: str | None = None  # the name of the address that was made for sharing
        self._own = {*LOOPBACK, self._listening}
        if self._listening in EVERYWHERE:
            name = socket.gethostname().lower()
            self._own |= {name, f"{name.partition('.')[0]}.local"}

    def answers(self, host: str) -> bool:
        """Is a `Host` header one of ours? Any port will do: it may be forwarded from another.

        Where every address is listened to, so is every `Host` that is a number: rebinding takes a name.
        """
        name = _name(host)
        if name in self._own or name == self.shared or self.explicitly(host):
            return True
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return False
        return number.is_loopback or self._listening in EVERYWHERE

    def explicitly(self, host: str) -> bool:
        """Was this name allowed by hand?"""
        return _name(host) in self.allowed or host.lower() in self.allowed

    def own_origin(self, origin: str, host: str) -> bool:
        """Is an `Origin` header our own page's, in a request to a host?"""
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        asked = _name(host)
        return _plain(parts.netloc, parts.scheme) == _plain(host, parts.scheme) or (
            # A proxy may ask for us by another name than its visitors ask for it.
            (self.explicitly(parts.netloc) or _name(parts.netloc) == self.shared is not None)
            and (asked in LOOPBACK or asked == self._listening or self.explicitly(host) or asked == self.shared)
        )

    def frames(self) -> str:
        """The pages that may show ours in a frame, as a Content-Security-Policy."""
        named = " ".join(f"http://{n} https://{n}" for n in (self._any_port(n) for n in sorted(self.allowed)))
        return f"frame-ancestors {_FRAMES} {named}".strip()

    @staticmethod
    def _any_port(name: str) -> str:
        return name if ":" in name else f"{name}:*"


def _name(host: str) -> str:
    """A `Host` header without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".") if host.count(":") < 2 else host


def _plain(netloc: str, scheme: str) -> str:
    """A host with its port, where that is not the scheme's own."""
    return netloc.strip().lower().removesuffix({"http": ":80", "https": ":443"}[scheme])


class Guard:
    """An ASGI application before another one, which it lets only our own pages talk to.

    Args:
        app: what is guarded.
        hosts: the names it answers to.
        gate: the password's, or None where there is none.
    """

    def __init__(self, app: App, hosts: Hosts, gate: Gate | None = None):
        self.app, self.hosts, self.gate = app, hosts, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal:
            await _answer(scope, receive, send, 403, refusal)
            return
        # Gradio would take its own address from this header, which a proxy does not set.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() != b"x-gradio-server"]}
        CALLER.set(self._caller(scope, headers))
        if self.gate and scope["type"] == "http" and await self._waits(self.gate, scope, receive, send):
            return
        await self.app(scope, receive, self._with_headers(send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        """Why a request is not answered; None if it is."""
        forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()
        for host in filter(None, [headers.get("host", "-"), forwarded]):
            if not self.hosts.answers(host):
                return (
                    f"This page is not served under the name {_name(host)!r}. If that is your own name for this "
                    f"machine, start it with: idseg ui --allow-host {_name(host)}"
                )
        host, origin = forwarded or headers["host"], headers.get("origin")
        if origin is not None and not (
            self.hosts.own_origin(origin, host) or self.hosts.own_origin(origin, headers["host"])
        ):
            return (
                f"A page of {origin!r} asked for this, and other sites' pages may not. If that is where you opened "
                "this page yourself, start it with: idseg ui --allow-host NAME"
            )
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site") and origin is None:
            opened = scope.get("method") in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
            if not (opened and scope["path"] in PAGES):
                return "Another site's page asked for this, and only its own pages may."
        return None

    def _caller(self, scope: Scope, headers: dict[str, str]) -> str:
        """Whose wrong passwords are counted together.

        That is the address at the other end of the connection. Behind it may be a proxy, and `X-Forwarded-For` is
        believed only so far: what came through this machine under another name is counted by it, apart from the owner.
        """
        address = caller_of((scope.get("client") or ("",))[0])
        name = _name(headers["host"])
        if address in LOOPBACK or address.startswith("127."):
            last = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            if name not in LOOPBACK or last:
                return f"{name} for {caller_of(last)}"
        return address

    async def _waits(self, gate: Gate, scope: Scope, receive: Receive, send: Send) -> bool:
        """Was a try at the password put off?"""
        if scope["method"] != "POST" or scope["path"].rstrip("/") != "/login":
            return False
        wait = gate.wait(CALLER.get())
        if wait:
            left = max(1, round(wait))
            more = [(b"retry-after", str(left).encode())]
            await _answer(scope, receive, send, 429, f"Too many wrong passwords. Try again in {left} s.", more)
            return True
        await asyncio.sleep(gate.slowness())
        return False

    def _with_headers(self, send: Send) -> Send:
        added = [
            (b"content-security-policy", self.hosts.frames().encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
        ]

        async def sends(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        return sends


async def _answer(
    scope: Scope, receive: Receive, send: Send, status: int, sentence: str, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a plain sentence; a web socket is closed."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:120]})
        return
    body = f"{sentence}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"), *more,
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body})
