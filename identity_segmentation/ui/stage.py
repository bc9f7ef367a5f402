"""The photo under the visitor's hand, as the widget "photo" shows it: who is in it, who was cut out, what was clicked.

Nothing of it needs the server's memory: the widget says which photo it means, by the name of a job folder, and what is
kept at hand only saves looking again. A result lies in a job folder of its own for a day.
"""

from __future__ import annotations

import functools
import html
import json
import logging
import re
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from .. import drawing
from ..errors import GalleryError, IdentitySegmentationError, InputError
from ..files import read_json, safe_filename, unused_name, write_json
from ..geometry import mask_extent
from ..images import shrink_to, write_image
from ..picking import ClickAt, Picking
from ..types import Segment, Sighting, Status
from . import speech
from .page import Page, served

logger = logging.getLogger(__name__)

_AT_HAND = 3  # photos that are kept looked at; others are looked at again
_SHOWN_SIDE, _FACE_SIDE, _THUMB_SIDE = 1600, 320, 160  # pixels, of what is shown
_PART = 80  # bytes of a file name that a photo's, or a person's, name may take
_JOB = re.compile(r"job-[0-9a-f]{32}")


@dataclass(frozen=True)
class Looked:
    """A photo that was looked at.

    Attributes:
        job: name of its folder in the page's folder.
        path: the upload.
        threshold: least similarity for a name; 0 = the engine's.
        picking: everybody in it.
    """

    job: str
    path: str
    threshold: float
    picking: Picking

    @property
    def name(self) -> str:
        """The photo's name without its suffix."""
        return Path(self.path).stem


@dataclass(frozen=True)
class Asked:
    """What is to be cut out of a photo: a person by their place, a thing of theirs, or what a phrase says.

    Attributes:
        who: place among the sightings; None for a phrase.
        thing: of that person's; empty for the whole person.
        phrase: in one line; empty where `who` is given.
        fine: take the time for fine edges.
        clicks: what was added and taken away by hand.
    """

    who: int | None = None
    thing: str = ""
    phrase: str = ""
    fine: bool = True
    clicks: tuple[ClickAt, ...] = ()

    @classmethod
    def of(cls, said: dict, fine: bool) -> Asked:
        """What the widget says.

        Args:
            said: "who", "thing", "phrase", "clicks": [[x, y, add], ...].
            fine: take the time for fine edges.

        Raises:
            InputError: it is nothing that the widget would say.
        """
        try:
            clicks = tuple((float(x), float(y), bool(adds)) for x, y, adds in said.get("clicks") or ())
            who = said.get("who")
            return cls(
                None if who is None else int(who), str(said.get("thing") or ""), str(said.get("phrase") or ""),
                bool(fine), clicks,
            )  # fmt: skip
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError("that is no request of this page; load it again") from error


class Stage:
    """Looks at photos and cuts out of them; every answer is a value of the widget "photo".

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page
        self._at_hand: dict[str, Looked] = {}
        self._lock = threading.RLock()

    # ---- looking

    def look(self, path: str | None, threshold: float | None = 0) -> dict:
        """Everybody in a photo.

        Args:
            path: the upload; None = an empty stage.
            threshold: least similarity for a name; 0 = the engine's.
        """
        return self.seen(self.looked(path, threshold)) if path else self._value(job=None)

    def again(self, job: str, threshold: float | None = None) -> dict:
        """A photo looked at anew, as after somebody was put on file.

        Args:
            job: the photo's.
            threshold: least similarity for a name; None = as before.
        """
        looked = self.of(job)
        if threshold is not None and threshold != looked.threshold:
            looked = self.looked(looked.path, threshold)
        return self.seen(looked)

    def looked(self, path: str | None, threshold: float | None = 0) -> Looked:
        """A photo as it was looked at; only once, while it is at hand.

        Args:
            path: the upload.
            threshold: least similarity for a name; 0 = the engine's.
        """
        level = float(threshold or 0)
        with self._lock:
            for known in self._at_hand.values():
                if (known.path, known.threshold) == (path, level) and self._current(known):
                    return known
            image = self.page.picture(path)
            folder = self.page.job()
            write_json(folder / "look.json", {"path": path, "threshold": level})
            return self._kept(Looked(folder.name, str(path), level, Picking(self.page.asked(level), image)))

    def of(self, job: str) -> Looked:
        """The photo of a job.

        Raises:
            InputError: there is no such job, or it was swept.
        """
        with self._lock:
            known = self._at_hand.get(job)
            if known is not None and self._current(known):
                return known
            said = read_json(self._folder(job) / "look.json")
            if not said:
                raise InputError("that photo is not here any more; give it again")
            picking = Picking(self.page.asked(said["threshold"]), self.page.picture(said["path"]))
            for old in self._folder(job).glob("*_annotated.jpg"):  # by the names of before
                old.unlink(missing_ok=True)
            return self._kept(Looked(job, said["path"], said["threshold"], picking))

    def _current(self, looked: Looked) -> bool:
        """Were the people on file the same when it was looked at?"""
        try:
            return looked.picking.gallery is self.page.pipeline.gallery
        except GalleryError:
            return not len(looked.picking.gallery)

    def _kept(self, looked: Looked) -> Looked:
        self._at_hand.pop(looked.job, None)
        self._at_hand[looked.job] = looked  # the last used is the last
        while len(self._at_hand) > _AT_HAND:
            self._at_hand.pop(next(iter(self._at_hand)))
        return looked

    def _folder(self, job: Any) -> Path:
        folder = self.page.folder / str(job)
        if not _JOB.fullmatch(str(job)) or not folder.is_dir():
            raise InputError("that photo is not here any more; give it again")
        return folder

    # ---- what the widget shows

    def seen(self, looked: Looked) -> dict:
        """The photo with everybody in it, nobody chosen."""
        return self._value(code="looked", **self._photo(looked))

    def _photo(self, looked: Looked) -> dict:
        folder, image = self._folder(looked.job), looked.picking.image
        shown, annotated = folder / "shown.jpg", folder / f"{cut_short(looked.name)}_annotated.jpg"
        if not shown.exists():
            write_image(shown, shrink_to(image, _SHOWN_SIDE)[0])
        if not annotated.exists():
            write_image(annotated, drawing.annotate(image, looked.picking.sightings, self.page.pipeline.colour_of))
        return {
            "job": looked.job,
            "photo": {
                "name": Path(looked.path).name, "stem": cut_short(looked.name), "width": image.shape[1],
                "height": image.shape[0], "image": served(shown), "annotated": _download("annotated", annotated),
            },
            "people": [self._person(place, s) for place, s in enumerate(looked.picking.sightings)],
        }  # fmt: skip

    def _person(self, place: int, sighting: Sighting) -> dict:
        match, body = sighting.match, sighting.body
        return {
            "who": place, "name": sighting.name, "colour": self._colour(sighting.name),
            "face": None if match is None else _numbers(match.face.box),
            "body": None if body is None else _numbers(body),
            "similarity": None if match is None else round(match.similarity, 2),
            "basis": "none" if match is None else match.basis,
            "nearest": None if match is None or match.name else match.nearest,
        }  # fmt: skip

    def _colour(self, name: str | None) -> str:
        return "#969696" if name is None else self.page.pipeline.gallery.find(name).colour

    @staticmethod
    def _value(**what: Any) -> dict:
        """A value of the widget; the later one has the larger version."""
        return {"version": time.time_ns() // 1000, **what}

    @staticmethod
    def refused(error: Exception) -> dict:
        """What the widget shows of a request that could not be served: what it showed, and why."""
        return Stage._value(code="error", said=speech.told(error))

    # ---- cutting out

    def named(self, looked: Looked, name: str | None, fine: bool = True) -> dict:
        """A person by name; where they are not in the photo, why, and the face that comes nearest.

        Args:
            looked: the photo.
            name: display name or alias.
            fine: take the time for fine edges.
        """
        if not name:
            raise InputError("choose a member first")
        place = looked.picking.place_of(name)
        if place is not None:
            return self.cut(looked, Asked(place, fine=fine))
        status = looked.picking.missing(name)
        return self._value(
            code=status.code, said=status.message, name=self.page.pipeline.gallery.find(name).name, result=None,
            near=self._near(looked, name), **self._photo(looked),
        )  # fmt: skip

    def cut(self, looked: Looked, asked: Asked) -> dict:
        """Somebody, or something, cut out of a photo.

        Args:
            looked: the photo.
            asked: what.
        """
        segment, status = self._drawn(looked, asked)
        value = {
            "code": status.code,
            "said": speech.said(status.message),
            "asked": _as_json(asked),
            **self._photo(looked),
        }
        match = None if asked.who is None else looked.picking.sightings[asked.who].match
        if match is not None and not asked.thing:
            if status.code == "unsure" and match.name:
                value["near"] = self._near(looked, match.name, asked.who)
            elif match.name is None and match.nearest:
                value["near"] = self._near(looked, match.nearest, asked.who)
        if not segment.area:
            return self._value(**value, result=None)
        return self._finished(looked, asked, segment, value)

    def _drawn(self, looked: Looked, asked: Asked) -> tuple[Segment, Status]:
        picking = looked.picking
        if asked.who is None:
            segment, status = picking.phrase(asked.phrase)
        elif asked.thing:
            segment, status = picking.thing(asked.who, asked.thing)
        else:
            segment = picking.person(asked.who, None if asked.fine else "fast")
            status = picking.status(asked.who, segment)
        return (picking.clicked(segment, asked.clicks) if segment.area else segment), status

    def _finished(self, looked: Looked, asked: Asked, segment: Segment, value: dict) -> dict:
        """Write the pictures of a result, and what brings it back."""
        picking, folder, who = looked.picking, self.page.job(), self._who(looked, asked)
        seen = [replace(s, segment=segment if i == asked.who else None) for i, s in enumerate(picking.sightings)]
        mine = [Sighting(None, segment, None, "none")] if asked.who is None else [seen[asked.who]]
        image, colours = picking.image, self.page.pipeline.colour_of
        cutout = drawing.cutout(image, segment)
        pictures = {
            "cutout": ("png", cutout), "overlay": ("jpg", drawing.overlay(image, mine, colours)),
            "annotated": ("jpg", drawing.annotate(image, seen if asked.who is not None else mine, colours)),
            "mask": ("png", segment.mask),
        }  # fmt: skip
        stem = f"{cut_short(looked.name)}_{who}"
        with ThreadPoolExecutor() as pool:  # encoding runs beside itself
            written = pool.map(lambda part: write_image(folder / f"{stem}_{part[0]}.{part[1][0]}", part[1][1]),
                               pictures.items())  # fmt: skip
            files = dict(zip(pictures, written, strict=True))
        x0, y0, x1, y1 = mask_extent(segment.mask)
        thumb = write_image(folder / "thumb.png", shrink_to(cutout[y0:y1, x0:x1], _THUMB_SIDE)[0])
        value |= {
            "result": {
                "id": folder.name, "stem": stem, "label": self._label(looked, asked),
                "cutout": served(files["cutout"]), "thumb": served(thumb), "area": segment.area,
                "files": [_download(kind, file) for kind, file in files.items()],
            }
        }  # fmt: skip
        write_json(folder / "result.json", value | {"job": looked.job})
        return self._value(**value)

    @staticmethod
    def _label(looked: Looked, asked: Asked) -> dict:
        """Whom or what a result shows, for the widget to say in the visitor's language."""
        name = None if asked.who is None else looked.picking.sightings[asked.who].name
        return {"name": name, "number": None if asked.who is None else asked.who + 1,
                "thing": asked.thing, "phrase": asked.phrase}  # fmt: skip

    def _who(self, looked: Looked, asked: Asked) -> str:
        label = self._label(looked, asked)
        who = asked.phrase if asked.who is None else label["name"] or f"person-{label['number']}"
        return cut_short(who) + (f"_{cut_short(asked.thing)}" if asked.thing else "")

    # ---- the nearest face

    def _near(self, looked: Looked, name: str, place: int | None = None) -> dict | None:
        """The nearest face beside what it is compared with; None where there is no face."""
        found = looked.picking.nearest(name, place)
        if found is None:
            return None
        face = self.face(looked, found.place)
        reference = self._reference(found.person)
        return {
            "who": found.place, "person": found.person, "face": served(face), "similarity": round(found.similarity, 2),
            "needed": round(found.needed, 2), "lead": round(found.lead, 2), "least_lead": round(found.least_lead, 2),
            "rival": found.rival, "given": found.given, "colour": self._colour(found.person), "reference": reference,
        }  # fmt: skip

    def face(self, looked: Looked, place: int) -> Path:
        """A face of the photo as a file, to be shown or put on file.

        Args:
            looked: the photo.
            place: whose.

        Raises:
            InputError: nobody's face is at that place.
        """
        seen = looked.picking.sightings
        match = seen[place].match if 0 <= place < len(seen) else None
        if match is None:
            raise InputError("the face of this person is not seen; choose somebody whose face is")
        file = self._folder(looked.job) / f"{cut_short(looked.name)}_face-{place + 1}.png"
        return file if file.exists() else write_image(file, cropped_face(looked.picking.image, match.face.box))

    def _reference(self, name: str) -> dict | None:
        """A photo of somebody on file, where there is one: those who keep such pictures are asked (`Page.faces`)."""
        faces = getattr(self.page, "faces", None)
        image = next((f.get("image") for f in faces() if f.get("name") == name), None) if faces else None
        return image if isinstance(image, dict) or image is None else served(image)

    # ---- results

    def recall(self, result: str) -> dict:
        """A result of before, as it was shown.

        Args:
            result: its id.
        """
        value = read_json(self._folder(result) / "result.json")
        if not value:
            raise InputError("that result is not here any more; results are kept for a day")
        return self._value(**{k: v for k, v in value.items() if k != "version"}, recalled=True)

    def packed(self, results: Sequence[str]) -> dict:
        """Several results in one zip, each file under its own name.

        Args:
            results: their ids.
        """
        folder, taken = self.page.job(), set[str]()
        target = folder / "cutouts.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # pictures are packed already
            for result in dict.fromkeys(map(str, results)):
                for file in read_json(self._folder(result) / "result.json").get("result", {}).get("files", ()):
                    path = self._folder(result) / Path(file["name"]).name
                    name = unused_name(path.stem, taken) + path.suffix
                    archive.write(path, name)
            if not archive.namelist():
                raise InputError("cut somebody out first")
        return self._value(code="packed", pack=_download("zip", target))


def answered(function: Callable) -> Callable:
    """What goes wrong is told on the stage, which keeps what it shows, and as a message of the page.

    Args:
        function: gives a value of the widget.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> dict:
        try:
            return function(*args, **kwargs)
        except IdentitySegmentationError as error:
            gr.Warning(html.escape(speech.told(error)))
            return Stage.refused(error)
        except Exception:
            logger.exception("the page failed in %s", function.__name__)
            return Stage.refused(InputError("something went wrong here; the log of the server has the details"))

    return run


def cropped_face(image: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray:
    """A face with some room around it, within the photo.

    Args:
        image: uint8 (H, W, 3).
        box: xyxy, in pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    side = 0.6 * max(x1 - x0, y1 - y0)
    return np.ascontiguousarray(
        image[max(0, int(y0 - side)) : max(1, int(y1 + side)), max(0, int(x0 - side)) : max(1, int(x1 + side))]
    )


def _download(kind: str, path: Path) -> dict:
    return {"kind": kind, "name": path.name, "file": served(path)}


def cut_short(name: str) -> str:
    """A name as a part of a file's name: safe anywhere, and short enough that the whole is."""
    text = safe_filename(name)
    while len(text.encode()) > _PART:
        text = text[:-1]
    return text


def _numbers(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(v), 1) for v in values]


def _as_json(asked: Asked) -> dict:
    return json.loads(json.dumps({"who": asked.who, "thing": asked.thing, "phrase": asked.phrase,
                                  "clicks": asked.clicks}))  # fmt: skip
