"""`idseg people`: build and edit the people on file."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from .console import Verbs, pipeline_of, print_json, say, settings_of

if TYPE_CHECKING:
    from ..people.check import Check
    from ..people.gallery import Gallery


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    people = verbs.group("people", "build and edit the gallery")
    verb = people.add("build", _people_build, "learn everyone in a folder of photos, one sub-folder per person")
    verb.add_argument("dataset", nargs="?", help="the folder (default: Dataset)")
    verb.add_argument("--json", action="store_true", help="the verdict on every photo as JSON")
    verb.add_argument("--keep-outliers", action="store_true", help="use photos that look like somebody else's as well")
    verb.add_argument(
        "--anew", action="store_true", help="look at every photo again, also where another engine built the gallery"
    )
    verb = people.add("check", _people_check, "who is confused with whom, which photos help, how many strangers get in")
    verb.add_argument("--json", action="store_true")
    verb.add_argument("--picture", metavar="FILE", help="also write the matrix of similarities as a picture")
    verb = people.add("list", _people_list, "who is on file")
    verb.add_argument("--json", action="store_true")
    verb = people.add("add", _people_add, "add a person, or more photos of one")
    verb.add_argument("name")
    verb.add_argument("photos", nargs="+", metavar="PHOTO")
    verb.add_argument("--keep-outliers", action="store_true", help="use photos that look like somebody else's as well")
    verb = people.add("remove", _people_remove, "delete a person: embeddings, hashes and every older copy of them")
    verb.add_argument("name")
    verb = people.add("rename", _people_rename, "give a person another display name")
    verb.add_argument("name")
    verb.add_argument("new_name")
    verb = people.add("alias", _people_alias, "set the other names a person answers to")
    verb.add_argument("name")
    verb.add_argument("aliases", nargs="*", metavar="ALIAS")
    verb = people.add("merge", _people_merge, "two entries are one person: the second joins the first")
    verb.add_argument("name")
    verb.add_argument("other")
    verb = people.add("apart", _people_apart, "two people who look like one are two: nobody asks again")
    verb.add_argument("name")
    verb.add_argument("other")
    verb = people.add("move", _people_move, "some of a person's photos are somebody else's")
    verb.add_argument("name")
    verb.add_argument("other", help="whose they are: somebody on file, or a new name")
    verb.add_argument("photos", nargs="+", metavar="PHOTO", help="a file name, or the first 8 digits of its SHA-256")
    verb = people.add("forget", _people_forget, "take photos away from a person, and every older copy of them")
    verb.add_argument("name")
    verb.add_argument("photos", nargs="+", metavar="PHOTO", help="a file name, or the first 8 digits of its SHA-256")


def _people_build(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..people.check import remarks

    pipeline = pipeline_of(arguments)
    say(f"faces: {pipeline.face_engine.describe()}")
    with tqdm(unit="photo", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int, person: str) -> None:
            bar.total = total
            bar.set_description(person, refresh=False)
            bar.update(done - bar.n)

        gallery = pipeline.build_gallery(arguments.dataset, progress, arguments.keep_outliers, arguments.anew)
    report = gallery.report
    if arguments.json:
        said = remarks(gallery, pipeline.face_engine)
        print_json(
            [
                {**asdict(v), "of_person": [r.text for r in said if v.person in r.people and r.kind != "strict"]}
                for v in report.verdicts
            ]
        )
        for note in report.notes:
            say(note)
    else:
        print(report.table())
    say(
        f"{len(gallery)} people in {gallery.folder} ({report.embedded} photos looked at, {report.reused} unchanged, "
        f"{report.seconds:.1f} s)"
    )
    return 4 if any(v.verdict == "unreadable" for v in report.verdicts) else 0


def _people_check(arguments: argparse.Namespace) -> int:
    from ..images import write_image
    from ..people.check import check

    pipeline = pipeline_of(arguments)
    found = check(pipeline.gallery, pipeline.face_engine, pipeline.threshold, pipeline.margin)
    if arguments.json:
        print_json(_checked(found, pipeline.gallery.engine_id))
    else:
        print(found.table())
    if arguments.picture:
        write_image(arguments.picture, found.picture())
        say(f"the matrix is in {arguments.picture}")
    return 0


def _checked(found: Check, engine: str) -> dict:
    """What `people check` prints as JSON; see docs/json.md."""
    names = [person.name for person in found.people]
    rows = []
    for person, row in zip(found.people, found.similarity, strict=True):
        near = {name: None if np.isnan(v) else round(float(v), 4) for name, v in zip(names, row, strict=True)}
        called = [{"name": name, "photos": count} for name, count in person.called.items()]
        rows.append({**asdict(person), "called": called, "similarity": near})
    return {
        "engine": engine,
        "people": rows,
        "photos": [asdict(photo) for photo in found.photos],
        "remarks": [asdict(remark) for remark in found.remarks],
        "strangers": found.strangers,
    }


def _people_list(arguments: argparse.Namespace) -> int:
    from ..people.gallery import Gallery

    gallery = Gallery.load(settings_of(arguments).gallery)
    if arguments.json:
        rows = [
            {
                "name": p.name,
                "aliases": list(p.aliases),
                "colour": p.colour,
                "folders": list(p.folders),
                "references": len(p.references),
            }
            for p in gallery.people
        ]
        print_json({"engine": gallery.engine_id, "people": rows})
        return 0
    for person in gallery.people:
        aliases = f"  also: {', '.join(person.aliases)}" if person.aliases else ""
        print(f"{person.name}  {len(person.references)} references{aliases}")
    say(f"{len(gallery)} people in {gallery.folder}, face engine {gallery.engine_id}")
    return 0


def _people_add(arguments: argparse.Namespace) -> int:
    pipeline = pipeline_of(arguments)
    verdicts = pipeline.add_person(arguments.name, arguments.photos, arguments.keep_outliers)
    print(pipeline.gallery.report.table())
    return 0 if all(v.used for v in verdicts) else 4


def _edit(arguments, change, purge: bool | None = None):
    """Change the gallery on disk; returns it before and after."""
    from ..people.gallery import Gallery

    return Gallery.edit(settings_of(arguments).gallery, change, purge=purge)


def _people_remove(arguments: argparse.Namespace) -> int:
    before, _ = _edit(arguments, lambda gallery: gallery.without(arguments.name))
    person = before.find(arguments.name)
    print(f"{person.name} is gone from the gallery and from its older generations")
    if person.folders:
        folders = ", ".join(map(repr, person.folders))
        say(
            f"the photos in {folders} of the data set are yours and were not touched; while they are there, the next "
            "build learns this person again"
        )
    return 0


def _people_rename(arguments: argparse.Namespace) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.renamed(arguments.name, arguments.new_name))
    print(f"{arguments.name} is now {after.find(arguments.new_name).name}")
    return 0


def _people_alias(arguments: argparse.Namespace) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.with_aliases(arguments.name, arguments.aliases))
    person = after.find(arguments.name)
    print(f"{person.name}: {', '.join(person.aliases) or 'no aliases'}")
    return 0


def _people_merge(arguments: argparse.Namespace) -> int:
    _, after = _edit(arguments, lambda gallery: gallery.merged(arguments.name, arguments.other))
    person = after.find(arguments.name)
    print(f"{person.name} now has {len(person.references)} references")
    return 0


def _people_apart(arguments: argparse.Namespace) -> int:
    from ..people.editing import tell_apart

    _, after = _edit(arguments, lambda gallery: tell_apart(gallery, arguments.name, arguments.other))
    print(f"{after.find(arguments.name).name} and {after.find(arguments.other).name} are two people")
    return 0


def _people_move(arguments: argparse.Namespace) -> int:
    from ..people.editing import find_photos, move_photos

    def change(gallery: Gallery) -> Gallery:
        photos = find_photos(gallery, arguments.name, arguments.photos)
        return move_photos(gallery, arguments.name, photos, arguments.other)

    _, after = _edit(arguments, change)
    for person in (after.find(arguments.name), after.find(arguments.other)):
        print(f"{person.name} now has {len(person.references)} references")
    return 0


def _people_forget(arguments: argparse.Namespace) -> int:
    from ..people.editing import find_photos, remove_photos

    def change(gallery: Gallery) -> Gallery:
        return remove_photos(gallery, arguments.name, find_photos(gallery, arguments.name, arguments.photos))

    _, after = _edit(arguments, change, purge=True)
    person = after.find(arguments.name)
    print(f"{person.name} now has {len(person.references)} references")
    return 0
