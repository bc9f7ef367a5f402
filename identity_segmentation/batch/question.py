"""What a job asks of every source: what to do, and how. Checked before any work; known by a hash of all that decides.

A question comes from a call, from the command line, or from a file:

    sources = ["season/", "s3://archive/2024/*.mp4"]
    do = "video"
    out = "results"

    [options]
    member = ["Wonyoung"]
    view = "cutout"
    suffix = ".mov"
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..blurring import BlurSettings
from ..errors import InputError
from ..files import shown_path
from ..video.clip_settings import ClipSettings, parse_box
from ..video.render import RenderSettings

if TYPE_CHECKING:
    from ..pipeline import IdentityAwareSegmentation

_EDGES = ("edges",)
_WORDS = {"member", "everyone_but", "keep"}  # several names; one alone need not be a list
OPTIONS: dict[str, tuple[str, ...]] = {
    "video": (
        "member", "everyone_but", "phrase", "sampling", "suffix", *_EDGES,
        *(entry.name for entry in fields(RenderSettings) if entry.name != "thing"),
    ),
    "segment": ("member", "phrase", "crop", *_EDGES),
    "clips": tuple(entry.name for entry in fields(ClipSettings)),
    "label": ("job",),
    "blur": tuple(entry.name for entry in fields(BlurSettings)),
}  # fmt: skip
_JOB_KEYS = (
    "sources", "do", "out", "executor", "workers", "threads", "gpus_per_worker", "span", "scratch", "least", "factor",
    "gallery", "options",
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """What is done with every source.

    Attributes:
        do: "video", "segment", "clips", "label" or "blur", as the commands of these names do it.
        options: of that; see `OPTIONS`. JSON.

    Raises:
        InputError: there is no such thing to do, no such option, or a value that it cannot have.
    """

    do: str
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.do not in OPTIONS:
            raise InputError(f"unknown --do {self.do!r}; expected {', '.join(OPTIONS)}{_nearest(self.do, OPTIONS)}")
        for name in self.options:
            if name not in OPTIONS[self.do]:
                near = _nearest(name, OPTIONS[self.do])
                raise InputError(f"unknown option {name!r} of {self.do}; expected {', '.join(OPTIONS[self.do])}{near}")
        cleaned = {
            name: [value] if name in _WORDS and isinstance(value, str) else value
            for name, value in sorted(self.options.items())
            if value is not None
        }
        try:
            object.__setattr__(self, "options", json.loads(json.dumps(cleaned)))
        except TypeError as error:
            raise InputError(f"expected options of text, numbers and lists of them; {error}") from error
        self._check()

    def _check(self) -> None:
        try:
            if self.do == "video":
                self.render_settings().check(Path(f"x{self.suffix}"))
                sampling = self.options.get("sampling", 5)
                if not isinstance(sampling, int) or sampling < 1:
                    raise InputError(f"expected a sampling of 1 frame or more, got {sampling!r}")
            elif self.do == "clips":
                self.clip_settings()
            elif self.do == "blur":
                self.blur_settings()
            elif self.do == "label" and not self.options.get("job"):
                raise InputError("expected the folder of a label job with marks (job=...; --job DIR)")
        except TypeError as error:  # a value of another kind
            raise InputError(f"an option of {self.do} has a value that it cannot have: {error}") from error

    @property
    def kind(self) -> str:
        """What sources are: "video" or "photo"."""
        return "video" if self.do in ("video", "clips") else "photo"

    @property
    def suffix(self) -> str:
        """Of a video's output; empty for pictures."""
        return str(self.options.get("suffix", ".mp4"))

    def render_settings(self) -> RenderSettings:
        """Of "video"."""
        known = {entry.name for entry in fields(RenderSettings)}
        given = {name: value for name, value in self.options.items() if name in known}
        if isinstance(given.get("aspect"), str):
            given["aspect"] = given["aspect"].split(":")
        if "aspect" in given:
            try:
                wide, tall = (int(v) for v in given["aspect"])
            except (TypeError, ValueError):
                raise InputError(f"expected aspect as W:H (9:16), got {self.options['aspect']!r}") from None
            given["aspect"] = (wide, tall)
        return RenderSettings(**given)

    def clip_settings(self) -> ClipSettings:
        """Of "clips"."""
        given = dict(self.options)
        if "boxes" in given:
            given["boxes"] = tuple(parse_box(b) if isinstance(b, str) else tuple(b) for b in given["boxes"])
        if isinstance(given.get("clips"), int):
            given["clips"] = str(given["clips"])
        return ClipSettings(**given)

    def blur_settings(self) -> BlurSettings:
        """Of "blur"."""
        given = dict(self.options)
        for name in ("member", "keep"):
            given[name] = tuple(given.get(name, ()))
        return BlurSettings(**given)

    @property
    def by_name(self) -> bool:
        """Are people known by name? If so, the gallery decides the answer."""
        if self.do == "video":
            return self.options.get("view") != "anonymise"
        if self.do == "segment":
            return True
        return self.do == "blur" and self.blur_settings().by_name

    def names(self) -> list[str]:
        """Everybody who is named in it."""
        return [name for word in sorted(_WORDS) for name in self.options.get(word, ()) if name != "all"]

    def asked_of(self, pipeline: IdentityAwareSegmentation, gallery: str) -> dict[str, Any]:
        """All that decides an answer but the source: what stands in ``question.json``.

        Args:
            pipeline: engines and gallery, of which as much is loaded as the question needs.
            gallery: hash of the people on file; empty if there are none.

        Raises:
            UnknownPerson: a name that nobody on file has.
            GalleryError, EngineUnavailable: what the question needs is not there.
        """
        if self.by_name and self.options.get("phrase") is None:
            _ = pipeline.gallery
        for name in self.names():
            pipeline.gallery.find(name)
        if self.options.get("phrase") is not None:
            pipeline.understood(self.options["phrase"])
        decided: dict[str, Any] = {"threshold": pipeline.threshold, "margin": pipeline.margin} if self.by_name else {}
        if self.do == "label":
            decided["marks"] = marks_digest(self.options["job"], pipeline)
        return decided | {
            "do": self.do, "options": dict(self.options), "engines": self.engines_of(pipeline), "version": __version__,
            "gallery": gallery if self.by_name else "",
        }  # fmt: skip

    def engines_of(self, pipeline: IdentityAwareSegmentation) -> list[str]:
        """The engines that answer it, by what tells them apart.

        Args:
            pipeline: they are loaded.
        """
        if self.do == "label":
            return [pipeline.segmenter.id]
        detector = pipeline.detector_or_none()
        found = [pipeline.face_engine.id, "no detector" if detector is None else detector.describe()]
        return found if self.do == "blur" and not self.options.get("body") else [*found, pipeline.segmenter.id]


def marks_digest(job: str, pipeline: IdentityAwareSegmentation) -> str:
    """What is marked in a label job, as a hash.

    Raises:
        InputError: nothing is marked there.
    """
    from ..labels.job import LabelJob

    labels = LabelJob(job, lambda: pipeline.segmenter)
    drawn = labels.book.digests()
    if not drawn:
        raise InputError(f"nothing is marked in {job}; mark some pictures: idseg label mark PICTURE --out {job}")
    return labels.cache_key(drawn)


def digest_of(asked: Mapping[str, Any]) -> str:
    """The hash of a question.

    Args:
        asked: as `Question.asked_of` makes it.
    """
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f" - did you mean {near[0]!r}?" if near else ""


def read_job(path: str | Path) -> dict[str, Any]:
    """A job's file (TOML): sources, what to do, where to, and how; see the module.

    Raises:
        InputError: it cannot be read, or has a key that there is not.
    """
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{shown_path(path)}: not a job that can be read ({error})") from error
    for name in content:
        if name not in _JOB_KEYS:
            near = _nearest(name, _JOB_KEYS)
            raise InputError(f"{shown_path(path)}: unknown {name!r}; expected {', '.join(_JOB_KEYS)}{near}")
    if isinstance(content.get("sources"), str):
        content["sources"] = [content["sources"]]
    if not isinstance(content.get("options", {}), dict):
        raise InputError(f"{shown_path(path)}: expected options as a table, [options]")
    return content
