"""Pascal VOC: boxes as XML, masks as indexed PNGs, both of classes and of objects.

(Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit.) Boxes count from 1 and hold their
last pixel, as the kit's do. VOC knows no folders below its own: a/b becomes a_b.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np

from ...errors import InputError
from ...files import atomic_write, unused_name
from ...images import indexed_png
from . import Job, Labelled, printable
from .upright import place, usual_suffix

_MOST_OBJECTS = 254


def write(job: Job) -> None:
    """The tree that VOC's readers take, with `labelmap.txt` for the classes. The pictures are copied, upright."""
    classes = {number: index for index, number in enumerate(sorted(job.names), 1)}
    names, used = {}, {"background"}
    for number, name in sorted(job.names.items()):
        names[number] = unused_name(printable(name).replace(":", "_"), used)
    palette = voc_palette()
    taken: set[str] = set()
    identifiers = []
    for picture in job.pictures():
        name = unused_name(printable(picture.name).replace("/", "_"), taken)
        identifiers.append(name)
        file_name = name + usual_suffix(picture.picture)
        kinds = np.zeros(picture.size[::-1], np.uint8)
        objects = np.zeros_like(kinds)
        things: list[tuple[int, tuple[int, int, int, int]]] = []
        for thing in job.things(picture):
            things.append((thing.id, thing.box))
            if len(things) > _MOST_OBJECTS:
                raise InputError(
                    f"{picture.name} has more than {_MOST_OBJECTS} objects, which VOC's pictures cannot hold"
                )
            kinds[thing.mask], objects[thing.mask] = classes[thing.id], len(things)
        place(picture.picture, job.folder / "JPEGImages" / file_name)
        for folder, content in (("SegmentationClass", kinds), ("SegmentationObject", objects)):
            indexed_png(job.folder / folder / f"{name}.png", content, palette)
        with atomic_write(job.folder / "Annotations" / f"{name}.xml") as file:
            file.write(_described(picture, file_name, things, names))
    listed = "".join(f"{name}\n" for name in identifiers).encode()
    for kind in ("Main", "Segmentation"):
        with atomic_write(job.folder / "ImageSets" / kind / "train.txt") as file:
            file.write(listed)
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    rows += [f"{names[i]}:{','.join(str(v) for v in palette[classes[i]])}::" for i in sorted(names)]
    with atomic_write(job.folder / "labelmap.txt") as file:
        file.write("\n".join([*rows, ""]).encode())


def voc_palette() -> list[tuple[int, int, int]]:
    """The kit's 256 colours (R, G, B): bits of the index dealt out to the three channels, highest first."""
    colours: list[tuple[int, int, int]] = []
    for index in range(256):
        value = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                value[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        colours.append((value[0], value[1], value[2]))
    return colours


def _described(picture: Labelled, file_name: str, things, names) -> bytes:
    root = ET.Element("annotation")

    def put(parent, **children) -> None:
        for key, value in children.items():
            ET.SubElement(parent, key).text = str(value)

    put(root, folder="JPEGImages", filename=file_name)
    put(ET.SubElement(root, "source"), database="Unknown")
    put(ET.SubElement(root, "size"), width=picture.size[0], height=picture.size[1], depth=3)
    put(root, segmented=int(bool(things)))
    for number, (x0, y0, x1, y1) in things:
        entry = ET.SubElement(root, "object")
        put(entry, name=names[number], pose="Unspecified", truncated=0, difficult=0, occluded=0)
        put(ET.SubElement(entry, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8")
