"""Many photos at once: one job of the server, a row a photo, and everything in one zip."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import IdentitySegmentationError, InputError
from ..files import read_json, safe_filename, unused_name, write_json
from ..images import read_image, shrink_to, write_image
from ..results import segment_to_files
from . import speech
from .jobs import UNFINISHED, Work
from .page import PHOTO_FILES, PRIVATE, Page, People, Words, safely, served, widget
from .stage import cut_short

KIND = "photos"  # of the jobs
_MOST = 500  # photos of one batch
_THUMB_SIDE = 240  # pixels
_SENT = ("cutout", "mask")  # what a zip has of a person


class Batch:
    """The callbacks over many photos.

    Args:
        page: the pipeline, the jobs, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page

    def start(
        self, session: str, files: Sequence[str] | None, names: Sequence[str] | None, threshold: float | None = 0,
        fine: bool = False,
    ) -> dict:  # fmt: skip
        """Begin: people cut out of every photo.

        Args:
            session: of the open page.
            files: paths of 1 to 500 uploads.
            names: display names or aliases, one or several.
            threshold: least similarity for a name; 0 = the engine's.
            fine: take the time for fine edges.

        Returns:
            The value of the widget "batch".
        """
        photos = [str(f) for f in files or ()]
        if not 1 <= len(photos) <= _MOST:
            raise InputError(f"give 1 to {_MOST} photos first; got {len(photos)}")
        if not names:
            raise InputError("choose a member first, or several")
        people = list(dict.fromkeys(self.page.pipeline.gallery.find(name).name for name in names))
        title = f"{', '.join(people)} · {Path(photos[0]).name}" + (f" + {len(photos) - 1}" if photos[1:] else "")

        def work(step: Work) -> dict:
            return self.work(step, photos, people, threshold, fine)

        job = self.page.jobs.start(session, KIND, title, work, {"people": people, "photos": len(photos)})
        return self.value(session, job)

    def work(
        self, step: Work, photos: Sequence[str], people: Sequence[str], threshold: float | None, fine: bool
    ) -> dict:
        """The job itself; what was finished stays if it is cancelled.

        Args:
            step: folder, cancel and progress.
            photos: paths.
            people: display names.
            threshold: least similarity for a name; 0 = the engine's.
            fine: take the time for fine edges.
        """
        pipeline = self.page.asked(threshold, "fine" if fine else "fast")
        rows: list[dict] = []
        taken: set[str] = set()
        step.stage(1, 1, "")
        step.progress(0, len(photos))
        for number, path in enumerate(photos, 1):
            if step.cancel.is_set():
                break
            folder = step.folder / unused_name(cut_short(Path(path).stem), taken)
            rows.append(self._row(Path(path).name, folder, lambda p=path, f=folder: segment_to_files(
                pipeline, p, f, people, single=fine)))  # fmt: skip
            write_json(step.folder / "rows.json", {"rows": rows})
            step.progress(number, len(photos))
        stopped = len(rows) < len(photos)
        packed = self._packed(step.folder, rows)
        found = sum(any(p["files"] for p in row["people"]) for row in rows)
        return {"said": f"{found} / {len(rows)}", "zip": None if packed is None else packed.name, "stopped": stopped}

    @staticmethod
    def _row(name: str, folder: Path, segment: Any) -> dict:
        """What came of one photo: {"name", "thumb", "said", "people": [{"name", "code", "similarity", "files"}]}."""
        try:
            records = segment()
        except IdentitySegmentationError as error:  # one photo that cannot be read must not end the others
            return {"name": name, "thumb": None, "said": str(error), "people": []}
        shown = next((r["files"]["overlay"] for r in records if "overlay" in r["files"]), None)
        shown = shown or records[0]["files"]["annotated"]
        thumb = write_image(folder / "thumb.jpg", shrink_to(read_image(shown), _THUMB_SIDE)[0])
        people = [
            {
                "name": r["person"], "code": r["status"], "similarity": r["similarity"], "said": r["message"],
                "files": {kind: r["files"][kind] for kind in _SENT if kind in r["files"]},
            }
            for r in records
        ]  # fmt: skip
        return {"name": name, "thumb": str(thumb), "said": "", "people": people}

    @staticmethod
    def _packed(folder: Path, rows: Sequence[dict]) -> Path | None:
        """Everything that was cut out as one zip: PHOTO_PERSON_cutout.png, and what became of every photo as JSON."""
        if not any(p["files"] for row in rows for p in row["people"]):
            return None
        taken: set[str] = {"photos.json"}
        kept = []
        target = folder / "cutouts.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # pictures are packed already
            for row in rows:
                listed = []
                for person in row["people"]:
                    stem = f"{cut_short(Path(row['name']).stem)}_{cut_short(person['name'])}"
                    names = {}
                    for kind, file in person["files"].items():
                        names[kind] = unused_name(f"{stem}_{kind}", taken) + Path(file).suffix
                        archive.write(file, names[kind])
                    listed.append(person | {"files": names})
                kept.append({"photo": row["name"], "said": row["said"], "people": listed})
            archive.writestr("photos.json", json.dumps(kept, ensure_ascii=False, indent=1))
        return target

    def value(self, session: str, job: str) -> dict:
        """How far a batch is, for the widget.

        Args:
            session: whose it is.
            job: its id.
        """
        return self.shown(session, self.page.jobs.get(session, job))

    def shown(self, session: str, record: dict[str, Any]) -> dict:
        """A batch, finished or not, as the widget shows it; see `page.Opener`.

        Args:
            session: whose it is.
            record: of the job.
        """
        folder = Path(record["folder"])
        rows = [
            {
                "name": row["name"], "said": speech.said(row["said"]), "thumb": served(row["thumb"]),
                "people": [
                    {
                        "name": p["name"], "code": p["code"], "similarity": p["similarity"],
                        "cutout": served(p["files"].get("cutout")),
                        "file": f"{cut_short(Path(row['name']).stem)}_{cut_short(p['name'])}_cutout.png",
                    }
                    for p in row["people"]
                ],
            }
            for row in read_json(folder / "rows.json").get("rows", ())
        ]  # fmt: skip
        packed = record["result"].get("zip")
        return {
            "version": time.time_ns() // 1000, "id": record["id"], "title": record["title"],
            "state": "cancelled" if record["result"].get("stopped") else record["state"],
            "said": speech.said(record["said"]),
            "live": record["state"] in UNFINISHED, "done": len(rows), "total": record["asked"].get("photos", 0),
            "rows": rows, "zip": served(folder / packed) if packed else None,
            "file": safe_filename(f"{Path(record['title'].partition(' + ')[0]).stem}") + ".zip",
        }  # fmt: skip


def build(batch: Batch, words: Words, people: People, bar: gr.Slider) -> gr.Dropdown:
    """Lay out the part for many photos; returns its list of people.

    Args:
        batch: the callbacks.
        words: key of a text -> the text.
        people: everyone on file.
        bar: the least similarity for a name.
    """
    page = batch.page
    with gr.Accordion(words("batch_title"), open=False, elem_id="batch") as part, gr.Row():
        with gr.Column(scale=1, min_width=280):
            photos = gr.File(
                label=words("batch_photos"), file_count="multiple", file_types=PHOTO_FILES, elem_id="batch_photos",
                height=160,
            )  # fmt: skip
            names = gr.Dropdown(people, value=[], multiselect=True, label=words("batch_people"), elem_id="batch_people")
            fine = gr.Checkbox(False, label=words("fine"), info=words("fine_info"), elem_id="batch_fine")
            go = gr.Button(words("batch_go"), variant="primary", elem_id="batch_go")
        with gr.Column(scale=3, min_width=300):
            shown = widget("batch", "batch_shown")
    quick = {**PRIVATE, "queue": False, "show_progress": "hidden"}

    def start(files, who, level, edges, request: gr.Request):
        return batch.start(request.session_hash or "", files, who, level, edges)

    def poll(request: gr.Request, event: gr.EventData):
        return batch.value(request.session_hash or "", str(event._data.get("id")))

    def cancel(request: gr.Request, event: gr.EventData):
        page.jobs.cancel(request.session_hash or "", str(event._data.get("id")))
        return batch.value(request.session_hash or "", str(event._data.get("id")))

    go.click(safely(start), [photos, names, bar, fine], shown, **quick)
    shown.poll(safely(poll), None, shown, **quick)
    shown.cancel(safely(cancel), None, shown, **quick)
    page.opener(KIND, "segment", lambda who, job: [gr.update(open=True), batch.shown(who, job)], [part, shown])
    return names
