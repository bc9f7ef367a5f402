"""How the page looks and is read aloud: its theme, its style, and what mends Gradio's own components from outside.

Colours have a contrast of 4.5:1 and more in light and dark, as success criterion 1.4.3 of WCAG 2.1 asks for text;
Gradio's own orange and greys have less.
"""

from __future__ import annotations

import json
from importlib import resources

import gradio as gr

from .page import spoken

CSS = (resources.files("identity_segmentation") / "data" / "look.css").read_text("utf-8")

_RED, _DARK_RED, _DARKER_RED = "#b91c1c", "#991b1b", "#7f1d1d"


def theme() -> gr.themes.Base:
    """Gradio's default look in colours that can be read, with fonts of this machine."""
    both = {
        "button_primary_background_fill": "*primary_600", "button_primary_background_fill_hover": "*primary_700",
        "button_primary_border_color": "*primary_600", "button_primary_border_color_hover": "*primary_700",
        "button_cancel_background_fill": _RED, "button_cancel_background_fill_hover": _DARK_RED,
    }  # fmt: skip
    light = {
        "body_text_color_subdued": "*neutral_600", "input_placeholder_color": "*neutral_500",
        "block_label_text_color": "*neutral_600", "color_accent": "*primary_600", "link_text_color": "*primary_700",
        "link_text_color_visited": "*primary_700", "input_border_color_focus": "*primary_600",
        "checkbox_border_color": "*neutral_500",
    }  # fmt: skip
    dark = {
        "body_text_color_subdued_dark": "*neutral_400", "input_placeholder_color_dark": "*neutral_400",
        "link_text_color_dark": "*primary_300", "link_text_color_visited_dark": "*primary_300",
        "input_border_color_focus_dark": "*primary_400", "checkbox_border_color_dark": "*neutral_400",
        "button_cancel_background_fill_hover_dark": _DARKER_RED,
    }  # fmt: skip
    base = gr.themes.Default(primary_hue="indigo", secondary_hue="indigo", neutral_hue="zinc")
    return base.set(**both, **{f"{key}_dark": value for key, value in both.items() if f"{key}_dark" not in dark},
                    **light, **dark)  # fmt: skip


def head() -> str:
    """What goes into the page's head: the script that gives names and roles to what Gradio leaves without, in the
    visitor's language."""
    script = (resources.files("identity_segmentation") / "data" / "access.js").read_text("utf-8")
    words = json.dumps(spoken("access"), ensure_ascii=False).replace("<", "\\u003c")
    return f"<script>\n{script.replace('/* WORDS */ {}', words)}</script>"
