"""What the Video tab's jobs do: look at a video once, make any number of renders of it, hand over its files.

Each function here takes what was asked for (JSON) and the job at work, and returns what is kept of it (JSON).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import Cancelled, GalleryError, IdentitySegmentationError, InputError
from ..files import safe_filename, shown_path
from ..pipeline import IdentityAwareSegmentation
from ..types import USED_VERDICTS
from ..video.analysis import Analysis, file_sha256, read_analysis
from ..video.cast import write_photos
from ..video.covering import COVERING
from ..video.excerpt import best_part, cut_preview
from ..video.handoff import HandOff, checked_format, export
from ..video.overview import Crop, crops_over_time
from ..video.partial import bring_back, finished_part, work_of
from ..video.programs import fitted
from ..video.render import RenderSettings, VideoReport
from ..video.views import PER_PERSON
from .jobs import Work
from .page import Page, minutes

Asked = dict[str, Any]
Told = Callable[[int, int], None]
CROPS = ".crops"  # beside the analyses: a folder of pictures for each


def settings_of(asked: Asked) -> RenderSettings:
    """How to render what was asked for.

    Args:
        asked: of a job.
    """
    one_each = bool(asked.get("per_person")) and asked["view"] in PER_PERSON and len(asked["members"]) > 1
    return RenderSettings(
        asked["view"], way=asked.get("way") or "blur", masks=bool(asked.get("masks")), per_person=one_each
    )


def called(asked: Asked) -> str:
    """What files made of a video are called: after it, the people and the view.

    Args:
        asked: of a job.
    """
    people = asked["members"] if asked["view"] != "anonymise" else []
    more = [f"+{len(people) - 3}"] if len(people) > 3 else []
    stem = shown_path(Path(asked["source"]).stem)
    return safe_filename("_".join([stem, *people[:3], *more, asked["view"]]))


class _Stages:
    """The stages of a job, known in advance, and how far it is in them.

    Args:
        step: the job at work.
        names: of the stages, in order.
    """

    def __init__(self, step: Work, names: Sequence[str]):
        self.step, self.names = step, list(names)
        self.name, self.done, self.total = "", 0, 0

    def begin(self, name: str) -> None:
        self.name, self.done, self.total = name, 0, 0
        self.step.stage(self.names.index(name) + 1, len(self.names), name)

    def telling(self, name: str) -> Told:
        """A function that says how far a stage is."""
        self.begin(name)
        return self.tell

    def tell(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self.step.progress(done, total or None)

    def of_video(self, stage: str, done: int, total: int) -> None:
        """What `process_video` says of its stages."""
        name = {"analyse": "doing_look", "look for heads": "doing_heads", "render": "doing_masks"}[stage]
        if name in self.names:
            if name != self.name:
                self.begin(name)
            self.tell(done, total)


class Making:
    """The work behind the Video tab.

    Args:
        page: the pipeline, and the folder for what is served.
    """

    def __init__(self, page: Page):
        self.page = page

    @property
    def people(self) -> IdentityAwareSegmentation:
        """The pipeline; with nobody on file where there is no gallery yet."""
        return self.page.pipeline.knowing_somebody()

    def known(self, source: str, sampling: int) -> Analysis | None:
        """The analysis of a video, where it was looked at with the people on file now.

        Args:
            source: the video.
            sampling: every n-th frame was looked at.
        """
        people = self.people
        try:
            found = read_analysis(people.analysis_of(source, sampling, self.page.analyses))
            people.track_names(found)
        except (InputError, GalleryError):
            return None
        return found

    def crops(
        self, found: Analysis, source: str, progress: Told | None = None, step: Work | None = None
    ) -> dict[int, tuple[Crop, ...]]:
        """Pictures of every track over time; made once.

        Args:
            found: the analysis.
            source: the video.
            progress: called with (frames read, frames in all).
            step: the job at work.
        """
        folder = self.page.analyses / f"{found.path.name.partition('.')[0]}{CROPS}"
        return crops_over_time(found, source, folder, progress, None if step is None else step.cancel)

    # ---- look

    def look(self, asked: Asked, step: Work) -> dict:
        """Look at a video: who is where and when, with pictures of everybody.

        Args:
            asked: {"source", "sampling"}.
            step: the job at work.
        """
        found = self._looked(asked, step, _Stages(step, ["doing_look", "doing_faces"]))
        return {"analysis": str(found.path), "said": "; ".join(filter(None, [found.remark, found.note]))}

    def _looked(self, asked: Asked, step: Work, stages: _Stages) -> Analysis:
        telling = stages.telling("doing_look")
        try:
            found = self.people.analyse_video(
                asked["source"], int(asked["sampling"]), self.page.analyses, progress=telling, cancel=step.cancel
            )
            step.result["analysis"] = str(found.path)
            self.crops(found, asked["source"], stages.telling("doing_faces"), step)
        except Cancelled as error:
            done = f"; {stages.done} of {stages.total} frames were looked at" if stages.name == "doing_look" else ""
            raise Cancelled(f"cancelled{done}; that is kept: ask again to go on") from error
        return found

    def enrol(self, asked: Asked, step: Work) -> dict:
        """Put somebody on file whom the video shows, and look at it again.

        Args:
            asked: {"source", "sampling", "track", "name"}.
            step: the job at work.
        """
        stages = _Stages(step, ["doing_photos", "doing_look", "doing_faces"])
        stages.begin("doing_photos")
        found = self.known(asked["source"], int(asked["sampling"]))
        if found is None:
            raise InputError("look at the video first")
        photos = write_photos(found, asked["source"], [int(asked["track"])], step.folder / "photos")
        verdicts = self.page.pipeline.add_person(asked["name"], photos)
        used = sum(verdict.verdict in USED_VERDICTS for verdict in verdicts)
        found = self._looked(asked, step, stages)
        said = f"{asked['name']} is on file, from {used} of {len(photos)} faces of this video"
        return {"analysis": str(found.path), "said": said}

    # ---- make

    def make(self, asked: Asked, step: Work) -> dict:
        """Render a video; a stopped one goes on where it stopped.

        Args:
            asked: {"source", "sampling", "members", "view"} and the rest of `settings_of`; "output" = write there.
            step: the job at work.
        """
        output = Path(asked.get("output") or step.folder / f"{called(asked)}.mp4")
        stages = _Stages(step, ["doing_look", "doing_faces", *_heads(asked), "doing_masks"])
        self._looked(asked, step, stages)
        return self._rendered(asked, asked["source"], output, settings_of(asked), step, stages)

    def preview(self, asked: Asked, step: Work) -> dict:
        """Render ten seconds: those with most of the people asked for, or, before the video was looked at, the first.

        Args:
            asked: as for `make`.
            step: the job at work.
        """
        found = self.known(asked["source"], int(asked["sampling"]))
        looks = [] if found else ["doing_look"]
        stages = _Stages(step, ["doing_cut", *looks, *_heads(asked), "doing_masks"])
        part = None if found is None else best_part(found, self.people.track_names(found), asked["members"])
        cut = cut_preview(
            asked["source"], step.folder / ".preview.mp4", found, part, stages.telling("doing_cut"), step.cancel
        )
        output = step.folder / f"{called(asked)}_preview.mp4"
        made = self._rendered(asked, str(cut.path), output, settings_of(asked), step, stages)
        made["preview"] = [round(cut.from_s, 3), round(cut.to_s, 3)]
        made["analysis"] = None if found is None else str(found.path)
        span = f"{minutes(cut.from_s)} - {minutes(cut.to_s)}"
        made["said"] = f"{span}{'' if found else ' (the video was not looked at yet)'}: {made['said']}"
        return made

    def _rendered(
        self, asked: Asked, source: str, output: Path, settings: RenderSettings, step: Work, stages: _Stages
    ) -> dict:
        mark = step.folder / f".unfinished-{self._question(asked, source, output)}"
        for other in self.page.folder.glob(f"job-*/{mark.name}"):
            if other.parent not in self.page.jobs.running() and not work_of(output).exists():
                bring_back(output, work_of(other.parent / output.name))
        mark.touch()
        try:
            report = self.page.pipeline.process_video(
                source, output, asked["members"] or "all", int(asked["sampling"]), settings,
                progress=stages.of_video, cancel=step.cancel, analyses=self.page.analyses,
            )  # fmt: skip
        except Cancelled as error:
            raise Cancelled(self._kept(output, source, step)) from error
        mark.unlink(missing_ok=True)
        videos = [path for kind, path in report.files.items() if kind.startswith("video of ")]
        masks = [report.files["masks"]] if "masks" in report.files else []
        return {
            "analysis": report.files["analysis"], "video": report.files["video"], "said": said_of(report),
            "files": [*(videos or [report.files["video"]]), *masks], "frames": report.frames, "asked": asked,
        }  # fmt: skip

    def _question(self, asked: Asked, source: str, output: Path) -> str:
        said = [file_sha256(Path(source)), output.name, {k: v for k, v in asked.items() if k not in ("source", "do")}]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:24]

    def _kept(self, output: Path, source: str, step: Work) -> str:
        """What is said of a render that was stopped; its finished part is put beside it."""
        target = output.with_name(f"{output.stem}_first_part{output.suffix}")
        try:
            part = finished_part(output, Path(source), target)
        except IdentitySegmentationError:
            part = None
        if part is None:
            return "cancelled; what was looked at is kept: ask again to go on"
        step.result.update(files=[str(part.path)], video=str(part.path), partial=part.seconds)
        return f"cancelled; the first {minutes(part.seconds)} is finished and kept: ask again to go on after it"

    # ---- hand over

    def take(self, asked: Asked, step: Work) -> dict:
        """The file that a program takes.

        Args:
            asked: as for `make`, with "program", one of `programs.PROGRAMS`.
            step: the job at work.
        """
        stages = _Stages(step, ["doing_look", "doing_faces", *_heads(asked), "doing_masks"])
        settings = replace(settings_of(asked), masks=False)
        output, settings = fitted(asked["program"], step.folder / called(asked), settings)
        self._looked(asked, step, stages)
        made = self._rendered(asked, asked["source"], output, settings, step, stages)
        if output.suffix and len(made["files"]) == 1:
            return made
        files = [path for file in made["files"] for path in _files_in(Path(file))]
        made["files"] = [str(_zipped(step.folder / f"{called(asked)}_{asked['program']}.zip", files, output.parent))]
        return made | {"video": None}

    def export(self, asked: Asked, step: Work) -> dict:
        """Who is on screen when, as a file of another program's; a folder is given as a zip.

        Args:
            asked: {"source", "sampling", "format"}.
            step: the job at work.
        """
        kind = checked_format(asked["format"])
        stages = _Stages(step, ["doing_look", "doing_faces", "doing_export"])
        found = self._looked(asked, step, stages)
        stages.begin("doing_export")
        masks = Path(asked["masks_file"]) if asked.get("masks_file") else None
        job = HandOff(found, self.people.track_names(found), Path(asked["source"]), "", masks)
        if not job.people:
            raise InputError("nobody with a name is on screen in this video, so nothing was written")
        path = export(kind, job, step.folder)
        if path.is_dir():
            path = _zipped(path.with_name(f"{path.name}.zip"), _files_in(path), path.parent)
        return {"analysis": str(found.path), "files": [str(path)], "video": None, "said": shown_path(path.name)}


def said_of(report: VideoReport) -> str:
    """What is said of a render, in a line.

    Args:
        report: of it.
    """
    seen = "; ".join(f"{name} {seconds:.1f} s" for name, seconds in report.on_screen.items())
    said = [f"{report.frames} frames, {report.seconds:.1f} s", f"On screen: {seen}" if seen else ""]
    said += [f"{report.kind}; {report.sound}", *report.remarks, report.note]
    return " ".join(f"{sentence.rstrip('.')}." for sentence in said if sentence)


def _heads(asked: Asked) -> list[str]:
    return ["doing_heads"] if asked["view"] in COVERING else []


def _files_in(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _zipped(target: Path, files: Sequence[Path], base: Path) -> Path:
    """Files as one, not compressed again.

    Args:
        target: the new file.
        files: what goes into it.
        base: the folder that their names in it are relative to.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, str(file.relative_to(base)))
    return target
