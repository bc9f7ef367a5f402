"""The people on file as a wall of faces: photos are dropped on a face; names, mistakes and doubles are put right.
(Tab People.)"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from ..errors import Cancelled, GalleryError, IdentitySegmentationError, ImageError, InputError
from ..files import shown_path
from ..images import read_image
from ..people import thumbnails
from ..people.check import check, remarks
from ..people.editing import move_photos, remove_photos, tell_apart, unite
from ..people.gallery import Gallery, exists, open_gallery
from ..people.measure import measure
from ..people.person import checked_colour, normal_name
from ..people.photos import Photo
from ..types import USED_VERDICTS, BuildReport, PhotoVerdict
from .jobs import UNFINISHED, Work
from .page import ENGINE, PHOTO_FILES, PRIVATE, Page, People, Words, safely, served, shown_image, widget
from .speech import said

_GALLERY_FILE = re.compile(r"CURRENT|gen-\d{6,}\.(json|safetensors)")
_UPLOAD = "wall-"  # how the wall's own uploads are called: they alone are deleted once they were looked at
_SAID = ("thin", "weak", "astray")  # kinds of remarks that ask for something to be done
_PAGE = 40  # photos of a person that are shown at a time
_ASKED = 200  # people up to whom look-alikes are looked for at every change: 0.5 s
_MOST_PAIRS = 6
_MOST_FILES = 2000  # of one addition


class PeopleTab:
    """The callbacks over the gallery.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page
        self._lock = threading.RLock()  # two quick clicks are one after the other, and not a locked gallery

    # ---- what is seen

    def _gallery(self) -> Gallery | None:
        try:
            return self.page.pipeline.gallery
        except GalleryError:
            return None

    def wall(self, opened: str | None = None, at: int = 0, **more: Any) -> dict[str, Any]:
        """What the wall shows.

        Args:
            opened: id of the person whose photos are shown as well.
            at: the first of them.
            more: said beside it.
        """
        gallery, files, wrong = None, self.page.face_files, ""
        try:
            gallery = self.page.pipeline.gallery
        except GalleryError as error:
            if self.page.pipeline.gallery_folder and exists(self.page.pipeline.gallery_folder):
                wrong = said(str(error))  # somebody is on file, and cannot be shown
        people = files.of(gallery) if gallery else []
        if gallery is not self._gallery():  # somebody was deleted meanwhile
            files.keep_only(self._gallery())
        counts = {person.id: person for person in gallery.people} if gallery else {}
        return {
            "people": [
                {
                    "id": one.id, "name": one.name, "aliases": list(counts[one.id].aliases), "colour": one.colour,
                    "count": len(counts[one.id].references), "image": served(one.image),
                }
                for one in people
            ],
            "pairs": self._pairs(gallery) if gallery else [],
            "open": self._photos(gallery, opened, at) if gallery and opened else None,
            **({"error": wrong} if wrong else {}), **more,
        }  # fmt: skip

    def _photos(self, gallery: Gallery, opened: str, at: int) -> dict[str, Any] | None:
        """The photos of a person, a page of them; None if they are no longer on file."""
        index = next((i for i, person in enumerate(gallery.people) if person.id == opened), None)
        if index is None:
            return None
        person, likes = gallery.people[index], self._likes(gallery)
        at = max(0, min(at, (len(person.references) - 1) // _PAGE * _PAGE)) if person.references else 0
        first = int(np.searchsorted(gallery.owners, index))
        return {
            "id": person.id, "at": at, "each": _PAGE, "total": len(person.references),
            "photos": [
                {
                    "key": one.sha256, "name": Path(one.source).name, "like": likes.get(first + at + row),
                    "image": served(self.page.face_files.file(one.thumbnail)),
                }
                for row, one in enumerate(person.references[at : at + _PAGE])
            ],
        }  # fmt: skip

    def _likes(self, gallery: Gallery) -> dict[int, str]:
        """Row of a reference -> whom it looks like rather than the one it is filed under."""
        if not 1 < len(gallery) <= _ASKED:
            return {}
        engine = self.page.pipeline.face_engine
        found = measure(gallery, engine.threshold, engine.margin).astray
        return {one.reference: gallery.people[one.person].name for one in found}

    def _pairs(self, gallery: Gallery) -> list[dict[str, Any]]:
        """Look-alikes of whom nobody has said that they are two: ids, and the similarity."""
        if not 1 < len(gallery) <= _ASKED:
            return []
        engine = self.page.pipeline.face_engine
        found = [
            pair
            for pair in measure(gallery, engine.threshold, engine.margin).pairs
            if not gallery.are_apart(pair.first, pair.second)
        ]
        return [
            {
                "first": gallery.people[pair.first].id, "second": gallery.people[pair.second].id,
                "similarity": round(pair.similarity, 2),
            }
            for pair in sorted(found, key=lambda pair: -pair.similarity)[:_MOST_PAIRS]
        ]  # fmt: skip

    # ---- photos are added

    def add(self, name: str | None, photos: str | list[str] | None, keep_outliers: bool = False) -> list[list[str]]:
        """Put photos of one person on file: a verdict on each, and what is to be said of the person.

        Args:
            name: who it is.
            photos: paths.
            keep_outliers: use photos that look like somebody else's as well.
        """
        if not name or not name.strip():
            raise InputError("say who it is first")
        if not photos:
            raise InputError("give at least one photo")
        with self._lock:
            self.page.pipeline.add_person(name, [photos] if isinstance(photos, str) else photos, keep_outliers)
        return _report_rows(self.page.pipeline.gallery.report)

    def start_adding(self, session: str, asked: dict[str, Any]) -> str:
        """Look at dropped photos, and put them on file, as a job of the page; its id.

        Args:
            session: who asks.
            asked: who it is ("id" of somebody on file, or "name"), "files" ("path" of the upload, "name" of the photo),
                and "keep", to use photos that look like somebody else's as well.

        Raises:
            InputError: no name, no photo, or a file that was not uploaded here.
        """
        gallery = self._gallery()
        known = next((p for p in gallery.people if p.id == asked.get("id")), None) if gallery else None
        if asked.get("id") and known is None:
            raise InputError("that person is no longer on file")
        name = known.name if known else normal_name(str(asked.get("name") or ""))
        files = [(self._uploaded(one), str(one.get("name") or "photo")) for one in _dicts(asked.get("files"))]
        if not 0 < len(files) <= _MOST_FILES:
            raise InputError(f"expected 1 to {_MOST_FILES:,} photos, got {len(files):,}")
        keep = bool(asked.get("keep"))

        def work(step: Work) -> dict[str, Any]:
            return self._adding(step, name, known.id if known else None, files, keep)

        return self.page.jobs.start(session, "people", f"{name} · {len(files)}", work, {"person": known and known.id})

    def _uploaded(self, one: dict[str, Any]) -> Path:
        """An upload of the wall; nothing else on this machine may be read, and deleted, in its name."""
        path = Path(str(one.get("path")))
        inside = path.resolve().is_relative_to(self.page.folder.resolve())
        if not (inside and path.name.startswith(_UPLOAD) and path.is_file()):
            raise InputError(f"{one.get('name')}: the upload is no longer there; give it again")
        return path

    def _adding(
        self, step: Work, name: str, person: str | None, files: Sequence[tuple[Path, str]], keep: bool
    ) -> dict[str, Any]:
        step.stage(1, 1, "")
        pipeline = self.page.pipeline
        try:
            looked = pipeline.look_at_photos([path for path, _ in files], step.progress, step.cancel)
        finally:
            for path, _ in files:  # what was learnt of them is kept with the person, and goes with the person
                with contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()
        for photo, (path, called) in zip(looked, files, strict=False):
            photo.source = shown_path(Path(called.replace("\\", "/")).name) or "photo"
            photo.detail = photo.detail.replace(path.name, photo.source)
        if looked:
            self._put_on_file(step, name, person, looked, keep)
        if step.cancel.is_set():
            raise Cancelled(f"cancelled; {len(looked)} of {len(files)} photos were looked at, and are kept")
        return {}

    def _put_on_file(self, step: Work, name: str, person: str | None, looked: list[Photo], keep: bool) -> None:
        pipeline = self.page.pipeline
        with self._lock:
            with contextlib.suppress(GalleryError, StopIteration):  # renamed while their photos were looked at
                name = next(one.name for one in pipeline.gallery.people if one.id == person)
            notes: list[str] = []
            try:
                pipeline.add_person(name, looked, keep)
                notes = self._notes(name)
            except InputError:
                if not any(photo.verdict and photo.verdict not in USED_VERDICTS for photo in looked):
                    raise  # it is not about the photos
            step.result["report"] = {
                "name": name,
                "notes": notes,
                "photos": [
                    {
                        "name": photo.source, "verdict": photo.verdict, "detail": photo.detail,
                        "image": _kept(step.folder, number, photo.thumbnail or (photo.crops or [b""])[0]),
                    }
                    for number, photo in enumerate(looked)
                ],
            }  # fmt: skip

    def _notes(self, name: str | None = None) -> list[str]:
        """What is to be said of a person, or of everybody; whether two are one person the wall asks apart from it."""
        gallery = self.page.pipeline.gallery
        return [
            one.text
            for one in remarks(gallery, self.page.pipeline.face_engine)
            if one.kind in _SAID and (name is None or gallery.find(name).name in one.people)
        ]

    def start_rebuild(self, session: str, keep_outliers: bool = False) -> str:
        """Learn anew from the folder of photos, as a job of the page; its id.

        Args:
            session: who asks.
            keep_outliers: use photos that look like somebody else's as well.
        """
        dataset = Path(self.page.pipeline.settings.dataset)

        def work(step: Work) -> dict[str, Any]:
            step.stage(1, 1, "")

            def progress(done: int, total: int, person: str) -> None:
                if step.cancel.is_set():
                    raise Cancelled("cancelled; the people on file are as they were")
                step.progress(done, total)

            report = self.page.pipeline.build_gallery(progress=progress, keep_outliers=keep_outliers).report
            self._after_change(True)
            rows = [
                {
                    "name": f"{verdict.person}: {verdict.photo}", "verdict": verdict.verdict, "detail": verdict.detail,
                    "image": _kept(step.folder, number, self._seen(dataset, verdict)),
                }
                for number, verdict in enumerate(report.verdicts)
            ]  # fmt: skip
            return {"report": {"name": dataset.name, "notes": self._notes(), "photos": rows}}

        return self.page.jobs.start(session, "people", dataset.name, work, {})

    def _seen(self, dataset: Path, verdict: PhotoVerdict) -> bytes:
        """What is shown of a photo of the data set: the face that is used, or the photo."""
        gallery = self._gallery()
        for one in gallery.find(verdict.person).references if gallery and verdict.person in gallery else ():
            if one.source == verdict.photo and one.thumbnail:
                return one.thumbnail
        try:
            picture = read_image(dataset / verdict.photo, self.page.pipeline.settings.max_pixels)
        except ImageError:
            return b""
        return thumbnails.of_picture(picture)

    @staticmethod
    def report(job: dict[str, Any]) -> dict[str, Any] | None:
        """What is shown of a job that has ended; None if nothing came of it.

        Args:
            job: as `Jobs.get` gives it.
        """
        found = job["result"].get("report")
        if found is None:
            return None
        folder = Path(job["folder"])
        photos = [
            one | {"detail": said(one["detail"]), "image": served(_there(folder, one["image"]))}
            for one in found["photos"]
        ]
        return {**found, "photos": photos, "notes": [said(note) for note in found["notes"]], "id": job["id"]}

    # ---- people are changed

    def change(self, asked: dict[str, Any]) -> dict[str, Any]:
        """One change of the people on file; what is to be said of it: a word, and what stands in it.

        Args:
            asked: "do", the "id" of the person, and what the change takes.

        Raises:
            InputError, GalleryError: it cannot be done, in a sentence.
        """
        kinds: dict[str, Callable[[Gallery, dict[str, Any]], Gallery]] = {
            "rename": lambda g, a: g.renamed(_called(g, a["id"]), str(a.get("name", ""))),
            "aliases": lambda g, a: g.with_aliases(_called(g, a["id"]), [str(one) for one in a.get("aliases", ())]),
            "colour": lambda g, a: g.with_colour(_called(g, a["id"]), str(a.get("colour"))),
            "merge": lambda g, a: g.merged(_called(g, a["id"]), _called(g, a["other"])),
            "apart": lambda g, a: tell_apart(g, _called(g, a["id"]), _called(g, a["other"])),
            "move": _moved,
            "forget": lambda g, a: remove_photos(g, _called(g, a["id"]), _texts(a.get("photos"))),
            "delete": lambda g, a: g.without(_called(g, a["id"])),
        }
        kind = kinds.get(str(asked.get("do")))
        if kind is None or not isinstance(asked.get("id"), str):
            raise InputError("that is no change of the people on file")
        purge = True if asked["do"] == "forget" else None
        before, _ = self._edit(lambda gallery: kind(gallery, asked), purge)
        person = next(p for p in before.people if p.id == asked["id"])
        return {"word": asked["do"], "name": person.name, "folders": list(person.folders)}

    def _edit(self, change: Callable[[Gallery], Gallery], purge: bool | None = None) -> tuple[Gallery, Gallery]:
        """Change the gallery on disk and at hand; before and after."""
        with self._lock:
            before, after = Gallery.edit(self._gallery_folder(), change, purge=purge)
            self.page.pipeline.use_gallery(after)
            gone = {one.sha256 for p in before.people for one in p.references} - {
                one.sha256 for p in after.people for one in p.references
            }
            self._after_change(bool(gone))
        return before, after

    def _after_change(self, gone: bool) -> None:
        """Nothing of anybody who is gone is served any longer: neither faces nor what was said of their photos."""
        self.page.face_files.keep_only(self._gallery())
        if not gone:
            return
        for record in self.page.folder.glob("job-*/job.json"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                job = json.loads(record.read_text("utf-8"))
                if job["kind"] == "people" and job["state"] not in UNFINISHED:
                    shutil.rmtree(record.parent)

    def _gallery_folder(self) -> Path:
        folder = self.page.pipeline.gallery_folder
        if folder is None:
            raise InputError("this gallery lies in memory alone, so it cannot be changed here")
        return folder

    # ---- the whole gallery

    def check(self) -> tuple[np.ndarray, str]:
        """How well the people on file are told apart: the matrix as a picture (RGB), and the findings."""
        pipeline = self.page.pipeline
        found = check(pipeline.gallery, pipeline.face_engine, pipeline.threshold, pipeline.margin)
        return np.ascontiguousarray(found.picture()[:, :, ::-1]), found.findings()

    def export(self) -> str:
        """The gallery's current generation as a zip: a JSON manifest and a safetensors file."""
        gallery = Gallery.load(self._gallery_folder())
        copy = self.page.job()
        gallery.save(copy / "gallery")
        target = copy / "gallery.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((copy / "gallery").iterdir()):
                if file.is_file() and not file.name.endswith(".lock"):
                    archive.write(file, file.name)
        shutil.rmtree(copy / "gallery")
        return str(target)

    def take_in(self, path: str | None, how: str = "replace") -> list[str]:
        """Take in an exported gallery; the old generation stays on disk.

        Args:
            path: of the .zip.
            how: "merge", who is on both sides under one name is one person, or "replace".

        Returns:
            A sentence on everything that could not be taken as it was.
        """
        if not path:
            raise InputError("choose a .zip that was exported here")
        copy = self.page.job()
        try:
            _unpack(Path(path), copy)
            gallery = open_gallery(copy, self.page.pipeline.face_engine)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
        for person in gallery.people:
            checked_colour(person.colour, ())
        taken, left_out = replace(gallery, folder=None), []
        nobody = Gallery.empty(self.page.pipeline.face_engine)

        def change(current: Gallery) -> Gallery:
            if how == "replace":
                return taken
            united, found = unite(current, taken)
            left_out.extend(found)
            return united

        # The old generation stays on disk: taking in the wrong file must not cost the people on file.
        with self._lock:
            self.page.pipeline.use_gallery(Gallery.edit(self._gallery_folder(), change, nobody, purge=False)[1])
            self._after_change(how == "replace")
        return left_out


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                plain = entry.filename
                if not _GALLERY_FILE.fullmatch(plain) or entry.file_size > 2 << 30:
                    raise InputError(f"{plain!r} does not belong in an exported gallery; nothing was taken")
                (folder / plain).write_bytes(archive.read(entry))
    except zipfile.BadZipFile as error:
        raise InputError("that is not a zip file") from error


def _called(gallery: Gallery, key: Any) -> str:
    """The present name of the person of an id."""
    person = next((p for p in gallery.people if p.id == key), None)
    if person is None:
        raise InputError("that person is no longer on file; somebody else changed this")
    return person.name


def _moved(gallery: Gallery, asked: dict[str, Any]) -> Gallery:
    to = _called(gallery, asked["other"]) if asked.get("other") else str(asked.get("name") or "")
    return move_photos(gallery, _called(gallery, asked["id"]), _texts(asked.get("photos")), to)


def _texts(given: Any) -> list[str]:
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _dicts(given: Any) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []


def _kept(folder: Path, number: int, picture: bytes) -> str:
    """A picture of a report in the job's folder; its name, empty if there is none."""
    if not picture:
        return ""
    (folder / f"{number:04d}.jpg").write_bytes(picture)
    return f"{number:04d}.jpg"


def _there(folder: Path, name: str) -> Path | None:
    """A picture of a report; None if there is none, or it was swept or deleted with somebody."""
    return folder / name if name and (folder / name).exists() else None


def _report_rows(report: BuildReport) -> list[list[str]]:
    """What the page shows of an addition: a row per photo, then one for all that is said of the people."""
    return [[v.photo, v.verdict, v.detail] for v in report.verdicts] + [["", "note", note] for note in report.notes]


class _Requests:
    """What the wall's script asks, and what it is answered. Mistakes are answered too: they are said where they were
    made."""

    def __init__(self, tab: PeopleTab):
        self.tab = tab

    def _answer(self, asked: dict[str, Any], **more: Any) -> dict[str, Any]:
        opened, at = asked.get("open"), asked.get("at")
        return self.tab.wall(
            opened if isinstance(opened, str) else None, at if isinstance(at, int) else 0, n=asked.get("n"), **more
        )

    def look(self, event: gr.EventData) -> dict[str, Any]:
        return self._answer(event._data)

    def change(self, event: gr.EventData) -> dict[str, Any]:
        try:
            return self._answer(event._data, said=self.tab.change(event._data))
        except IdentitySegmentationError as error:
            return self._answer(event._data, error=said(str(error)))

    def give(self, event: gr.EventData, request: gr.Request) -> dict[str, Any]:
        try:
            job = self.tab.start_adding(request.session_hash or "", event._data)
            return self._answer(event._data, job=job, batch=event._data.get("batch"))
        except IdentitySegmentationError as error:
            return self._answer(event._data, error=said(str(error)), batch=event._data.get("batch"))

    def rebuild(self, keep: bool, request: gr.Request) -> None:
        self.tab.start_rebuild(request.session_hash or "", keep)

    def take_in(self, path: str | None, how: str) -> tuple[dict[str, Any], None]:
        more = [said(sentence) for sentence in self.tab.take_in(path, how)]
        return self.tab.wall(said={"word": "imported", "more": more}), None

    def ended(self, session: str, job: dict[str, Any]) -> dict[str, Any]:
        failed = said(job["said"]) if job["state"] in ("failed", "cancelled") else ""
        return self.tab.wall(report=self.tab.report(job), error=failed, job=job["id"])


def build(
    tab: PeopleTab, words: Words, people: People, demo: gr.Blocks, lists: Sequence[gr.Dropdown],
    stranger: tuple[gr.Button, list, gr.Dataframe],
) -> None:  # fmt: skip
    """Lay out the tab People, and keep every list of people on the page up to date.

    Args:
        lists: the other tabs' lists of people.
        stranger: the button of another tab that puts somebody on file, its inputs, and where the verdict is shown.
    """
    page, do = tab.page, _Requests(tab)
    with gr.Tab(words("tab_people"), id="people"):
        wall = widget("wall", "people_wall", value=tab.wall(), accept=_accepted(), prefix=_UPLOAD)
        with gr.Accordion(words("whole_gallery"), open=False, elem_id="people_whole"), gr.Row():
            with gr.Column():
                outliers = gr.Checkbox(label=words("keep_outliers"), elem_id="people_outliers")
                rebuild = gr.Button(words("rebuild"), elem_id="people_rebuild")
            with gr.Column():
                export = gr.Button(words("export"), elem_id="people_export")
                exported = gr.File(label=words("export"), interactive=False, elem_id="people_exported")
            with gr.Column():
                archive = gr.File(label=words("import"), file_types=[".zip"], elem_id="people_archive")
                how = gr.Radio(
                    [(words("import_merge"), "merge"), (words("import_replace"), "replace")], value="merge",
                    label=words("import_how"), elem_id="people_import_how",
                )  # fmt: skip
                take = gr.Button(words("do_import"), elem_id="people_import")
        with gr.Accordion(words("check"), open=False, elem_id="people_checking"):
            checking = gr.Button(words("check"), elem_id="people_check")
            with gr.Row():
                matrix = shown_image(words("matrix"), "people_matrix")
                checked = gr.Textbox(label=words("checked"), lines=12, interactive=False, elem_id="people_checked")

        others = list(lists)

        def refreshed() -> tuple[Any, ...]:
            now = page.people()
            return tuple(gr.update(choices=now) for _ in lists)

        def everything() -> tuple[Any, ...]:
            return (*refreshed(), tab.wall())

        def ended(session: str, job: dict[str, Any]) -> tuple[Any, ...]:
            return (do.ended(session, job), *refreshed())

        def after(event: Any) -> None:
            event.then(refreshed, None, others, queue=False, **PRIVATE)

        quick = {**PRIVATE, "queue": False, "show_progress": "hidden", "trigger_mode": "multiple"}
        keep, given, verdict = stranger
        wall.look(safely(do.look), None, wall, **quick)
        after(wall.alter(safely(do.change), None, wall, **quick))
        wall.give(safely(do.give), None, wall, **quick)
        page.opener("people", "people", ended, [wall, *others])
        keep.click(safely(tab.add), given, [verdict], **ENGINE, **PRIVATE).then(
            everything, None, [*others, wall], **PRIVATE
        )
        started = "() => { document.dispatchEvent(new CustomEvent('idseg-jobs')) }"
        rebuild.click(safely(do.rebuild), outliers, None, **PRIVATE).then(None, None, None, js=started)
        checking.click(safely(tab.check), None, [matrix, checked], **ENGINE, **PRIVATE)
        export.click(safely(tab.export), None, [exported], **ENGINE, **PRIVATE)
        after(take.click(safely(do.take_in), [archive, how], [wall, archive], **ENGINE, **PRIVATE))
        demo.load(everything, None, [*others, wall], **PRIVATE)


def _accepted() -> str:
    """What a file chooser offers: pictures, and suffixes that systems do not know as pictures."""
    return ",".join("image/*" if one == "image" else one for one in PHOTO_FILES)
