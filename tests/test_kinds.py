"""What is a photo is said by its bytes; whatever else lies in a folder is named once, with the reason."""

from __future__ import annotations

import io
import json
import os
import time

import numpy as np
import pytest
from made_photos import heic, patches
from PIL import Image

from identity_segmentation.cli.command import main
from identity_segmentation.images import list_photos
from identity_segmentation.kinds import left_out, look_through, photo_kind, why_no_photo
from identity_segmentation.labels.targets import find_targets

REASONS = {
    "notes.txt": (b"just words", "text"),
    "한글": ("가나다라마바사아자차카타파하거너더러".encode(), "text"),
    "BMW.txt": (b"BMW is no bitmap, whatever it begins with", "text"),
    "clip.mp4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video"),
    "clip.mkv": (b"\x1aE\xdf\xa3\x9f\x42\x86\x81\1", "a video"),
    "page": (b"<!DOCTYPE html><html>", "a web page or SVG text"),
    "book.pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF file"),
    "all.zip": (b"PK\3\4\x14\0\0\0", "an archive or a document"),
    "raw.NEF": (b"MM\0*\0\0\0\x08" + b"\0" * 24, "a camera's raw file; export it as JPEG"),
    "raw2": (b"II*\0\x10\0\0\0CR\2\0" + b"\0" * 20, "a camera's raw file; export it as JPEG"),
    "raw3.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file; export it as JPEG"),
    "nothing": (b"", "empty"),
    "odd.bin": (b"\x89\x00\x01\xff" * 8, "first bytes 89 00 01 ff 89 00 01 ff"),
}


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(patches()).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Photos under every name, and everything else that lies about."""
    place = tmp_path / "photos"
    place.mkdir()
    for name, kind in {
        "IMG_0001.jpe": "JPEG", "DSC1.MPO": "JPEG", "from a messenger": "JPEG", "scan.dat": "TIFF", "b.png": "PNG",
        "c.old": "GIF", "d": "WEBP", "e.": "BMP", "f.photo": "AVIF",
    }.items():  # fmt: skip
        (place / name).write_bytes(encoded(kind))
    (place / "broken.jpg").write_text("this is text")
    for name, (data, _) in REASONS.items():
        (place / name).write_bytes(data)
    for name in (".hidden", ".DS_Store", "members.toml", "result.json", "a.analysis.jsonl", "Thumbs.db"):
        (place / name).write_bytes(b"ours, or hidden")
    (place / "folder.jpg").mkdir()
    return place


PHOTOS = [
    "DSC1.MPO",
    "IMG_0001.jpe",
    "b.png",
    "broken.jpg",
    "c.old",
    "d",
    "e.",
    "f.photo",
    "from a messenger",
    "scan.dat",
]


def test_photos_are_known_by_their_bytes_and_the_rest_is_named(folder):
    photos, others = look_through(folder)
    assert [p.name for p in photos] == PHOTOS and list_photos(folder) == photos
    assert {p.name: why for p, why in others.items()} == {name: why for name, (_, why) in REASONS.items()}
    line = left_out(others)
    assert "\n" not in line and all(line.count(name) >= 1 for name in REASONS) and "Thumbs" not in line
    assert left_out({folder / "a\nb": "text"}).count("\n") == 0, "a name cannot begin a line of its own"


def test_heic_is_known_by_its_brand(tmp_path):
    path = heic(tmp_path / "a.heic", np.repeat(patches(16), 4, axis=0))
    assert photo_kind(path.read_bytes()[:32]) == "HEIF"
    assert photo_kind(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert photo_kind(b"\0\0\0\x18ftypmsf1\0\0\0\0msf1heic") == "HEIF"
    assert photo_kind(encoded("AVIF")[:32]) == "AVIF" and photo_kind(b"") is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX's")
def test_pipes_and_links_to_nowhere_keep_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    photos, others = look_through(tmp_path)
    assert photos == [] and {p.name: why for p, why in others.items()} == {
        "pipe.jpg": "no ordinary file", "pipe": "no ordinary file", "gone.jpg": "a link that leads nowhere",
        "round": "a link that leads nowhere",
    }  # fmt: skip
    assert why_no_photo(tmp_path / "pipe") == "no ordinary file"


def test_a_folder_of_ten_thousand_files_is_listed_in_a_moment(tmp_path):
    photo = encoded("JPEG")[:100]
    for number in range(10_000):
        (tmp_path / f"{number:05d}{'.jpg' if number % 2 else ''}").write_bytes(photo)
    begun = time.perf_counter()
    assert len(list_photos(tmp_path)) == 10_000
    assert time.perf_counter() - begun < 5, "some 0.2 s where nothing else is going on"


def test_targets_of_labels_are_found_in_the_same_way(folder, tmp_path):
    (folder / "deep").mkdir()
    (folder / "deep" / "x.MPO").write_bytes(encoded("JPEG"))
    (folder / "deep" / "words").write_text("words")
    others = {}
    found = find_targets([folder], {}, tmp_path / "job", others)
    assert {t.path.name for t in found} == {*PHOTOS, "x.MPO"}
    assert {p.name for p in others} == {*REASONS, "words"}
    assert len({t.name for t in found}) == len(found)


# ---- the commands


def run(capsys, *words) -> tuple[int, str, str]:
    status = main([str(w) for w in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_identify_takes_a_folder_and_names_what_it_leaves_out_once(folder, tmp_path, capsys):
    engine = ("--face-engine", "embedded", "--gallery", tmp_path / "none")
    (folder / "members.toml").unlink()
    from identity_segmentation import Gallery
    from identity_segmentation.engines.embedded_faces import EmbeddedFaces

    Gallery.empty(EmbeddedFaces()).save(tmp_path / "none")
    status, out, err = run(capsys, "identify", folder, "--json", *engine)
    assert status == 4 and len(json.loads(out)) == len(PHOTOS) - 1
    assert err.count("notes.txt") == 1 and err.count("clip.mp4") == 1 and "notes.txt" in err
    (unreadable,) = [line for line in err.splitlines() if "broken.jpg" in line]
    assert "it is text" in unreadable
    lines = [line for line in err.splitlines() if "left out" in line]
    assert len(lines) == 1 and "BMW.txt" in lines[0] and "(text)" in lines[0] and ".DS_Store" not in err
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "words.txt").write_text("words")
    status, _, err = run(capsys, "identify", empty, *engine)
    assert status == 1 and "no pictures in" in err and "words.txt (text)" in err


def test_segment_and_label_name_what_they_leave_out(folder, tmp_path, capsys):
    words = ("--segmenter", "embedded", "--face-engine", "embedded", "--gallery", tmp_path / "g")
    status, _, err = run(capsys, "segment", folder, "person", "--out", tmp_path / "out", *words)
    assert status == 4 and err.count("notes.txt") == 1 and err.count("broken.jpg") == 1
    picture = folder / "b.png"
    job = ("--out", tmp_path / "job", "--segmenter", "embedded")
    assert run(capsys, "label", "mark", picture, "--box", "2,2,12,12", *job)[0] == 0
    status, out, err = run(capsys, "label", "run", folder, "--json", *job)
    assert status == 4 and err.count("notes.txt") == 1
    report = json.loads(out[out.index("{") :])
    assert report["left_out"][str(folder / "clip.mp4")] == "a video"
    assert [os.path.basename(p) for p in report["unreadable"]] == ["broken.jpg"]


def test_enrolment_takes_photos_without_a_suffix_and_names_the_rest(tmp_path, group, embedded_faces, caplog):
    from identity_segmentation import build_embeddings_db, write_image
    from identity_segmentation.demo import portrait

    face = embedded_faces.faces(group, embed=False)[0]
    write_image(tmp_path / "data" / "Ada" / "a.jpg", portrait(group, face)).rename(tmp_path / "data" / "Ada" / "a")
    (tmp_path / "data" / "Ada" / "notes").write_text("words")
    gallery = build_embeddings_db(tmp_path / "data", embedded_faces)
    assert [v.verdict for v in gallery.report.verdicts] == ["used"]
    assert next(r.message for r in caplog.records if "notes" in r.message).endswith("left out: notes (text)")
