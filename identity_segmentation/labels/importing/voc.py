"""Pascal VOC: boxes of XML files, masks of palette pictures whose classes a `labelmap.txt` names.

(Everingham et al., The PASCAL Visual Object Classes Challenge 2012 Development Kit.) Boxes count from 1 and hold their
last pixel. A class that has pixels in SegmentationClass is taken from there, and its boxes are passed over. Without a
label map the colours mean VOC's own twenty classes. The rim that the kit calls void belongs to nobody. XML files with a
document type, which could make a small file a huge one, are refused.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from PIL import Image

from ...errors import ImageError, InputError
from ...files import read_bytes
from ...images import formats_for
from ..export.voc import voc_palette
from . import Drawn, LabelledFile, LabelSet, class_name

# In the kit's order: class 1 and so on.
_TWENTY = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOID = (224, 224, 192)  # the colour of index 255
_Colour = tuple[int, int, int]


def read(path: Path) -> LabelSet:
    """A VOC folder.

    Args:
        path: the folder with Annotations or SegmentationClass; or a folder of XML files, or one of them.

    Raises:
        InputError: it holds none of them, or a label map that is broken.
    """
    folder = path if path.is_dir() else path.parent
    annotations = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = [path] if path.is_file() else sorted(f for f in annotations.rglob("*.xml") if not f.name.startswith("."))
    masks = {f.stem: f for f in sorted((folder / "SegmentationClass").glob("*.png"))}
    if not files and not masks:
        raise InputError(f"{folder} holds neither Annotations/*.xml nor SegmentationClass/*.png; expected one of them")
    colours, mapped = _colours(folder)
    found = LabelSet("voc", {})
    told: dict[str, list] = {}
    for file in files:
        try:
            told[file.stem] = [*_described(file, found.faults)]
        except InputError as error:
            found.faults.append(str(error))
            masks.pop(file.stem, None)
    for stem in sorted({*told, *masks}):
        name, size, objects = told.get(stem) or (stem, None, [])
        names = {kind for kind, _ in objects}
        if stem in masks:
            try:
                values = _coloured(masks[stem], colours)
                size, names = size or values[1], names | values[0]
            except InputError as error:
                found.faults.append(str(error))
                continue
        draw = partial(_draw, masks.get(stem), colours, objects)
        suffix = stem in told and bool(Path(name).suffix)
        found.pictures.append(LabelledFile(name, size, frozenset(names), draw, suffix))
    used = {name for picture in found.pictures for name in picture.names}
    listed = [*dict.fromkeys(name for name in colours.values() if name and (mapped or name in used))]
    for name in [*listed, *sorted(used - {*listed})]:
        found.classes.setdefault(name, len(found.classes) + 1)
    return found


def _colours(folder: Path) -> tuple[dict[_Colour, str], bool]:
    """(colour -> class, "" = background or void; does a label map say so?)."""
    file = folder / "labelmap.txt"
    if not file.is_file():
        palette = voc_palette()
        return {palette[0]: "", _VOID: "", **{palette[n]: name for n, name in enumerate(_TWENTY, 1)}}, False
    colours: dict[_Colour, str] = {(0, 0, 0): "", _VOID: ""}
    for place, line in enumerate(read_bytes(file, InputError, "label map").decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(.+?):(?:(\d{1,3}),(\d{1,3}),(\d{1,3}))?(?::[^:]*){0,2}", line.strip())
        if match is None:
            raise InputError(f"{file}, line {place}: {line[:60]!r}; expected NAME:R,G,B::")
        name = class_name(match[1])
        if match[2]:
            rgb = (int(match[2]), int(match[3]), int(match[4]))
            colours[rgb] = "" if name in ("background", "void", "ignored") else name
    return colours, True


# ---- boxes


def _tree(file: Path) -> ET.Element:
    """The root of an XML file without a document type.

    Raises:
        InputError: it is broken, or has one.
    """
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()

    def refuse(*_: Any) -> None:
        raise InputError(
            f"{file} has a document type (DOCTYPE), which may hide entities; expected plain XML. Delete that line"
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(read_bytes(file, InputError, "XML"), True)
        return builder.close()
    except (expat.ExpatError, AssertionError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is no XML that can be read ({error}); if it was cut off, export it again") from error


def _described(file: Path, faults: list[str]) -> tuple[str, tuple[int, int] | None, list]:
    """(the picture's name, its size, [(class, box)]) of an XML file."""
    root = _tree(file)
    if root.tag != "annotation":
        raise InputError(f"{file} begins with <{root.tag[:40]}>; expected VOC's <annotation>")
    sides = [_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    size = (int(sides[0]), int(sides[1])) if all(v is not None and v >= 1 for v in sides) else None  # type: ignore[arg-type]
    objects = []
    for place, entry in enumerate(root.findall("object"), 1):
        name = class_name(entry.findtext("name") or "")
        corners = [_number(entry.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
        if not name:
            faults.append(f"{file.name}, object {place} has no name; expected <name>")
        elif any(v is None for v in corners):
            faults.append(
                f"{file.name}, object {place} ({name}) has no box; expected <bndbox> with xmin, ymin, xmax, ymax"
            )
        else:
            x0, y0, x1, y1 = (float(v or 0) for v in corners)
            objects.append((name, (x0 - 1, y0 - 1, x1, y1)))
    return (root.findtext("filename") or "").strip() or file.stem, size, objects


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if abs(value) < 1e9 else None


# ---- masks


def _picture(file: Path) -> np.ndarray:
    """uint8 (H, W, 3), RGB, of a picture of classes, as its palette has it. EXIF has no say in it."""
    data = read_bytes(file, InputError, "mask")
    try:
        with Image.open(file, formats=formats_for(data, str(file))) as opened:
            if opened.mode in ("L", "I", "I;16", "1"):  # no palette: the values are the classes' numbers
                values = np.asarray(opened).astype(np.int64)
                return np.array(voc_palette(), np.uint8)[np.clip(values, 0, 255)]
            return np.asarray(opened.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{file} is damaged or truncated ({error})") from error


def _coloured(file: Path, colours: Mapping[_Colour, str]) -> tuple[set[str], tuple[int, int]]:
    """(classes that have pixels, (W, H)) of a picture of classes."""
    image = _picture(file)
    codes = np.unique(_codes(image))
    found = {(int(c) >> 16, int(c) >> 8 & 255, int(c) & 255) for c in codes}
    unknown = sorted(found - {*colours})
    if unknown:
        raise InputError(
            f"{file.name} has the colour {','.join(map(str, unknown[0]))}, which no class has; expected those of "
            "labelmap.txt, a line NAME:R,G,B:: each"
        )
    return {colours[colour] for colour in found} - {""}, (image.shape[1], image.shape[0])


def _codes(image: np.ndarray) -> np.ndarray:
    wide = image.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _draw(mask: Path | None, colours: Mapping[_Colour, str], objects: list, size: tuple[int, int]) -> Drawn:
    found = Drawn()
    if mask is not None:
        image = _picture(mask)
        if image.shape[1::-1] != size:
            shown = f"{image.shape[1]}x{image.shape[0]}"
            found.faults.append(f"{mask.name} is {shown}; expected {size[0]}x{size[1]}, as its picture is")
            return found
        codes = _codes(image)
        for code in np.unique(codes):
            name = colours.get((int(code) >> 16, int(code) >> 8 & 255, int(code) & 255), "")
            if name:
                found.add(name, codes == code)
    found.boxes += [(name, box) for name, box in objects if name not in found.masks]
    return found
