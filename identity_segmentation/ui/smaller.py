"""Pages are sent packed: what Gradio sends as it is, because its address has no suffix, is 1/3 of the first load."""

from __future__ import annotations

from gradio.brotli_middleware import BrotliMiddleware

from .guard import App, Receive, Scope, Send

_PACKED = ("/", "/config", "/demo/", "/demo/config")
_QUALITY = 5  # of Brotli: what a page of 300 kB takes 6 ms for


class Smaller:
    """An ASGI application that packs another one's pages; streams of events pass as they are.

    Args:
        app: whose answers are packed.
    """

    def __init__(self, app: App):
        self._app = app
        self._packing = _Pages(app, quality=_QUALITY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        packed = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in _PACKED
        await (self._packing if packed else self._app)(scope, receive, send)


class _Pages(BrotliMiddleware):
    def _is_compressible_file_type(self, scope: Scope) -> bool:
        return True
