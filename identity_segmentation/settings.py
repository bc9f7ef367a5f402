"""Every default in one place; the command line, the web page and the notebook read it.

Each field can be set by an environment variable: ``IDSEG_`` and the field's name in capitals
(``IDSEG_FACE_ENGINE=insightface``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Settings:
    """Defaults shared by all surfaces.

    Attributes:
        dataset: folder of reference photos, one folder per person.
        gallery: folder the built gallery is kept in.
        output: folder results are written to.
        analyses: folder that videos' analyses are kept in; empty = `.analyses`, beside each output.
        face_engine: "auto", "insightface", "embedded".
        segmenter: "auto", "sam3", "sam3-hf", "embedded", "sam3.1".
        detector: "auto", "embedded": finds bodies without a face, and things by their nouns.
        edges: "fine" (hair and cloth in the rim of a mask, about 0.4 s a person), "fast", or "auto": fine in a single
            picture of which one or two people are asked for.
        threshold: least similarity for a name, on the face engine's scale; None = the engine's own, raised by the
            gallery where its people look alike, and the strict one where it shows nothing (`people.rule`).
        margin: least lead over the runner-up; None = the engine's own; 0 = one plain threshold.
        insightface_models: folder that holds InsightFace packs.
        insightface_pack: a pack's name under that folder, or a folder of .onnx files.
        sam3_model: "large", "small" (a lighter text encoder, no video), or a repository of the Hugging Face hub.
        sam3_checkpoint: a local checkpoint instead: a folder for "sam3-hf", a file for the others; empty = the hub's.
        sam3_prompts: what SAM 3 is asked for a person: "people" (the word "person" for everybody at once; boxes and
            points where that does not tell two apart), "box+points" (points on their face and chest, and on other
            people's faces), or "box" alone.
        device: "auto", "cuda", "mps", "cpu", for SAM 3.
        dtype: "auto", "float32", "bfloat16", "float16", for SAM 3.
        compile: torch.compile SAM 3's vision encoder (slow first picture, faster afterwards).
        thumbnails: keep a small picture of each face with its embedding in the gallery.
        max_pixels: largest picture decoded, in pixels (a 100-megapixel photo is about 300 MB).
    """

    dataset: str = "Dataset"
    gallery: str = "gallery"
    output: str = "outputs"
    analyses: str = ""
    face_engine: str = "auto"
    segmenter: str = "auto"
    detector: str = "auto"
    edges: str = "auto"
    threshold: float | None = None
    margin: float | None = None
    insightface_models: str = "insightface_models"
    insightface_pack: str = "buffalo_l"
    sam3_model: str = "large"
    sam3_checkpoint: str = ""
    sam3_prompts: str = "people"
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    thumbnails: bool = True
    max_pixels: int = 120_000_000

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Defaults, then ``IDSEG_*`` variables, then the overrides that are not None."""
        environ = os.environ if environ is None else environ
        values = {}
        for entry in fields(cls):
            text = environ.get(f"IDSEG_{entry.name.upper()}")
            if text:
                values[entry.name] = _parse(entry.name, str(entry.type), text)
        values.update({k: v for k, v in overrides.items() if v is not None})
        return cls(**values)


def _parse(name: str, kind: str, text: str):
    try:
        if kind == "bool":
            return _switch(text)
        if kind.startswith("float"):
            return float(text)
        if kind.startswith("int"):
            return int(text)
    except ValueError as error:
        what = "1 or 0" if kind == "bool" else "a number"
        raise InputError(f"IDSEG_{name.upper()} is {text!r}; expected {what}") from error
    return text


def _switch(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]
