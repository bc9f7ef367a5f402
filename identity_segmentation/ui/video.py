"""A video of chosen people: look at it once, say who is who on a timeline, make any number of renders. (Tab Video.)

What takes long runs as jobs of the server (`jobs`), by the functions of `making`; `opened` shows a job that has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..covers import WAYS
from ..errors import GalleryError, InputError, UnknownPerson
from ..files import shown_path
from ..video.analysis import check_sampling
from ..video.handoff import FORMATS, checked_format
from ..video.programs import PROGRAMS
from ..video.render import VIEWS
from . import audit, speech
from .jobs import Work
from .making import Asked, Making
from .page import EXAMPLES, PRIVATE, Page, Words, safely, served, widget
from .tracks import Tracks

_SAMPLING = 5
_QUICK = {**PRIVATE, "queue": False, "show_progress": "hidden"}
_NOTHING: dict[str, Any] = {"source": None}


class VideoTab:
    """The callbacks over videos.

    Args:
        page: the pipeline, the jobs, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page
        self.making = Making(page)
        self.tracks = Tracks(self.making)
        self.audit = audit.AuditPart(page, self.start)

    def faces(self) -> list[dict[str, Any]]:
        """Everybody on file, for chips: {"name", "label", "colour", "image"}."""
        known: Callable[[], list[dict[str, Any]]] | None = getattr(self.page, "faces", None)
        if known is not None:
            return [
                face | {"image": served(face["image"]) if isinstance(face.get("image"), (str, Path)) else face["image"]}
                for face in known()
            ]
        try:
            people = self.page.pipeline.gallery.people
        except GalleryError:
            return []
        labels = {name: label for label, name in self.page.people()}
        return [{"name": p.name, "label": labels[p.name], "colour": p.colour, "image": None} for p in people]

    # ---- what is asked for

    def asked(self, do: str, source: str | None, given: Mapping[str, Any], **more: Any) -> Asked:
        """What a job is asked for, checked.

        Args:
            do: "look", "make", "preview", "take", "export", "enrol".
            source: the video.
            given: what the page says: "members" and "view".
            more: sampling, way, masks, per_person, program, format, track, name.
        """
        if not source:
            raise InputError("upload a video first")
        sampling = int(more.pop("sampling", None) or _SAMPLING)
        check_sampling(sampling)
        asked: Asked = {"do": do, "source": str(source), "sampling": sampling}
        if do == "look":
            return asked
        if do == "export":
            return asked | {"format": checked_format(str(more["format"]))}
        if do == "enrol":
            name = str(more["name"] or "").strip()
            if not name:
                raise InputError("say who it is first")
            return asked | {"track": int(more["track"]), "name": name}
        view, members = str(given.get("view") or "overlay"), given.get("members") or []
        if view not in VIEWS:
            raise InputError(f"unknown view {view!r}; expected {', '.join(VIEWS)}")
        members = [] if view == "anonymise" else [self._person(str(name)) for name in members]  # that asks for nobody
        if not members and view != "anonymise":
            raise InputError("choose at least one person")
        asked |= {"members": members, "view": view, "way": str(more.pop("way", None) or WAYS[0])}
        if do == "take" and more.get("program") not in PROGRAMS:
            raise InputError(f"unknown program {more.get('program')!r}; expected {', '.join(PROGRAMS)}")
        return asked | {key: value for key, value in more.items() if value}

    def _person(self, name: str) -> str:
        try:
            return self.page.pipeline.gallery.find(name).name
        except UnknownPerson as error:
            raise InputError(str(error)) from error

    def start(self, session: str, asked: Asked) -> str:
        """Put what is asked for in the queue; the job's id.

        Args:
            session: who asks.
            asked: as `asked` gives it.
        """
        work: Callable[[Asked, Work], dict] = getattr(self.making, asked["do"])
        who = asked.get("members") or ([asked["name"]] if "name" in asked else [])
        what = asked.get("program") or asked.get("format") or asked.get("view") or ""
        title = " · ".join(filter(None, [shown_path(Path(asked["source"]).name), ", ".join(who), what]))
        return self.page.jobs.start(session, "video", title, lambda step: work(asked, step), asked)

    # ---- what is shown

    def given(self, source: str | None, sampling: float | None) -> tuple:
        """(timeline, current, files, status) when a video is given; it may have been looked at before.

        Args:
            source: the video.
            sampling: every n-th frame is looked at.
        """
        if not source:
            return {"version": 0}, _NOTHING, _files(None), ""
        every = int(sampling or _SAMPLING)
        current = {"source": str(source), "sampling": every, "asked": None}
        found = self.making.known(str(source), every)
        if found is None:
            return {"version": 0}, current, _files(None), ""
        return self.tracks.value(str(source), found.path, self.faces()), current, _files(None), ""

    def opened(self, session: str, job: Mapping[str, Any]) -> tuple:
        """(timeline, current, files, status, and what the second look shows) of a job that has ended.

        Args:
            session: who opens it.
            job: as `jobs.Jobs.get` gives it.
        """
        asked, result = job["asked"], job["result"]
        if asked["do"] == "audit":
            return (gr.skip(), gr.skip(), gr.skip(), gr.skip(), *self.audit.opened(job))
        made = asked if asked["do"] == "make" else None
        current = {
            "source": asked["source"], "sampling": asked["sampling"], "asked": made,
            "output": result.get("video") if made and job["state"] == "done" else None,
        }  # fmt: skip
        said = speech.said(str(job["said"] or result.get("said") or ""))
        files = [path for path in result.get("files", ()) if Path(path).is_file()] or None
        value: Any = gr.skip()
        if result.get("analysis") and Path(result["analysis"]).is_file() and Path(asked["source"]).is_file():
            shown = result.get("video")
            playable = shown is not None and Path(shown).suffix in (".mp4", ".webm")
            value = self.tracks.value(
                asked["source"], result["analysis"], self.faces(), result=served(shown) if playable else None,
                offset=(result.get("preview") or [0.0])[0], same=asked.get("view") != "crop", made=made is not None,
                preview=bool(result.get("preview")),
            )  # fmt: skip
        return (value, current, _files(files), said, *self.audit.closed())

    def refreshed(self, current: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """The timeline after something was said by hand; what is played stays.

        Args:
            current: what the tab shows.
            path: the analysis file.
        """
        value = self.tracks.value(str(current["source"]), path, self.faces())
        del value["result"]
        return value | {"dirty": bool(current.get("asked"))}

    def corrected(self, current: Mapping[str, Any], said: list[dict]) -> dict[str, Any]:
        """Say something by hand; the next render obeys.

        Args:
            current: what the tab shows.
            said: corrections; see `corrections.apply`.
        """
        source, sampling = _shown(current)
        for one in said:
            if one.get("name") is not None:
                one["name"] = self._person(str(one["name"]))
        return self.refreshed(current, self.tracks.say(source, sampling, said))

    def taken_back(self, current: Mapping[str, Any]) -> dict[str, Any]:
        """Take the last thing back that was said by hand.

        Args:
            current: what the tab shows.
        """
        return self.refreshed(current, self.tracks.take_back(*_shown(current)))


def _files(paths: list[str] | None) -> Any:
    """Downloads; their place is not there while there are none."""
    return gr.update(value=paths, visible=paths is not None)


def _shown(current: Mapping[str, Any] | None) -> tuple[str, int]:
    if not current or not current.get("source"):
        raise InputError("upload a video first")
    return str(current["source"]), int(current["sampling"])


class _Layout:
    """Everything that is seen on the tab."""

    def __init__(self, tab: VideoTab, words: Words):
        self.current = gr.State(_NOTHING)
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                self.source = gr.Video(label=words("video"), sources=["upload"], elem_id="video_source")
                found = tab.page.samples(".mp4")
                if found:
                    gr.Examples(found, self.source, label=EXAMPLES)
                self.ask = widget("videoask", "video_ask", value={"people": tab.faces()}, views=list(VIEWS),
                                  nobody=["anonymise"])  # fmt: skip
                with gr.Accordion(words("more"), open=False, elem_id="video_more"):
                    self.every = gr.Slider(1, 30, _SAMPLING, step=1, label=words("sampling"), elem_id="video_sampling")
                    self.way = gr.Radio(list(WAYS), value=WAYS[0], label=words("way"), elem_id="video_way")
                    self.masks = gr.Checkbox(label=words("masks"), elem_id="video_masks")
            with gr.Column(scale=2, min_width=360):
                self.status = gr.Textbox(label=words("status"), elem_id="video_status", lines=2, interactive=False)
                self.tracks = widget("tracks", "video_tracks", value={"version": 0})
                self.files = gr.File(
                    label=words("downloads"),
                    file_count="multiple",
                    interactive=False,
                    elem_id="video_files",
                    visible=False,
                )
                self.take = widget(
                    "takefile", "video_take", value={"n": ""}, programs=list(PROGRAMS), formats=list(FORMATS)
                )


class _Requests:
    """Requests of the browser -> callbacks of the tab."""

    def __init__(self, tab: VideoTab):
        self.tab = tab

    def _begun(self) -> dict[str, Any]:
        """What tells a widget that its job has begun."""
        return {"n": str(time.time_ns())}

    def _source(self, source: str | None, current: Mapping[str, Any] | None) -> str | None:
        return source or (current or {}).get("source")

    def _start(self, do: str, request: gr.Request, event: gr.EventData, source, current, **more: Any) -> None:
        asked = self.tab.asked(do, self._source(source, current), event._data, **more)
        self.tab.start(request.session_hash or "", asked)

    def looked(self, source, current, every, request: gr.Request, event: gr.EventData):
        self._start("look", request, event, source, current, sampling=every)
        return self._begun() | {"people": self.tab.faces()}

    def made(self, source, current, every, way, masks, request: gr.Request, event: gr.EventData):
        self._start("make", request, event, source, current, sampling=every, way=way, masks=masks)
        return self._begun() | {"people": self.tab.faces()}

    def previewed(self, source, current, every, way, request: gr.Request, event: gr.EventData):
        self._start("preview", request, event, source, current, sampling=every, way=way)
        return self._begun() | {"people": self.tab.faces()}

    def took(self, source, current, every, way, request: gr.Request, event: gr.EventData):
        data = event._data
        if data.get("format"):
            self._start("export", request, event, source, current, sampling=every, format=data["format"])
        else:
            self._start("take", request, event, source, current, sampling=every, way=way,
                        program=data.get("program"), per_person=bool(data.get("per_person")))  # fmt: skip
        return self._begun()

    def said(self, current, event: gr.EventData):
        return self.tab.corrected(current, list(event._data.get("said") or ()))

    def taken_back(self, current):
        return self.tab.taken_back(current)

    def frame(self, current, event: gr.EventData):
        data = event._data
        found = self.tab.tracks.frame(*_shown(current), float(data.get("t") or 0), bool(data.get("picture")))
        return {"frame": found}

    def enrolled(self, current, request: gr.Request, event: gr.EventData):
        _, sampling = _shown(current)
        data = event._data
        self._start("enrol", request, event, None, current, sampling=sampling, track=data.get("track"),
                    name=data.get("name"))  # fmt: skip
        return {"begun": self._begun()["n"]}

    def again(self, current, request: gr.Request):
        asked = (current or {}).get("asked")
        if not asked:
            raise InputError("make a video first")
        self.tab.start(request.session_hash or "", asked)
        return {"begun": self._begun()["n"]}

    def met(self):
        return {"people": self.tab.faces()}


def build(tab: VideoTab, words: Words, demo: gr.Blocks) -> gr.HTML:
    """Lay out the tab Video; returns the widget that asks whom to look for, whose value is {"people": `faces`}.

    Args:
        tab: the callbacks.
        words: key of a text -> the text.
        demo: the page's blocks.
    """
    with gr.Tab(words("tab_video"), id="video") as here:
        see, do = _Layout(tab, words), _Requests(tab)
        shown = [see.tracks, see.current, see.files, see.status]
        second = audit.build(tab.audit, words, see.current, see.take)
    where = [see.source, see.current, see.every]
    see.source.change(safely(tab.given), [see.source, see.every], shown, **_QUICK)
    see.ask.look(safely(do.looked), where, see.ask, **_QUICK)
    see.ask.make(safely(do.made), [*where, see.way, see.masks], see.ask, **_QUICK)
    see.ask.preview(safely(do.previewed), [*where, see.way], see.ask, **_QUICK)
    see.take.take(safely(do.took), [*where, see.way], see.take, **_QUICK)
    see.tracks.say(safely(do.said), see.current, see.tracks, **_QUICK)
    see.tracks.undo(safely(do.taken_back), see.current, see.tracks, **_QUICK)
    see.tracks.frame(safely(do.frame), see.current, see.tracks, **_QUICK)
    see.tracks.enrol(safely(do.enrolled), see.current, see.tracks, **_QUICK)
    see.tracks.again(safely(do.again), see.current, see.tracks, **_QUICK)
    here.select(do.met, None, see.ask, **_QUICK)
    demo.load(do.met, None, see.ask, **_QUICK)
    tab.page.opener("video", "video", tab.opened, [*shown, *second])
    return see.ask
