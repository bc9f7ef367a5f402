"""How long a group photo takes, end to end on two cores with the embedded engines, stage by stage; memory; search.

    python benchmarks/photo.py [--data DIR] [--repeat 5]

The picture is the six-person group picture scaled to 1280 pixels. Times are the best of the repeats, engines loaded.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table


def best(function, repeat: int) -> tuple[float, object]:
    times, result = [], None
    for _ in range(repeat):
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
    return min(times), result


def import_seconds(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--repeat", type=int, default=5)
    options = arguments.parse_args()
    data = require(options.data)
    rows = [("import identity_segmentation", f"{import_seconds('import identity_segmentation'):.3f} s", "0.5 s")]
    rows.append(
        (
            "... and its pipeline",
            f"{import_seconds('from identity_segmentation import IdentityAwareSegmentation'):.2f} s",
            "",
        )
    )

    import cv2

    from identity_segmentation import IdentityAwareSegmentation, cutout, overlay, read_image, segment_matches
    from identity_segmentation.drawing import annotate
    from identity_segmentation.engines._sface import Descriptor
    from identity_segmentation.people.gallery import Gallery
    from identity_segmentation.people.person import Person, Reference
    from identity_segmentation.people.rule import NamingRule
    from identity_segmentation.types import unit

    started = time.perf_counter()
    pipeline = IdentityAwareSegmentation("embedded", "embedded", gallery=Path(tempfile.mkdtemp()) / "gallery")
    _ = pipeline.face_engine, pipeline.segmenter
    rows.append(("load the embedded engines", f"{time.perf_counter() - started:.2f} s", ""))
    started = time.perf_counter()
    gallery = pipeline.build_gallery(data / "identity/ive/refs")
    seconds = time.perf_counter() - started
    rows.append((f"build a gallery of {len(gallery.report.verdicts)} photos", f"{seconds:.1f} s", "20 s"))
    started = time.perf_counter()
    pipeline.build_gallery(data / "identity/ive/refs")
    rows.append(("... again, nothing changed", f"{time.perf_counter() - started:.1f} s", ""))

    image = read_image(data / "identity/ive/group/group_a.jpg")
    factor = 1280 / max(image.shape[:2])
    image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    colour = pipeline.colour_of
    t_faces, _ = best(lambda: pipeline.face_engine.faces(image), options.repeat)
    t_identify, matches = best(lambda: pipeline.identify(image), options.repeat)
    t_one, one = best(lambda: segment_matches(image, matches, pipeline.segmenter, ["Jang_Wonyoung"]), options.repeat)
    t_six, six = best(lambda: segment_matches(image, matches, pipeline.segmenter), options.repeat)
    t_draw, _ = best(
        lambda: (annotate(image, six, colour), overlay(image, six, colour), [cutout(image, s.segment) for s in six]),
        options.repeat,
    )
    fine = IdentityAwareSegmentation(pipeline.face_engine, pipeline.segmenter, gallery, edges="fine")
    fast = IdentityAwareSegmentation(pipeline.face_engine, pipeline.segmenter, gallery, edges="fast")
    t_member, result = best(lambda: fast.segment_member(image, "Jang_Wonyoung"), options.repeat)
    t_fine, _ = best(lambda: fine.segment_member(image, "Jang_Wonyoung"), options.repeat)
    t_bodies, _ = best(lambda: pipeline.detector.detect(image), options.repeat)
    t_all, _ = best(lambda: annotate(image, pipeline.look(image).sightings, colour), options.repeat)
    assert result.status.found and sum(s.segment is not None for s in six) == 6 and one
    rows += [
        (f"find and describe {len(matches)} faces, {image.shape[1]}x{image.shape[0]}", f"{t_faces:.3f} s", ""),
        ("... and name them", f"{t_identify:.3f} s", ""),
        ("find the bodies, with tiles", f"{t_bodies:.3f} s", ""),
        ("one mask, five neighbours", f"{t_one:.3f} s", ""),
        ("six masks", f"{t_six:.3f} s", ""),
        ("draw: annotated, overlay, six cutouts", f"{t_draw:.3f} s", ""),
        ("one member, end to end (5 results), fast edges", f"{t_member:.2f} s", "0.5 s"),
        ("... with fine edges", f"{t_fine:.2f} s", "1.0 s"),
        ("all six, end to end (annotated)", f"{t_all:.2f} s", "2.0 s"),
    ]
    descriptor = Descriptor(1)
    chips = np.random.default_rng(0).integers(0, 255, (12, 112, 112, 3), dtype=np.uint8)
    for count, what in ((1, "describe one face and its mirror image, one core"), (6, "... six at once, each")):
        t_describe, _ = best(lambda n=count: descriptor(chips[: 2 * n]), 10 * options.repeat)
        rows.append((what, f"{t_describe / count:.3f} s", "0.030 s"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    rows.append(("peak memory so far", f"{peak:.2f} GB", "1.5 GB"))

    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(100_000, 512)).astype(np.float32))
    people = tuple(Person(str(i), f"p{i}", references=(Reference("x", str(i), 0),)) for i in range(len(vectors)))
    large = Gallery("synthetic", "0", people, vectors)
    probe = unit(vectors[:1] + 0.01)
    t_search, found = best(lambda: large.search(probe, 5), 20)
    assert found[0][0][0] == "p0"
    rows.append(("search 100,000 people x 512, one face", f"{1000 * t_search:.1f} ms", "25 ms"))
    started = time.perf_counter()
    NamingRule.of_engine(pipeline.face_engine, large)
    rows.append(("... measure their levels, once", f"{time.perf_counter() - started:.1f} s", ""))
    print(table(("what", "measured", "goal"), rows))


if __name__ == "__main__":
    main()
