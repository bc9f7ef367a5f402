"""A picture and a name -> that person's pixels: the one way through. (Notebook section 5.)"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from . import drawing, engines
from .engines import head_finder_or_none
from .engines.protocols import BoxSegmenter, EdgeRefiner, FaceEngine, ObjectDetector
from .errors import EngineUnavailable, GalleryError, InputError, UnknownPerson
from .files import check_writable
from .geometry import box_mask, face_to_body_bbox, mask_box, united
from .images import read_image
from .looks import Look, render_member, status_of
from .masks.heads import HeadSearch
from .masks.humans import find_humans
from .masks.instances import every
from .masks.possession import thing_of
from .masks.segmentation import segment_by_box, segment_humans, segment_matches, sightings_of
from .people.adding import add_photos, look_at_photos
from .people.enrolment import build_embeddings_db
from .people.gallery import Gallery, open_gallery
from .people.matching import identify
from .people.person import Person
from .people.photos import Photo
from .people.rule import NamingRule
from .phrases import Phrase, known_things, parse_phrase
from .settings import Settings
from .types import Human, Match, MemberResult, PhotoVerdict, PossessionResult, Segment, Sighting, Status, as_image
from .video import store
from .video.analysing import analyse, bring_names_up_to_date, check_gallery, path_for
from .video.analysis import Analysis, check_sampling
from .video.box_following import follow_box
from .video.corrections import writing
from .video.covering import COVERING
from .video.delivery import outputs_of
from .video.files import VideoReader
from .video.headwatch import Heads, watch
from .video.looking import Lookers
from .video.naming import TrackName
from .video.render import RenderSettings, VideoReport, render

logger = logging.getLogger(__name__)

EDGES = ("auto", "fine", "fast")
_FEW = 2  # people in a single picture up to whom "auto" takes the time for fine edges


class IdentityAwareSegmentation:
    """Show it people once; then ask for them by name.

    Args:
        face_engine: "auto", a name from `engines.FACE_ENGINES`, or an engine; None = what the settings say ("auto").
        segmenter: "auto", a name from `engines.SEGMENTERS`, or an engine; None likewise.
        gallery: the gallery's folder, or a `Gallery`. A folder is read when it is first needed.
        threshold: least similarity for a name; None = the face engine's calibrated value.
        margin: least lead over the runner-up; None = the engine's.
        settings: everything else; default `Settings.from_env()`.
        detector: "auto", a name from `engines.OBJECT_DETECTORS`, or an engine; None likewise.
        edges: "fine", "fast" or "auto"; see `Settings.edges`. None likewise.
        sam3_model_size: "large" or "small", where the segmenter is SAM 3; None = what the settings say.

    Raises:
        EngineUnavailable: when an engine is first needed and cannot run; the message has the command that fixes it.
    """

    def __init__(
        self,
        face_engine: str | FaceEngine | None = None,
        segmenter: str | BoxSegmenter | None = None,
        gallery: str | os.PathLike | Gallery | None = None,
        threshold: float | None = None,
        margin: float | None = None,
        settings: Settings | None = None,
        sam3_model_size: str | None = None,
        detector: str | ObjectDetector | None = None,
        edges: str | None = None,
    ):
        self.settings = settings or Settings.from_env()
        if sam3_model_size is not None:
            self.settings = replace(self.settings, sam3_model=sam3_model_size)
        self._face_engine = face_engine or self.settings.face_engine
        self._segmenter = segmenter or self.settings.segmenter
        self._detector = detector or self.settings.detector
        self.edges = edges or self.settings.edges
        if self.edges not in EDGES:
            raise InputError(f"unknown edges {self.edges!r}; expected {', '.join(EDGES)}")
        self._gallery = gallery if gallery is not None else self.settings.gallery
        self.threshold = self.settings.threshold if threshold is None else threshold
        self.margin = self.settings.margin if margin is None else margin

    # ---- parts, made when first needed

    @cached_property
    def face_engine(self) -> FaceEngine:
        if not isinstance(self._face_engine, str):
            return self._face_engine
        return engines.face_engine(self._face_engine, self.settings)

    @cached_property
    def segmenter(self) -> BoxSegmenter:
        if not isinstance(self._segmenter, str):
            return self._segmenter
        return engines.segmenter(self._segmenter, self.settings)

    @cached_property
    def detector(self) -> ObjectDetector:
        if not isinstance(self._detector, str):
            return self._detector
        return engines.object_detector(self._detector, self.settings)

    @cached_property
    def _fine_edges(self) -> EdgeRefiner:
        return engines.fine_edges()

    @property
    def gallery(self) -> Gallery:
        """The people on file, loaded once; raises `GalleryError` if there is none."""
        if not isinstance(self._gallery, Gallery):
            self._gallery = open_gallery(self._gallery, self.face_engine)
        return self._gallery

    @property
    def gallery_folder(self) -> Path | None:
        """Where the gallery lies or will lie; None for one in memory alone."""
        return self._gallery.folder if isinstance(self._gallery, Gallery) else Path(self._gallery)

    def use_gallery(self, gallery: Gallery) -> None:
        """Go on with another state of the gallery.

        Raises:
            GalleryMismatch: it belongs to another face engine.
        """
        gallery.check_engine(self.face_engine)
        self._gallery = gallery

    @property
    def engine_ids(self) -> str:
        return f"{self.face_engine.id} + {self.segmenter.id}"

    # ---- people

    def build_gallery(
        self,
        dataset: str | os.PathLike | None = None,
        progress: Callable[[int, int, str], None] | None = None,
        keep_outliers: bool = False,
        anew: bool = False,
    ) -> Gallery:
        """Build or update the gallery from a folder of photos; see `build_embeddings_db`."""
        folder = self._gallery.folder if isinstance(self._gallery, Gallery) else self._gallery
        self._gallery = build_embeddings_db(
            dataset or self.settings.dataset, self.face_engine, folder, progress, keep_outliers, anew,
            self.settings.thumbnails,
        )  # fmt: skip
        return self._gallery

    def look_at_photos(
        self,
        photos: Sequence[str | os.PathLike],
        progress: Callable[[int, int], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Photo]:
        """The long part of `add_person`, which takes what this gives; see `adding.look_at_photos`."""
        return look_at_photos(self.face_engine, photos, progress, cancel, self.settings.thumbnails)

    def add_person(
        self, name: str, photos: Sequence[str | os.PathLike | Photo], keep_outliers: bool = False
    ) -> list[PhotoVerdict]:
        """Add a person by hand, or more photos of one; saved if the gallery has a folder. See `add_photos`."""
        folder = self._gallery.folder if isinstance(self._gallery, Gallery) else Path(self._gallery)
        engine, keep = self.face_engine, self.settings.thumbnails
        if folder is None:
            self._gallery, found = add_photos(self.gallery, engine, name, photos, keep_outliers, keep)
            return found
        # Nobody else waits for the gallery while photos are looked at.
        given = [photo for photo in photos if not isinstance(photo, Photo)]
        fresh = iter(self.look_at_photos(given))
        looked = [photo if isinstance(photo, Photo) else next(fresh) for photo in photos]
        verdicts: list[PhotoVerdict] = []

        def add(current: Gallery) -> Gallery:
            current.check_engine(engine)
            changed, found = add_photos(current, engine, name, looked, keep_outliers, keep)
            verdicts.extend(found)
            return changed

        self._gallery = Gallery.edit(folder, add, Gallery.empty(engine))[1]
        return verdicts

    # ---- pictures

    def identify(self, image_bgr: np.ndarray) -> list[Match]:
        """Every face, named or not; see `matching.identify`."""
        return identify(as_image(image_bgr), self.face_engine, self.gallery, self.threshold, self.margin)

    def humans(self, image_bgr: np.ndarray, matches: Sequence[Match]) -> list[Human]:
        """Everybody in a picture: those of the matches, in order, then those of whom only a body is seen.

        Where the detector is left to "auto" and none can run, there are only the faces.
        """
        return find_humans(image_bgr, [match.face for match in matches], self.detector_or_none())

    def detector_or_none(self) -> ObjectDetector | None:
        """The detector; None where it is left to "auto" and none can run."""
        return engines.any_detector(self.settings) if self._detector == "auto" else self.detector

    def everybody(self, image_bgr: np.ndarray) -> tuple[Sighting, ...]:
        """Everybody in a picture, with a name or without, with a face or without; no masks.

        A body without a face has no match: nobody names a back.
        """
        matches = self.identify(image_bgr)
        return tuple(sightings_of(matches, self.humans(image_bgr, matches), {}))

    def look(self, image_bgr: np.ndarray, names: Sequence[str] | None = None, single: bool = True) -> Look:
        """Identify everyone and draw the masks of `names` (display names; None = everyone with a name).

        Args:
            image_bgr: uint8 (H, W, 3).
            names: whom to draw.
            single: one picture is asked for, not a folder of them: there is time for fine edges.
        """
        matches = self.identify(image_bgr)
        humans = self.humans(image_bgr, matches)
        sightings = segment_matches(image_bgr, matches, self.segmenter, names, humans)
        return Look(image_bgr, tuple(self.with_edges(image_bgr, sightings, single)))

    def with_edges(self, image_bgr: np.ndarray, sightings: Sequence[Sighting], single: bool = True) -> list[Sighting]:
        """The sightings with fine edges where they are asked for, or there is time.

        Args:
            image_bgr: uint8 (H, W, 3).
            sightings: everybody in it; those with a segment are refined.
            single: one picture is asked for, not a folder of them.
        """
        drawn = sum(s.segment is not None for s in sightings)
        if self.edges == "fast" or not drawn or (self.edges == "auto" and not (single and drawn <= _FEW)):
            return list(sightings)
        try:
            edges = self._fine_edges
        except EngineUnavailable:
            if self.edges == "fine":
                raise
            return list(sightings)
        return [
            s
            if s.segment is None
            else replace(s, segment=edges.refine(image_bgr, s.segment, _of_others(image_bgr.shape, sightings, s)))
            for s in sightings
        ]

    def segment_by_box(self, image_bgr: np.ndarray, box: Sequence[float]) -> Segment:
        """The person in a box; see `segmentation.segment_by_box`."""
        return segment_by_box(image_bgr, box, self.segmenter, self.face_engine)

    def segment_member(
        self, image_bgr: np.ndarray, member_name: str, similarity_threshold: float | None = None
    ) -> MemberResult:
        """One person's pixels, by name or alias.

        Args:
            image_bgr: uint8 (H, W, 3).
            member_name: name or alias, in any script.
            similarity_threshold: least similarity for a name, of this call alone.

        Returns:
            ``overlay, cutout, annotated, mask, status``; a person who is not there is a status.

        Raises:
            UnknownPerson: nobody in the gallery answers to that name; the nearest names are suggested.
        """
        person = self.gallery.find(member_name)
        asked = self if similarity_threshold is None else self._with_threshold(similarity_threshold)
        look = asked.look(image_bgr, [person.name])
        return render_member(look, person.name, self.colour_of, asked.status_of(look, person.name))

    def segment_possession(
        self, image_bgr: np.ndarray, member_name: str, object_phrase: str, similarity_threshold: float | None = None
    ) -> PossessionResult:
        """A thing of one person's: "shirt", "hair", with SAM 3 any word.

        Args:
            member_name: name or alias.
            object_phrase: the thing, in English, Korean or Thai.

        Raises:
            UnknownPerson: nobody in the gallery answers to that name.
            EngineUnavailable: the segmenter does not know the word; the message has those it knows.
        """
        image_bgr = as_image(image_bgr)
        person = self.gallery.find(member_name)
        thing = parse_phrase(object_phrase, {}).thing or ""
        asked = self if similarity_threshold is None else self._with_threshold(similarity_threshold)
        matches = asked.identify(image_bgr)
        mine = next((i for i, m in enumerate(matches) if m.name == person.name), None)
        humans = self.humans(image_bgr, matches) if mine is not None else []
        drawn = segment_humans(image_bgr, humans, range(len(humans)), self.segmenter)
        sightings = tuple(Sighting(m, drawn.get(i), None, "face") for i, m in enumerate(matches))
        status = asked.status_of(Look(image_bgr, sightings), person.name)
        if mine is None:
            return self._possession(image_bgr, None, None, (), (), status)
        people = [drawn[i] for i in range(len(humans))]
        found = thing_of(image_bgr, self.segmenter, thing, people, mine, matches[mine].face, self.detector_or_none)
        messages = {
            "ok": f"{person.name}'s {thing}; {status.message}",
            "not_sure": f"{person.name} was found; what is shown may be their {thing}, but the evidence is too thin",
            "no_thing": f"{person.name} was found, but no {thing} on them",
            "not_theirs": f"{person.name} was found, and {thing} in the picture, but it is not theirs",
        }
        code = status.code if found.status == "ok" else found.status
        status = replace(status, code=code, message=messages[found.status])
        return self._possession(image_bgr, matches[mine], found.segment, [people[mine]], found.instances, status)

    def segment(self, image_bgr: np.ndarray, phrase: str) -> PossessionResult:
        """What a phrase means: "woman" (every woman), a name (that person), "Wonyoung's shirt" (that person's thing).

        Raises:
            InputError, UnknownPerson: the phrase is not understood; see `phrases.parse_phrase`.
            EngineUnavailable: the segmenter does not know the word.
        """
        image_bgr = as_image(image_bgr)
        meant = self.understood(phrase)
        if meant.person and meant.thing:
            return self.segment_possession(image_bgr, meant.person, meant.thing)
        if meant.person:
            look = self.look(image_bgr, [meant.person])
            sighting, status = look.of(meant.person), self.status_of(look, meant.person)
            person = None if sighting is None else sighting.segment
            mine = () if person is None else (person,)
            return self._possession(image_bgr, None if sighting is None else sighting.match, person, mine, mine, status)
        seen = every(image_bgr, meant.thing or "", self.segmenter, lambda: self.face_engine, self.detector_or_none)
        found = seen.segments
        alpha = united(found, image_bgr.shape[:2])
        box = mask_box(alpha > 127)
        code = "no_thing" if not found else "ok" if seen.sure else "not_sure"
        doubt = "" if seen.sure else ", but the evidence is too thin to be sure"
        status = Status(code, f"{len(found)} found: {meant.thing}{doubt}", engine=self.segmenter.id)
        whole = (
            None if box is None else Segment(alpha > 127, max(s.score for s in found), box, self.segmenter.id, alpha)
        )
        return self._possession(image_bgr, None, whole, (), found, status)

    def understood(self, phrase: str) -> Phrase:
        """A phrase parsed against the people on file (nobody, if there is no gallery)."""
        try:
            people = {p.name: p.aliases for p in self.gallery.people}
        except GalleryError:
            meant = parse_phrase(phrase, {})
            if meant.thing not in known_things():
                raise  # more likely a name than a thing
            return meant
        with contextlib.suppress(UnknownPerson, InputError):
            return Phrase(self.gallery.find(phrase).name, None)  # a whole name, however it is written
        return parse_phrase(phrase, people)

    def _possession(self, image, match, thing, person, instances, status) -> PossessionResult:
        empty = np.zeros(image.shape[:2], bool)
        sightings = [Sighting(match, thing, None, "face")] if match or thing else []
        colour_of = self.colour_of if match else None
        return PossessionResult(
            drawing.overlay(image, sightings, colour_of),
            drawing.cutout(image, thing),
            drawing.annotate(image, sightings, colour_of),
            empty if thing is None else thing.mask,
            person[0].mask if person else empty,
            tuple(s.mask for s in instances),
            status,
        )

    def segment_image(
        self,
        image_path: str | os.PathLike | np.ndarray,
        member_name: str,
        prompt_type: str = "box",
        similarity_threshold: float | None = None,
    ) -> MemberResult:
        """`segment_member` on a file (or a BGR array).

        Args:
            prompt_type: "box" finds the person by their face and segments the body expected below it; "text" takes
                the instance of the word "person" that is theirs.

        Raises:
            InputError: an unknown prompt_type, or one that no installed engine serves.
            ImageError: the file cannot be decoded.
        """
        if prompt_type not in ("box", "text"):
            raise InputError(f"expected prompt_type 'box' or 'text', got {prompt_type!r}")
        image = image_path if isinstance(image_path, np.ndarray) else read_image(image_path, self.settings.max_pixels)
        if prompt_type == "text":
            found = self.segment_possession(image, member_name, "person", similarity_threshold)
            return MemberResult(found.overlay, found.cutout, found.annotated, found.mask, found.status)
        return self.segment_member(image, member_name, similarity_threshold)

    # ---- videos

    def process_video(
        self,
        input_path: str | os.PathLike,
        output_path: str | os.PathLike,
        target_member: str | Sequence[str] = "all",
        frame_sampling: int = 5,
        settings: RenderSettings | None = None,
        *,
        everyone_but: Sequence[str] = (),
        box: Sequence[float] | None = None,
        at: float = 0.0,
        phrase: str | None = None,
        fresh: bool = False,
        overwrite: bool = False,
        analyses: str | os.PathLike = "",
        only: range | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        cancel: threading.Event | None = None,
        **look: Any,
    ) -> VideoReport:
        """A video of the people asked for, all frames of the source, its sound kept.

        Run again after a kill to go on; run again with other people or another view to render alone, without a second
        analysis. See `analysing.analyse` and `render.render`.

        Args:
            target_member: a name, several, or "all".
            frame_sampling: every n-th frame is looked at and segmented; 1 = all.
            settings: how to render: view, background, and so on; None = `RenderSettings()`.
            everyone_but: names taken out of `target_member`.
            box: xyxy pixels around one thing in the frame at `at`: follow that through its shot instead of looking
                for faces. `target_member` is then what to call it (any text; "all" = "object").
            at: seconds.
            phrase: "Wonyoung's shirt": that person's thing instead of the whole person; `target_member` is not used.
            fresh: put an earlier analysis aside, corrections by hand included.
            overwrite: write over a file at `output_path` that this did not make, too.
            analyses: folder of analyses; empty = the settings', or `.analyses` beside the output.
            only: numbers of the segments to render, for a later run to go on from; nothing is handed over.
            progress: called with ("analyse" | "look for heads" | "render", frames done, frames in all).
            cancel: set it to stop within a frame; what is finished is kept.
            look: fields of `RenderSettings` one by one, laid over `settings`: view="overlay", masks=True ...

        Raises:
            InputError, VideoError, OutputError, UnknownPerson: see there; `errors.Cancelled` if cancelled.
        """
        source, output = Path(input_path), Path(output_path)
        settings = RenderSettings.of(settings, look)
        if output.exists() and source.exists() and output.resolve() == source.resolve():
            raise InputError(f"the output {output} is the input; choose another name")
        settings.check(output)
        if phrase is not None:
            meant = self.understood(phrase)
            if meant.person is None or box is not None:
                raise InputError(f"a phrase for a video names a person ('Wonyoung's shirt') and no box; got {phrase!r}")
            target_member, settings = meant.person, replace(settings, thing=meant.thing or "")
        step = progress or (lambda stage, done, total: None)
        folder = store.folder_beside(output, analyses or self.settings.analyses)

        def looked(done: int, total: int) -> None:
            step("analyse", done, total)

        colour_of: Callable[[str], tuple[int, int, int]] = self.colour_of if box is None else _label_colour
        people = self if settings.view != "anonymise" else self.knowing_somebody()
        if settings.view == "anonymise":
            wanted: list[str] = []
        else:
            wanted = self._people(target_member, everyone_but) if box is None else [_label(target_member, everyone_but)]
        check_writable(output.parent)
        VideoReader(source).close()  # says what is wrong with it
        made = [o.path for o in outputs_of(output, source, wanted, settings.per_person)] if output.suffix else []
        store.check_free(folder, made, overwrite)
        if box is None:
            found = people.analyse_video(source, frame_sampling, folder, fresh=fresh, progress=looked, cancel=cancel)
        else:
            path = store.analysis_path(folder, source, sampling=frame_sampling, box=list(box), at=at, label=wanted[0])
            found = follow_box(
                source, box, at, wanted[0], self.segmenter, path, frame_sampling, fresh, looked, cancel
            )  # fmt: skip
        for path in dict.fromkeys([output, *made]):
            store.remember(folder, path, found.path)
        heads = None
        if settings.view in COVERING:
            heads = self._heads(source, found, settings, partial(step, "look for heads"), cancel)
        report = render(
            source, output, found, people.track_names(found), wanted, self.segmenter, colour_of, settings,
            lambda done, total: step("render", done, total), cancel, self.detector_or_none,
            self._fine_edges if self.edges == "fine" else None, overwrite, heads, only,
        )  # fmt: skip
        if only is None:
            store.delivered(folder, made)
        return replace(report, remarks=(*report.remarks, *filter(None, [found.remark])))

    def knowing_somebody(self) -> IdentityAwareSegmentation:
        """This pipeline, or, where nobody is on file, one that knows so: it covers people without knowing them."""
        try:
            return self if self.gallery.people else self._knowing(Gallery.empty(self.face_engine))
        except GalleryError:
            return self._knowing(Gallery.empty(self.face_engine))

    def _knowing(self, gallery: Gallery, threshold: float | None = None) -> IdentityAwareSegmentation:
        return IdentityAwareSegmentation(
            self.face_engine, self.segmenter, gallery, self.threshold if threshold is None else threshold, self.margin,
            self.settings, None,
            self.detector_or_none() or self._detector, self.edges,
        )  # fmt: skip

    def head_search(self) -> HeadSearch:
        """What looks for heads in a picture, to cover them."""
        return HeadSearch(self.face_engine, self.detector_or_none(), head_finder_or_none())

    def _heads(
        self, source: Path, found: Analysis, settings: RenderSettings, looked: Callable[[int, int], None],
        cancel: threading.Event | None,
    ) -> Heads:  # fmt: skip
        """Every head of a video that is to be covered; none where a thing is, or what is in a box."""
        if settings.thing or ("seed" in found.header and settings.view == "blur"):
            return Heads("none", (), 0)
        path = store.beside_analysis(found.path, ".heads.jsonl")
        return watch(source, self.head_search(), found, path, settings.margin, looked, cancel)

    def analyse_video(
        self,
        source: str | os.PathLike,
        frame_sampling: int = 5,
        folder: str | os.PathLike | None = None,
        *,
        fresh: bool = False,
        progress: Callable[[int, int], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Analysis:
        """Who is where and when in a video: looked at once, known again by the video's content, and shared by every
        output. See `analysing.analyse`.

        Args:
            source: the video.
            frame_sampling: every n-th frame is looked at; 1 = all.
            folder: of analyses; None = the settings', or `.analyses` in the folder of outputs.
            fresh: throw away an earlier analysis, corrections by hand included.
            progress: called with (frames done, frames in all or 0).
            cancel: set it to stop; what was seen is kept.

        Raises:
            InputError, VideoError, OutputError: see there; `errors.Cancelled` if cancelled.
        """
        check_sampling(frame_sampling)
        VideoReader(source).close()  # says what is wrong with it
        path = self.analysis_of(source, frame_sampling, folder)
        return analyse(source, self._lookers(), path, frame_sampling, fresh, progress, cancel)

    def analysis_of(
        self, source: str | os.PathLike, frame_sampling: int = 5, folder: str | os.PathLike | None = None
    ) -> Path:
        """Where the analysis of a video lies, or will lie.

        Args:
            source: the video.
            frame_sampling: every n-th frame is looked at.
            folder: of analyses; None = the settings', or `.analyses` in the folder of outputs.
        """
        if folder is None:
            folder = store.folder_beside(Path(self.settings.output) / "x", self.settings.analyses)
        return path_for(source, Path(folder), self._lookers(), frame_sampling)

    def _lookers(self) -> Lookers:
        detector = self.detector_or_none()
        return Lookers(self.face_engine, self.gallery, detector, None if detector is None else head_finder_or_none())

    def find_analysis(self, named: str | os.PathLike) -> Path:
        """The analysis file that somebody means by an output, by a video, or by its own path; see `store.find`."""
        beside = store.folder_beside(Path(self.settings.output) / "x")
        path = store.find(named, self.settings.analyses, beside)
        with contextlib.suppress(GalleryError):
            if path.is_file() and self.gallery.people:
                with writing(path):
                    bring_names_up_to_date(path, self.gallery)
        return path

    def _people(self, asked: str | Sequence[str], left_out: Sequence[str]) -> list[str]:
        """Display names of the people asked for, less those left out."""
        members = list(self.gallery.names) if asked == "all" else asked
        members = [members] if isinstance(members, str) else members
        out = {self.gallery.find(n).name for n in left_out}
        wanted = [n for n in dict.fromkeys(self.gallery.find(m).name for m in members) if n not in out]
        if not wanted:
            raise InputError("nobody is left to look for; name at least one person")
        return wanted

    def track_names(self, found: Analysis) -> dict[int, TrackName]:
        """Who each track of an analysis is, by this pipeline's threshold and margin; corrections by hand included."""
        if "seed" in found.header:  # no face was looked at
            return found.names(NamingRule.plain(len(found.people), 1.0))
        check_gallery(found, self.gallery)
        return found.names(
            NamingRule.of_engine(self.face_engine, self.gallery, self.threshold, self.margin, tracks=True)
        )

    def colour_of(self, name: str) -> tuple[int, int, int]:
        """A person's colour, (b, g, r)."""
        return self.gallery.find(name).colour_bgr

    def _with_threshold(self, threshold: float) -> IdentityAwareSegmentation:
        return self._knowing(self.gallery, threshold)

    def status_of(self, look: Look, name: str) -> Status:
        """How the search for one person in a picture ended."""
        return status_of(look, name, self.engine_ids)


def _of_others(shape: Sequence[int], sightings: Sequence[Sighting], mine: Sighting) -> np.ndarray:
    """bool (H, W): where people other than one are, by their masks, or may be, by the boxes of their bodies."""
    taken = np.zeros(tuple(shape[:2]), bool)
    for other in sightings:
        if other is mine:
            continue
        if other.segment is not None:
            taken |= other.segment.mask
            continue
        body = other.body
        if body is None and other.match is not None:
            body = face_to_body_bbox(other.match.face, tuple(shape))
        if body is not None:
            taken |= box_mask(shape, body)
    return taken


def _label(target: str | Sequence[str], everyone_but: Sequence[str]) -> str:
    """What to call the thing in a box."""
    labels = [target] if isinstance(target, str) else list(target)
    if len(labels) != 1 or everyone_but:
        raise InputError(f"one box is one thing; expected one name for it, got {labels} less {list(everyone_but)}")
    return "object" if labels[0] == "all" else labels[0]


def _label_colour(label: str) -> tuple[int, int, int]:
    return Person(label, label).colour_bgr
