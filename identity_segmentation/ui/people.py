"""The people on file: added, edited, deleted, rebuilt, exported, taken in. (Tab People.)"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np

from ..errors import GalleryError, InputError
from ..people.check import check
from ..people.gallery import Gallery, open_gallery
from ..types import BuildReport
from .page import ENGINE, PHOTO_FILES, PRIVATE, Page, People, Words, safely, shown_image, verdict_table

_GALLERY_FILE = re.compile(r"CURRENT|gen-\d{6,}\.(json|safetensors)")


class PeopleTab:
    """The callbacks over the gallery.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page

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
        self.page.pipeline.add_person(name, [photos] if isinstance(photos, str) else photos, keep_outliers)
        return _report_rows(self.page.pipeline.gallery.report)

    def table(self) -> list[list]:
        """Everyone on file: name, aliases, photos, colour."""
        try:
            return [
                [p.name, ", ".join(p.aliases), len(p.references), p.colour] for p in self.page.pipeline.gallery.people
            ]
        except GalleryError:
            return []

    def edit(self, name: str | None, aliases: str | None, colour: str | None) -> None:
        """Set a person's aliases and colour.

        Args:
            name: display name.
            aliases: other names, with commas between them.
            colour: as a colour picker gives it; empty = as it is.
        """
        names = [a.strip() for a in (aliases or "").split(",") if a.strip()]

        def change(gallery: Gallery, name: str) -> Gallery:
            changed = gallery.with_aliases(name, names)
            return changed.with_colour(name, hex_colour(colour)) if colour else changed

        self._change(name, change)

    def delete(self, name: str | None, sure: bool) -> None:
        """Delete a person: embeddings, hashes, and every older generation that holds them."""
        if not sure:
            raise InputError("tick the box that says so first; deleting cannot be undone")
        self._change(name, Gallery.without)

    def _change(self, name: str | None, change: Callable[[Gallery, str], Gallery]) -> None:
        if not name:
            raise InputError("choose a person first")
        changed = Gallery.edit(self._gallery_folder(), lambda gallery: change(gallery, name))[1]
        self.page.pipeline.use_gallery(changed)

    def _gallery_folder(self) -> Path:
        folder = self.page.pipeline.gallery_folder
        if folder is None:
            raise InputError("this gallery lies in memory alone, so it cannot be changed here")
        return folder

    def rebuild(self, keep_outliers: bool = False) -> list[list[str]]:
        """Learn anew from the folder of photos: what is to be said of the people, and a verdict on each photo."""
        return _report_rows(self.page.pipeline.build_gallery(keep_outliers=keep_outliers).report)

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

    def take_in(self, path: str | None) -> int:
        """Replace the gallery by an exported one; the old generation stays on disk. Returns the number of people."""
        if not path:
            raise InputError("choose a .zip that was exported here")
        copy = self.page.job()
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():
                    plain = entry.filename
                    if not _GALLERY_FILE.fullmatch(plain) or entry.file_size > 2 << 30:
                        raise InputError(f"{plain!r} does not belong in an exported gallery; nothing was taken")
                    (copy / plain).write_bytes(archive.read(entry))
        except zipfile.BadZipFile as error:
            raise InputError("that is not a zip file") from error
        gallery = open_gallery(copy, self.page.pipeline.face_engine)
        taken = replace(gallery, folder=None)
        # The old generation stays on disk: taking in the wrong file must not cost the people on file.
        self.page.pipeline.use_gallery(Gallery.edit(self._gallery_folder(), lambda _: taken, taken, purge=False)[1])
        shutil.rmtree(copy, ignore_errors=True)
        return len(gallery)


def _report_rows(report: BuildReport) -> list[list[str]]:
    """What the page shows of a build or an addition: a row per photo, then one for all that is said of the people."""
    return [[v.photo, v.verdict, v.detail] for v in report.verdicts] + [["", "note", note] for note in report.notes]


def hex_colour(colour: str) -> str:
    """What a colour picker gives ("#RRGGBB", "rgb(r, g, b)", "rgba(...)") as "#RRGGBB"."""
    text = colour.strip()
    if text.startswith("#"):
        return text[:7]
    numbers = [round(float(v)) for v in text[text.index("(") + 1 : text.index(")")].split(",")[:3]]
    return "#" + "".join(f"{min(255, max(0, v)):02x}" for v in numbers)


def build(
    tab: PeopleTab, words: Words, people: People, demo: gr.Blocks, lists: Sequence[gr.Dropdown],
    stranger: tuple[gr.Button, list, gr.Dataframe],
) -> None:  # fmt: skip
    """Lay out the tab People, and keep every list of people on the page up to date.

    Args:
        lists: the other tabs' lists of people.
        stranger: the button of another tab that puts somebody on file, its inputs, and where the verdict is shown.
    """
    page = tab.page
    with gr.Tab(words("tab_people"), id="people"):
        table = gr.Dataframe(
            tab.table(), headers=["name", "aliases", "photos", "colour"],
            datatype=["str", "str", "number", "str"], label=words("on_file"), interactive=False,
            elem_id="people_table",
        )  # fmt: skip
        with gr.Row():
            with gr.Column():
                name = gr.Textbox(label=words("person_name"), elem_id="people_name")
                photos = gr.File(
                    label=words("photos"), file_count="multiple", file_types=PHOTO_FILES, elem_id="people_photos"
                )
                add = gr.Button(words("add"), variant="primary", elem_id="people_add")
                verdicts = verdict_table(words, "people_verdicts")
            with gr.Column():
                person = gr.Dropdown(people, value=None, label=words("person"), elem_id="people_person")
                aliases = gr.Textbox(label=words("aliases"), elem_id="people_aliases")
                colour = gr.ColorPicker(label=words("colour"), elem_id="people_colour")
                save = gr.Button(words("save"), elem_id="people_save")
                sure = gr.Checkbox(label=words("sure"), elem_id="people_sure")
                delete = gr.Button(words("delete"), variant="stop", elem_id="people_delete")
            with gr.Column():
                outliers = gr.Checkbox(label=words("keep_outliers"), elem_id="people_outliers")
                rebuild = gr.Button(words("rebuild"), elem_id="people_rebuild")
                export = gr.Button(words("export"), elem_id="people_export")
                exported = gr.File(label=words("export"), interactive=False, elem_id="people_exported")
                archive = gr.File(label=words("import"), file_types=[".zip"], elem_id="people_archive")
                take = gr.Button(words("do_import"), elem_id="people_import")

        with gr.Row():
            checking = gr.Button(words("check"), elem_id="people_check")
        with gr.Row():
            matrix = shown_image(words("matrix"), "people_matrix")
            checked = gr.Textbox(label=words("checked"), lines=12, interactive=False, elem_id="people_checked")

        every = [*lists, person, table]

        def refreshed():
            now = page.people()
            same = [gr.update(choices=now) for _ in range(len(lists) + 1)]
            return (*same, tab.table())

        def chosen_person(name):
            found = next((row for row in tab.table() if row[0] == name), None)
            return (found[1], found[3]) if found else ("", None)

        def after(event):
            event.then(refreshed, None, every, **PRIVATE)

        keep, given, verdict = stranger
        person.change(chosen_person, person, [aliases, colour], **PRIVATE)
        after(add.click(safely(tab.add), [name, photos, outliers], [verdicts], **ENGINE, **PRIVATE))
        after(keep.click(safely(tab.add), given, [verdict], **ENGINE, **PRIVATE))
        after(save.click(safely(tab.edit), [person, aliases, colour], None, **ENGINE, **PRIVATE))
        after(delete.click(safely(tab.delete), [person, sure], None, **ENGINE, **PRIVATE))
        after(rebuild.click(safely(tab.rebuild), [outliers], [verdicts], **ENGINE, **PRIVATE))
        checking.click(safely(tab.check), None, [matrix, checked], **ENGINE, **PRIVATE)
        export.click(safely(tab.export), None, [exported], **ENGINE, **PRIVATE)
        after(take.click(safely(tab.take_in), [archive], None, **ENGINE, **PRIVATE))
        demo.load(refreshed, None, every, **PRIVATE)
