"""The command `idseg`: one file per group of verbs; `command` puts them together."""

from .command import main

__all__ = ["main"]
