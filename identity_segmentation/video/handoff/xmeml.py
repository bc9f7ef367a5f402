"""Final Cut Pro 7 XML (xmeml, version 5), which Premiere Pro and Resolve import: the video as a sequence, with markers
that have a length; or a cut as a sequence of its parts. (Apple, "Final Cut Pro XML Interchange Format".)

Times are frames from the start of the sequence or of the file, not time codes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from ...files import atomic_write
from ..timecode import TimeBase
from . import HandOff, one_line


def write(job: HandOff, target: Path) -> None:
    """The whole video, and a marker per span.

    Args:
        job: what is handed over.
        target: the file.
    """
    sequence = _sequence(job, job.title, [(0, job.length)])
    for span in job.spans:
        begin, end = job.range_of(span)
        marker = ET.SubElement(sequence, "marker")
        tracks = ", ".join(map(str, span.tracks))
        _say(marker, "comment", f"track {tracks}, similarity {span.similarity:.2f}")
        _say(marker, "name", one_line(str(span.who)))
        _say(marker, "in", begin)
        _say(marker, "out", end)
    _write(target, sequence)


def write_cut(job: HandOff, target: Path) -> None:
    """The parts, one after the other.

    Args:
        job: what is handed over.
        target: the file.
    """
    ranges = [job.part_range(part) for part in job.parts]
    _write(target, _sequence(job, f"{job.title} - {one_line(job.person)}", ranges))


def _sequence(job: HandOff, title: str, ranges: list[tuple[int, int]]) -> ET.Element:
    """A sequence of some ranges of the source, in frames."""
    sequence = ET.Element("sequence", id="sequence-1")
    _say(sequence, "name", title)
    _say(sequence, "duration", sum(end - begin for begin, end in ranges))
    _rate(job, sequence)
    _timecode(job, sequence, job.base, job.start_frame())
    media = ET.SubElement(sequence, "media")
    video = ET.SubElement(media, "video")
    picture = ET.SubElement(ET.SubElement(video, "format"), "samplecharacteristics")
    _rate(job, picture)
    _say(picture, "width", job.analysis.header["width"])
    _say(picture, "height", job.analysis.header["height"])
    _items(job, ET.SubElement(video, "track"), ranges, "video")
    if job.sound:
        _items(job, ET.SubElement(ET.SubElement(media, "audio"), "track"), ranges, "audio")
    return sequence


def _items(job: HandOff, track: ET.Element, ranges: list[tuple[int, int]], kind: str) -> None:
    place = 0
    for number, (begin, end) in enumerate(ranges, 1):
        item = ET.SubElement(track, "clipitem", id=f"{kind}-{number}")
        _say(item, "name", one_line(job.file_name))
        _say(item, "duration", job.length)
        _rate(job, item)
        for name, value in (("start", place), ("end", place + end - begin), ("in", begin), ("out", end)):
            _say(item, name, value)
        if number == 1 and kind == "video":
            _file(job, item)
        else:
            ET.SubElement(item, "file", id="file-1")
        if kind == "audio":
            source = ET.SubElement(item, "sourcetrack")
            _say(source, "mediatype", "audio")
            _say(source, "trackindex", 1)
        if job.sound:
            for other in ("video", "audio"):  # picture and sound move together
                link = ET.SubElement(item, "link")
                _say(link, "linkclipref", f"{other}-{number}")
                _say(link, "mediatype", other)
                _say(link, "trackindex", 1)
                _say(link, "clipindex", number)
        place += end - begin


def _file(job: HandOff, item: ET.Element) -> None:
    file = ET.SubElement(item, "file", id="file-1")
    _say(file, "name", one_line(job.file_name))
    _say(file, "pathurl", job.url.replace("file:///", "file://localhost/", 1))
    _rate(job, file)
    _say(file, "duration", job.length)
    _timecode(job, file, job.source_base, job.source_start)
    media = ET.SubElement(file, "media")
    picture = ET.SubElement(ET.SubElement(media, "video"), "samplecharacteristics")
    _say(picture, "width", job.analysis.header["width"])
    _say(picture, "height", job.analysis.header["height"])
    if job.sound:
        ET.SubElement(media, "audio")


def _rate(job: HandOff, parent: ET.Element) -> None:
    rate = ET.SubElement(parent, "rate")
    _say(rate, "timebase", job.base.base)
    _say(rate, "ntsc", "FALSE" if job.base.rate.denominator == 1 else "TRUE")


def _timecode(job: HandOff, parent: ET.Element, base: TimeBase, first: int) -> None:
    code = ET.SubElement(parent, "timecode")
    _rate(job, code)
    _say(code, "string", base.text(first))
    _say(code, "frame", first)
    _say(code, "displayformat", "DF" if base.drop else "NDF")


def _say(parent: ET.Element, name: str, value: object) -> None:
    ET.SubElement(parent, name).text = str(value)


def _write(target: Path, sequence: ET.Element) -> None:
    root = ET.Element("xmeml", version="5")
    root.append(sequence)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    with atomic_write(target) as file:
        file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n{text}\n'.encode("utf-8", "replace"))
