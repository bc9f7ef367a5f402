"""How well faces are named: leave-one-out, strangers, rules and scorings, per data set and face engine.

    python benchmarks/identity.py [--data DIR] [--sets ive bbt ...]

Leave-one-out: each reference in turn is taken out of the gallery and asked for. Strangers: each person in turn is
taken out, and their references must be given no name. AUC: a pair of photos of one person against a pair of photos
of two people. On single faces the one-to-one rule has nothing to work on; the group pictures show it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation import Gallery, build_embeddings_db, identify, read_image
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.insightface_faces import InsightFaceEngine
from identity_segmentation.people.gallery import SCORINGS
from identity_segmentation.people.matching import match_faces
from identity_segmentation.types import Face

SETS = {
    "ive": "identity/ive/refs",
    "bbt": "identity/bbt/refs",
    "knn_examples": "identity/face_recognition_examples/knn_examples/train",
    "friends": "identity/friends/refs",
}
# Who is in the group pictures, left to right by the face's centre. By eye: against the references, hair and clothes
# of the same shoot; None is someone without references.
GROUPS = {
    "ive": {
        "identity/ive/group/group_a.jpg": [
            "Kim_Gaeul", "Lee_Hyunseo", "Naoi_Rei", "Kim_Jiwon", "Jang_Wonyoung", "An_Yujin",
        ],
    },
    "bbt": {
        "identity/bbt/group/bbt1.jpg": ["raj", "leonard", "howard", "sheldon"],
        "identity/bbt/group/bbt2.jpg": ["raj", "leonard", "sheldon"],
        "identity/bbt/group/bbt3.jpg": ["sheldon", "howard", "penny", "raj", "leonard"],
    },
}  # fmt: skip


def without_reference(gallery: Gallery, person: int, row: int) -> Gallery | None:
    """The gallery less one reference; None if it was the person's only one."""
    if len(gallery.people[person].references) < 2:
        return None
    start = int(gallery._starts[person])
    references = np.delete(gallery.references, start + row, axis=0)
    kept = tuple(r for i, r in enumerate(gallery.people[person].references) if i != row)
    people = tuple(replace(p, references=kept) if i == person else p for i, p in enumerate(gallery.people))
    return replace(gallery, people=people, references=references)


def face(vector: np.ndarray) -> Face:
    return Face(np.array([0, 0, 10, 10]), 1.0, vector)


def evaluate(gallery: Gallery, engine, scoring: str, margin: float | None) -> dict[str, float]:
    top = accepted = wrong = asked = strangers = let_in = 0
    for p, person in enumerate(gallery.people):
        rest = gallery.without(person.name)
        for row, vector in enumerate(gallery.person_references(p)):
            strangers += 1
            if len(rest):
                match = match_faces([face(vector)], rest, engine.threshold, margin, engine.margin, scoring)[0]
                let_in += match.name is not None
            less = without_reference(gallery, p, row)
            if less is None:
                continue
            asked += 1
            top += less.similarity(vector[None], scoring)[0].argmax() == p
            match = match_faces([face(vector)], less, engine.threshold, margin, engine.margin, scoring)[0]
            accepted += match.name == person.name
            wrong += match.name not in (None, person.name)
    return {
        "asked": asked, "top": top, "accepted": accepted, "wrong": wrong, "strangers": strangers, "let_in": let_in,
    }  # fmt: skip


def pair_auc(gallery: Gallery) -> float:
    owner = np.repeat(np.arange(len(gallery)), [len(p.references) for p in gallery.people])
    cosine = gallery.references @ gallery.references.T
    upper = np.triu_indices(len(owner), 1)
    same = (owner[:, None] == owner[None])[upper]
    genuine, impostor = cosine[upper][same], cosine[upper][~same]
    return float((genuine[:, None] > impostor[None]).mean())


def group_rows(name: str, gallery: Gallery, engine, data: Path):
    for path, truth in GROUPS.get(name, {}).items():
        matches = sorted(identify(read_image(data / path), engine, gallery), key=lambda m: m.face.centre[0])
        plain = sorted(identify(read_image(data / path), engine, gallery, margin=0), key=lambda m: m.face.centre[0])
        found = [m.name for m in matches]
        right = sum(a == b for a, b in zip(found, truth, strict=False)) if len(found) == len(truth) else 0
        wrong = sum(a not in (None, b) for a, b in zip(found, truth, strict=False))
        plain_right = sum(m.name == b for m, b in zip(plain, truth, strict=False)) if len(plain) == len(truth) else 0
        lowest = min((m.similarity for m in matches if m.name), default=float("nan"))
        group = sum(m.basis == "group" for m in matches)
        yield (engine.id, Path(path).name, f"{len(found)}/{len(truth)}", f"{right}/{len(truth)}", wrong, group,
               f"{plain_right}/{len(truth)}", f"{lowest:.3f}")  # fmt: skip


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    options = arguments.parse_args()
    data = require(options.data)
    engines = [EmbeddedFaces()]
    engines += [InsightFaceEngine(pack, data / "weights/insightface") for pack in ("mini_2.5g", "mini_500m")]
    main_rows, rule_rows, scoring_rows, groups = [], [], [], []
    for name in options.sets:
        for engine in engines:
            gallery = build_embeddings_db(data / SETS[name], engine)
            r = evaluate(gallery, engine, "blend", None)
            share = "-" if not r["asked"] else f"{r['top']}/{r['asked']} = {r['top'] / r['asked']:.3f}"
            main_rows.append(
                (name, engine.id, len(gallery), len(gallery.references), share, f"{pair_auc(gallery):.3f}",
                 f"{r['accepted']}/{r['asked']}", r["wrong"], f"{r['let_in']}/{r['strangers']}")
            )  # fmt: skip
            level = max(engine.threshold + engine.margin, gallery.look_alike_level())
            for label, margin in (
                ("threshold alone", 0.0),
                ("threshold + fixed margin", engine.margin),
                ("look-alike level", None),
            ):
                q = evaluate(gallery, engine, "blend", margin)
                rule_rows.append(
                    (name, engine.id, label, f"{engine.threshold:.2f}" + (f", {level:.2f}" if margin is None else ""),
                     f"{q['accepted']}/{q['asked']}", q["wrong"], f"{q['let_in']}/{q['strangers']}")
                )  # fmt: skip
            for scoring in SCORINGS:
                q = evaluate(gallery, engine, scoring, None)
                scoring_rows.append(
                    (name, engine.id, scoring, f"{q['top']}/{q['asked']}", f"{q['accepted']}/{q['asked']}", q["wrong"],
                     f"{q['let_in']}/{q['strangers']}")
                )  # fmt: skip
            groups += group_rows(name, gallery, engine, data)
    print("### Single faces, at the defaults\n")
    print(
        table(
            (
                "set",
                "engine",
                "people",
                "references",
                "leave-one-out top-1",
                "pair AUC",
                "named right",
                "named wrong",
                "strangers named",
            ),
            main_rows,
        )
    )
    print("\n### Rules\n")
    print(
        table(("set", "engine", "rule", "threshold, level", "named right", "named wrong", "strangers named"), rule_rows)
    )
    print("\n### Scoring: mean of the references, best three, or the average of both\n")
    print(table(("set", "engine", "scoring", "top-1", "named right", "named wrong", "strangers named"), scoring_rows))
    print("\n### Group pictures\n")
    print(
        table(
            ("engine", "picture", "faces", "right", "wrong", "by group", "right without the rules", "least similarity"),
            groups,
        )
    )


if __name__ == "__main__":
    main()
