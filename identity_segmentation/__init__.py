"""Identity-aware segmentation: show it a few photos of each person once, then ask for anyone's pixels by name.

>>> from identity_segmentation import IdentityAwareSegmentation
>>> people = IdentityAwareSegmentation()
>>> people.build_gallery("Dataset")
>>> overlay, cutout, annotated, mask, status = people.segment_image("Input/stage.jpg", "Wonyoung")

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "IdentityAwareSegmentation": "pipeline",
    "Settings": "settings",
    "Gallery": "people.gallery",
    "build_embeddings_db": "people.enrolment",
    "add_photos": "people.adding",
    "open_gallery": "people.gallery",
    "identify": "people.matching",
    "identify_all_members": "people.matching",
    "match_faces": "people.matching",
    "face_to_body_bbox": "geometry",
    "segment_by_box": "masks.segmentation",
    "segment_matches": "masks.segmentation",
    "annotate": "drawing",
    "overlay": "drawing",
    "cutout": "drawing",
    "read_image": "images",
    "write_image": "images",
    "face_engine": "engines",
    "segmenter": "engines",
    "SimpleTracker": "video.tracking",
    "TemporalSmoother": "video.flow",
    "VideoReader": "video",
    "VideoReport": "video.render",
    "batch": "batch",
    "LabelJob": "labels.job",
    "Mark": "labels.marks",
    "SmartSelector": "labels.window",
    "Face": "types",
    "Match": "types",
    "Segment": "types",
    "Sighting": "types",
    "Status": "types",
    "MemberResult": "types",
    "IdentitySegmentationError": "errors",
    "EngineUnavailable": "errors",
    "GalleryError": "errors",
    "ImageError": "errors",
    "InputError": "errors",
    "OutputError": "errors",
    "UnknownPerson": "errors",
    "VideoError": "errors",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str):
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
