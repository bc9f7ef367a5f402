"""The web page: one file per tab; `page` is what they share, `site` lays them out, `serving` lets people in."""

from .page import Page, texts
from .serving import Gate, launch, serve
from .site import build

__all__ = ["Gate", "Page", "build", "launch", "serve", "texts"]
