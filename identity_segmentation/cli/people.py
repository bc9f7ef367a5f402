"""`idseg people`: build and edit the people on file."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from .console import Verbs, pipeline_of, print_json, say, settings_of


def add(verbs: Verbs) -> None:
    """Put the verbs on the parser."""
    people = verbs.group("people", "build and edit the gallery")
    verb = people.add("build", _people_build, "learn everyone in a folder of photos, one sub-folder per person")
    verb.add_argument("dataset", nargs="?", help="the folder (default: Dataset)")
    verb.add_argument("--json", action="store_true", help="the verdict on every photo as JSON")
    verb = people.add("list", _people_list, "who is on file")
    verb.add_argument("--json", action="store_true")
    verb = people.add("add", _people_add, "add a person, or more photos of one")
    verb.add_argument("name")
    verb.add_argument("photos", nargs="+", metavar="PHOTO")
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


def _people_build(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    pipeline = pipeline_of(arguments)
    say(f"faces: {pipeline.face_engine.describe()}")
    with tqdm(unit="photo", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int, person: str) -> None:
            bar.total = total
            bar.set_description(person, refresh=False)
            bar.update(done - bar.n)

        gallery = pipeline.build_gallery(arguments.dataset, progress)
    report = gallery.report
    if arguments.json:
        print_json([asdict(v) for v in report.verdicts])
    else:
        print(report.table())
    say(
        f"{len(gallery)} people in {gallery.folder} ({report.embedded} photos looked at, {report.reused} unchanged, "
        f"{report.seconds:.1f} s)"
    )
    return 4 if any(v.verdict == "unreadable" for v in report.verdicts) else 0


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
    from ..types import BuildReport

    verdicts = pipeline_of(arguments).add_person(arguments.name, arguments.photos)
    print(BuildReport(tuple(verdicts)).table())
    return 0 if all(v.used for v in verdicts) else 4


def _edit(arguments, change):
    """Change the gallery on disk; returns it before and after."""
    from ..people.gallery import Gallery

    return Gallery.edit(settings_of(arguments).gallery, change)


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
