"""A picture or a folder of pictures -> files: annotated, overlay, cutout, mask, and a record of the evidence.

A picture that is finished is not done again: its record carries a cache key of all that decides the answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, drawing
from .errors import ImageError, InputError
from .files import own_folder, read_json, safe_filename, shown_path, source_name, unused_name, write_json
from .geometry import mask_box
from .images import list_photos, read_image, write_image
from .looks import Look
from .people.rule import NamingRule
from .pipeline import IdentityAwareSegmentation
from .types import Match, PossessionResult


def segment_folder(
    pipeline: IdentityAwareSegmentation,
    folder: str | os.PathLike,
    output: str | os.PathLike,
    names: Sequence[str] | None = None,
    crop: bool = False,
) -> Iterator[tuple[Path, list[dict] | None, str]]:
    """Segment people in every picture of a folder, one picture after the other; see `segment_to_files`.

    A picture that is finished - same cache key - is not done again; a picture
    that cannot be read is reported and passed over.

    Args:
        pipeline: engines and gallery.
        folder: of pictures; its own folders are not looked into.
        output: folder of all results.
        names: display names or aliases; None = everyone on file.
        crop: cut the cutout to the person's box.

    Yields:
        (picture, its records or None, "done" | "kept" | what went wrong).
    """
    taken: set[str] = set()
    for path in list_photos(folder):
        target = results_folder(output, path, taken)
        try:
            cache_key = _cache_key(pipeline, path, names, crop, single=False)
            finished = _finished(target, cache_key)
            if finished is not None:
                yield path, [record | {"image": shown_path(path)} for record in finished], "kept"
                continue
            yield path, segment_to_files(pipeline, path, target, names, crop, cache_key, single=False), "done"
        except InputError as error:
            yield path, None, str(error)


def results_folder(output: str | os.PathLike, picture: str | os.PathLike, taken: set[str] | None = None) -> Path:
    """The folder for one picture's results: named like the picture, and never another picture's.

    Args:
        output: folder of all results.
        picture: the picture's path.
        taken: names given out in this run, casefolded; the new one is added.
    """
    return own_folder(output, picture, "result.json", taken)


def _read_result(target: Path) -> dict:
    """`result.json` of a folder of results; an empty dict if there is none that can be read."""
    return read_json(target / "result.json")


def segment_to_files(
    pipeline: IdentityAwareSegmentation,
    path: str | os.PathLike,
    target: str | os.PathLike,
    names: Sequence[str] | None = None,
    crop: bool = False,
    cache_key: str | None = None,
    single: bool = True,
) -> list[dict]:
    """Segment people in one picture and write the results into a folder.

    Files, for each person found: ``NAME_overlay.jpg``, ``NAME_cutout.png``, ``NAME_mask.png``; for the
    picture ``annotated.jpg``, and ``result.json``, written last, with the returned records.

    Args:
        names: display names or aliases; None = everyone who is in the picture and the gallery.
        crop: cut the cutout to the person's box.
        cache_key: hash of all that decides the results, as `_cache_key` makes it; stored so that a later run can tell.
        single: one picture is asked for, not a folder of them; see `IdentityAwareSegmentation.look`.

    Returns:
        One record per person asked for (or found), as documented in docs/json.md.
    """
    path, target = Path(path), Path(target)
    people = [pipeline.gallery.find(n).name for n in names] if names is not None else None
    look = pipeline.look(read_image(path, pipeline.settings.max_pixels), people, single)
    shown = people if people is not None else [s.name for s in look.sightings if s.name]
    before = _listed_files(_read_result(target))
    files = {
        "annotated": str(
            write_image(target / "annotated.jpg", drawing.annotate(look.image, look.sightings, pipeline.colour_of))
        )
    }
    taken: set[str] = set()
    records = [_written(pipeline, look, name, path, target, dict(files), taken, crop) for name in shown]
    asked = cache_key or _cache_key(pipeline, path, names, crop, single)
    content = {"question": asked, "source": source_name(path), "people": records, "annotated": files["annotated"]}
    write_json(target / "result.json", content)
    # What an earlier answer wrote and this one does not would look current; only files of our own list go.
    for stale in before - _listed_files(content):
        if Path(stale).parent == target:
            Path(stale).unlink(missing_ok=True)
    return records


def _written(
    pipeline: IdentityAwareSegmentation, look: Look, name: str, path: Path, target: Path, files: dict[str, str],
    taken: set[str], crop: bool,
) -> dict:  # fmt: skip
    """One person's record, after their files have been written; `files` are those of the whole picture."""
    status, sighting = pipeline.status_of(look, name), look.of(name)
    record = {
        "image": shown_path(path), "person": name, "status": status.code, "message": status.message,
        "similarity": _number(status.similarity), "margin": _number(status.margin),
        "runner_up": status.runner_up, "engine": status.engine,
        "box": None, "face_box": None, "score": None, "mask_area": 0, "files": files,
    }  # fmt: skip
    if sighting is None or sighting.match is None or sighting.segment is None or not sighting.segment.area:
        return record
    segment = sighting.segment
    stem = unused_name(safe_filename(name), taken)
    pictures = {
        "overlay": (f"{stem}_overlay.jpg", drawing.overlay(look.image, [sighting], pipeline.colour_of)),
        "cutout": (f"{stem}_cutout.png", drawing.cutout(look.image, segment, crop)),
        "mask": (f"{stem}_mask.png", segment.mask),
    }
    files |= {kind: str(write_image(target / file, picture)) for kind, (file, picture) in pictures.items()}
    return record | {
        "box": _numbers(segment.box), "face_box": _numbers(sighting.match.face.box),
        "score": _number(segment.score), "mask_area": segment.area,
    }  # fmt: skip


def phrase_to_files(
    pipeline: IdentityAwareSegmentation,
    path: str | os.PathLike,
    target: str | os.PathLike,
    phrase: str,
    crop: bool = False,
) -> dict:
    """What a phrase means in one picture, as files: ``PHRASE_overlay.jpg``, ``_cutout.png`` and so on.

    Args:
        pipeline: engines and gallery.
        path: the picture.
        target: folder for its results.
        phrase: a name, "Wonyoung's shirt", or a thing.
        crop: cut the cutout to the thing's box.

    Returns:
        One record, as documented in docs/json.md; without files where nothing was found.
    """
    path, target = Path(path), Path(target)
    meant = pipeline.understood(phrase)
    stem = safe_filename(phrase)
    listing = target / f"{stem}_result.json"
    cache_key = _cache_key(pipeline, path, [meant.person] if meant.person else [], crop) + f" {meant.thing}"
    before = read_json(listing)
    if before.get("question") == cache_key and all(Path(f).is_file() for f in before["record"]["files"].values()):
        return before["record"] | {"image": shown_path(path)}
    found = pipeline.segment(read_image(path, pipeline.settings.max_pixels), phrase)
    box = mask_box(found.mask)
    record: dict[str, Any] = {
        "image": shown_path(path), "phrase": phrase, "person": meant.person, "thing": meant.thing,
        "status": found.status.code, "message": found.status.message, "similarity": _number(found.status.similarity),
        "margin": _number(found.status.margin), "engine": found.status.engine,
        "box": None if box is None else _numbers(box), "mask_area": int(found.mask.sum()),
        "instances": len(found.thing_masks), "files": {} if box is None else _drawn(found, box, target, stem, crop),
    }  # fmt: skip
    if not _read_result(target):  # whose folder this is
        write_json(target / "result.json", {"source": source_name(path)})
    write_json(listing, {"question": cache_key, "record": record})
    for stale in set(before.get("record", {}).get("files", {}).values()) - set(record["files"].values()):
        if Path(stale).parent == target:
            Path(stale).unlink(missing_ok=True)
    return record


def _drawn(found: PossessionResult, box: np.ndarray, target: Path, stem: str, crop: bool) -> dict[str, str]:
    """Write the pictures of a thing that was found; kind -> path."""
    x0, y0, x1, y1 = box.astype(int) if crop else (0, 0, found.cutout.shape[1], found.cutout.shape[0])
    cutout = np.ascontiguousarray(found.cutout[y0:y1, x0:x1])
    pictures = {
        "annotated": ("jpg", found.annotated), "overlay": ("jpg", found.overlay), "cutout": ("png", cutout),
        "mask": ("png", found.mask),
    }  # fmt: skip
    return {
        kind: str(write_image(target / f"{stem}_{kind}.{suffix}", picture))
        for kind, (suffix, picture) in pictures.items()
    }


def _listed_files(content: dict) -> set[str]:
    try:
        return (
            {content["annotated"], *(f for r in content["people"] for f in r["files"].values())} if content else set()
        )
    except (KeyError, TypeError, AttributeError):
        return set()


def _cache_key(
    pipeline: IdentityAwareSegmentation, path: Path, names: Sequence[str] | None, crop: bool, single: bool = True
) -> str:
    """A hash of all that decides the answer: the picture's bytes, the people, the gallery, the engines, the knobs."""
    try:
        digest = hashlib.sha256(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{shown_path(path)}: cannot be read ({error.strerror})") from error
    detector = pipeline.detector_or_none()
    found_by = None if detector is None else detector.describe()
    if names is not None and not names:  # a thing of nobody's: no gallery decides it, and there may be none
        digest.update(json.dumps([__version__, crop, pipeline.engine_ids, found_by]).encode())
        return digest.hexdigest()
    gallery = pipeline.gallery
    rule = NamingRule.of_engine(pipeline.face_engine, gallery, pipeline.threshold, pipeline.margin)
    people = sorted(gallery.find(n).id for n in names) if names is not None else None
    known = [(p.id, p.name, p.colour, len(p.references)) for p in gallery.people]
    knobs = [
        __version__,
        found_by,
        pipeline.edges if single or pipeline.edges != "auto" else "fast",
        people,
        crop,
        pipeline.engine_ids,
        pipeline.threshold,
        pipeline.margin,
        gallery.model_hash,
        known,
        # What a name needs: an update of the program may change it.
        rule.levels.tolist(),
        [rule.floor, rule.least_lead, rule.group_lead, rule.small, sorted(rule.pairs.items())],
    ]
    digest.update(json.dumps(knobs).encode())
    digest.update(gallery.means.tobytes())
    return digest.hexdigest()


def _finished(target: Path, cache_key: str) -> list[dict] | None:
    content = _read_result(target)
    files = _listed_files(content)
    same = bool(files) and content.get("question") == cache_key
    return content["people"] if same and all(Path(f).is_file() for f in files) else None


def match_record(match: Match) -> dict:
    """One face for JSON: name (null for a stranger), similarity, margin, runner_up, box, and what the name rests on."""
    return {
        "name": match.name, "similarity": _number(match.similarity), "margin": _number(match.margin),
        "runner_up": match.runner_up, "box": _numbers(match.face.box), "nearest": match.nearest,
        "basis": match.basis, "score": _number(match.face.score),
    }  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _numbers(values) -> list[float]:
    return [round(float(v), 1) for v in values]
