"""How well faces are named: leave-one-out, strangers, levels, galleries that show little, and galleries with a fault.

    python benchmarks/identity.py [--data DIR] [--sets ive bbt ...] [--parts single levels lone ...]

Leave-one-out: each reference in turn is taken out of the gallery and asked for. Strangers: each person in turn is taken
out, and their references must be given no name. Photos that enrolment finds to be somebody else's are left out, and
listed. On single faces the one-to-one rule has nothing to work on; the group pictures show it.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation import Gallery, build_embeddings_db, identify, read_image
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.insightface_faces import InsightFaceEngine
from identity_segmentation.images import shrink_to
from identity_segmentation.people.gallery import SCORINGS, blended
from identity_segmentation.people.matching import name_faces
from identity_segmentation.people.measure import own_scores
from identity_segmentation.people.person import Person
from identity_segmentation.people.rule import NamingRule
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
PARTS = ("single", "levels", "halves", "small", "few", "lone", "split", "across", "scoring", "groups", "time")
SIZES, VIEWS = (40, 55, 80), 6  # pixels across a face; how often each photo is shown at that size
LEVELS = (0.40, 0.45, 0.48, 0.50, 0.52, 0.54, 0.55, 0.56, 0.58)


def face(vector: np.ndarray) -> Face:
    return Face(np.array([0, 0, 200, 200]), 1.0, vector)


def of_people(gallery: Gallery, people: list[tuple[Person, np.ndarray]]) -> Gallery:
    """A gallery of these people with these references, on the same engine."""
    kept = [(replace(p, references=p.references[: len(v)]), v) for p, v in people if len(v)]
    return gallery.with_everyone([p for p, _ in kept], [v for _, v in kept])


def everyone(gallery: Gallery) -> list[tuple[Person, np.ndarray]]:
    return [(p, gallery.person_references(i)) for i, p in enumerate(gallery.people)]


def named(vector: np.ndarray, gallery: Gallery, engine, margin=None, scoring="blend") -> str | None:
    rule = NamingRule.of_engine(engine, gallery, None, margin, scoring)
    return name_faces([face(vector)], gallery, rule, scoring)[0].name


def evaluate(gallery: Gallery, engine, margin=None, scoring: str = "blend") -> dict[str, int]:
    found = dict.fromkeys(("asked", "top", "right", "wrong", "strangers", "let_in"), 0)
    people = everyone(gallery)
    for number, (person, references) in enumerate(people):
        rest = of_people(gallery, people[:number] + people[number + 1 :])
        for row, vector in enumerate(references):
            found["strangers"] += 1
            found["let_in"] += bool(len(rest)) and named(vector, rest, engine, margin, scoring) is not None
            if len(references) < 2:
                continue
            less = list(people)
            less[number] = (person, np.delete(references, row, axis=0))
            less = of_people(gallery, less)
            found["asked"] += 1
            found["top"] += less.similarity(vector[None], scoring)[0].argmax() == number
            name = named(vector, less, engine, margin, scoring)
            found["right"] += name == person.name
            found["wrong"] += name not in (None, person.name)
    return found


def pair_auc(gallery: Gallery) -> float:
    owner = gallery.owners
    cosine = gallery.references @ gallery.references.T
    upper = np.triu_indices(len(owner), 1)
    same = (owner[:, None] == owner[None])[upper]
    genuine, impostor = cosine[upper][same], cosine[upper][~same]
    return float((genuine[:, None] > impostor[None]).mean())


def level_rows(gallery: Gallery, engine, repeats: int = 60):
    """How often look-alike strangers, and the person, reach a level, by the number of references."""
    rng, people = np.random.default_rng(0), [v for _, v in everyone(gallery)]
    for count in (1, 2, 3, 5, 10):
        genuine, impostor = [], []
        for _ in range(repeats):
            for number, mine in enumerate(people):
                order = rng.permutation(len(mine))
                chosen = order[: min(count, len(mine) - 1)]
                genuine.append(blended(mine[np.setdiff1d(order, chosen)], mine[chosen]))
                others = np.concatenate([v for i, v in enumerate(people) if i != number])
                impostor.append(blended(others, mine[chosen]))
        own, strangers = np.concatenate(genuine), np.concatenate(impostor)
        cells = [f"{100 * (strangers >= x).mean():.2f} / {100 * (own >= x).mean():.0f}" for x in LEVELS]
        yield (engine.id, count, *cells)


def halves_rows(gallery: Gallery, engine):
    """The threshold chosen on half of the people (0.3 % of their pairs reach it), and what it does on the others."""
    references = [gallery.person_references(i) for i in range(len(gallery))]

    def reached(people: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        others = [blended(references[a], references[b]) for a in people for b in people if a != b]
        return np.concatenate(others), np.concatenate([own_scores(gallery, a) for a in people])

    rows = []
    for half in itertools.combinations(range(len(gallery)), len(gallery) // 2):
        level = float(np.quantile(reached(half)[0], 0.997))
        others, own = reached([i for i in range(len(gallery)) if i not in half])
        rows.append((level, float((others >= level).mean()), float((own >= level).mean())))
    levels, strangers, own = np.array(rows).T
    yield (engine.id, len(rows), f"{levels.min():.2f}-{levels.max():.2f}", f"{strangers.mean():.1%}",
           f"{strangers.max():.1%}", f"{own.mean():.0%}")  # fmt: skip


def small_rows(gallery: Gallery, engine, data: Path, name: str = "ive"):
    """Faces as a video shows them - small, moving, dim, compressed: what look-alike strangers and one's own reach.

    Every photo is a track of six such views, whose score is the mean of the better half, as in a video.
    """
    rng = np.random.default_rng(0)
    seen: dict[float, list[tuple[int, int, np.ndarray]]] = {size: [] for size in (*SIZES, np.inf)}
    for index, person in enumerate(gallery.people):
        for number, reference in enumerate(person.references):
            vector = gallery.person_references(index)[number]
            image, _ = shrink_to(read_image(data / SETS[name] / reference.source), 1600)
            there = max(engine.faces(image), key=lambda f: float(f.embedding @ vector))
            seen[np.inf].append((index, number, vector[None]))
            for size in SIZES:
                views = [v for _ in range(VIEWS) for v in described(engine, small_view(image, there, size, rng))]
                if views:
                    seen[size].append((index, number, np.stack(views)))
    for size, tracks in seen.items():
        own, others = [], []
        for index, number, views in tracks:
            for person in range(len(gallery)):
                known = gallery.person_references(person)
                known = np.delete(known, number, 0) if person == index else known
                best = np.sort(blended(views, known))[::-1][: (len(views) + 1) // 2]
                (own if person == index else others).append(float(best.mean()))
        yield (engine.id, "as it is" if np.isinf(size) else f"{size}", f"{np.quantile(others, 0.998):.3f}",
               f"{np.median(own):.3f}", f"{np.mean(np.array(others) >= engine.threshold):.2%}",
               f"{np.mean(np.array(own) >= engine.threshold):.0%}")  # fmt: skip


def small_view(image: np.ndarray, there: Face, size: float, rng: np.random.Generator) -> np.ndarray:
    scale, side = size / there.side, int(3 * size)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    x, y = (float(v) * scale for v in there.centre)
    turn = cv2.getRotationMatrix2D((x, y), float(rng.uniform(-15, 15)), 1)
    turn[:, 2] += (side / 2 - x, side / 2 - y)
    view = cv2.warpAffine(small, turn, (side, side))
    streak = int(rng.integers(1, 4))
    view = cv2.blur(view, (streak, 1)) if streak > 1 else view
    view = cv2.convertScaleAbs(view, alpha=float(rng.uniform(0.7, 1.1)))
    return cv2.imdecode(cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 70))])[1], 1)


def described(engine, view: np.ndarray) -> list[np.ndarray]:
    """The embedding of the face in the middle, if it is found."""
    middle = np.array(view.shape[1::-1]) / 2
    found = sorted(engine.faces(view), key=lambda f: float(np.linalg.norm(np.array(f.centre) - middle)))
    return [f.embedding for f in found[:1]]


def few_rows(gallery: Gallery, engine, repeats: int = 4):
    """The whole rule on galleries with few references each."""
    rng, people = np.random.default_rng(1), everyone(gallery)
    for count in (1, 2, 3, 5, 10):
        right = wrong = asked = let_in = strangers = 0
        for _ in range(repeats):
            orders = [rng.permutation(len(v)) for _, v in people]
            taken = [order[: min(count, len(order) - 1)] for order in orders]
            built = [(p, v[t]) for (p, v), t in zip(people, taken, strict=True)]
            small = of_people(gallery, built)
            for number, ((person, references), chosen) in enumerate(zip(people, taken, strict=True)):
                without = of_people(gallery, built[:number] + built[number + 1 :])
                for row in np.setdiff1d(np.arange(len(references)), chosen)[:4]:
                    name = named(references[row], small, engine)
                    asked, right = asked + 1, right + (name == person.name)
                    wrong += name not in (None, person.name)
                    strangers += 1
                    let_in += named(references[row], without, engine) is not None
        yield (
            engine.id,
            count,
            f"{right / asked:.2f}",
            f"{100 * wrong / asked:.1f}",
            f"{100 * let_in / strangers:.1f}",
        )


def lone_rows(gallery: Gallery, unlike: list[tuple[Person, np.ndarray]], engine):
    """One person alone on file, or among people who look nothing like them, and everybody else as strangers."""
    people = everyone(gallery)
    for label, beside in (("alone", []), (f"among {len(unlike)} unlike", unlike)):
        cells, wrong, strangers, own, asked = [], 0, 0, 0, 0
        for number, (person, references) in enumerate(people):
            with_all = of_people(gallery, [(person, references), *beside])
            others = np.concatenate([v for i, (_, v) in enumerate(people) if i != number])
            mistaken = sum(named(vector, with_all, engine) is not None for vector in others)
            mine = 0
            for row in range(len(references)):
                less = of_people(gallery, [(person, np.delete(references, row, axis=0)), *beside])
                mine += named(references[row], less, engine) == person.name
            wrong, strangers = wrong + mistaken, strangers + len(others)
            own, asked = own + mine, asked + len(references)
            cells.append(f"{person.name} {mistaken}, {mine}/{len(references)}")
        yield (engine.id, label, f"{wrong}/{strangers}", f"{own}/{asked}", "; ".join(cells))


def split_rows(gallery: Gallery, engine):
    """Each person in turn on file under two names; how many of the others, and of theirs, are named, leave-one-out."""
    people = everyone(gallery)
    totals = np.zeros(5, int)
    for number, (person, references) in enumerate(people):
        half = len(references) // 2
        if half < 1:
            continue
        twin = replace(person, id=f"{person.id}-2", name=f"{person.name} again", aliases=())
        rows = [*people[:number], (person, references[:half]), *people[number + 1 :], (twin, references[half:])]
        said = {(gallery.people[number].name, twin.name)}
        split = of_people(gallery, rows)
        pairs = NamingRule.of_engine(engine, split).pairs
        totals[4] += {(split.names[a], split.names[b]) for a, found in pairs.items() for b, _ in found} >= said
        for place, (owner, theirs) in enumerate(rows):
            for row, vector in enumerate(theirs):
                less = list(rows)
                less[place] = (owner, np.delete(theirs, row, axis=0))
                name = named(vector, of_people(gallery, less), engine)
                mine = owner.id in (person.id, twin.id)
                right = name in ((person.name, twin.name) if mine else (owner.name,))
                totals[2 if mine else 0] += right
                totals[1] += not mine
                totals[3] += not right and name is not None
    before = evaluate(gallery, engine)
    yield (engine.id, f"{before['right']}/{before['asked']}", f"{totals[0]}/{totals[1]}", totals[2], totals[3],
           f"{totals[4]}/{len(people)}")  # fmt: skip


def across_rows(galleries: dict[str, Gallery], engine):
    for name, gallery in galleries.items():
        strangers = np.concatenate([g.references for other, g in galleries.items() if other != name])
        let_in = sum(named(vector, gallery, engine) is not None for vector in strangers)
        yield (engine.id, name, f"{let_in}/{len(strangers)}")


def group_rows(name: str, gallery: Gallery, extra: list[tuple[Person, np.ndarray]], engine, data: Path):
    stranger = of_people(gallery, [*everyone(gallery), *extra[:1]])
    for path, truth in GROUPS.get(name, {}).items():
        for label, on_file in (("", gallery), (" + an unrelated person", stranger)):
            found = sorted(identify(read_image(data / path), engine, on_file), key=lambda m: m.face.centre[0])
            names = [m.name for m in found]
            right = sum(a == b for a, b in zip(names, truth, strict=False)) if len(names) == len(truth) else 0
            wrong = sum(a not in (None, b) for a, b in zip(names, truth, strict=False))
            lowest = min((m.similarity for m in found if m.name), default=float("nan"))
            group = sum(m.basis == "group" for m in found)
            yield (engine.id, Path(path).name + label, f"{len(names)}/{len(truth)}", f"{right}/{len(truth)}", wrong,
                   group, f"{lowest:.3f}")  # fmt: skip


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    arguments.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    options = arguments.parse_args()
    data, parts = require(options.data), options.parts
    engines = [EmbeddedFaces()]
    engines += [InsightFaceEngine(pack, data / "weights/insightface") for pack in ("mini_2.5g", "mini_500m")]
    galleries, left_out, times = {}, [], []
    for engine in engines:
        for name in options.sets:
            started = time.perf_counter()
            gallery = build_embeddings_db(data / SETS[name], engine)
            times.append((engine.id, name, len(gallery.photos), f"{time.perf_counter() - started:.1f} s"))
            galleries[engine.id, name] = gallery
            left_out += [f"{engine.id}: {v.photo} ({v.detail})" for v in gallery.report.verdicts if not v.used]

    def section(part: str, title: str, head: tuple[str, ...], rows) -> None:
        if part in parts:
            print(f"\n### {title}\n")
            print(table(head, list(rows)))

    def single():
        for (engine_id, name), gallery in galleries.items():
            engine = next(e for e in engines if e.id == engine_id)
            for label, margin in (("the rule", None), ("the threshold alone", 0.0)):
                r = evaluate(gallery, engine, margin)
                rule = NamingRule.of_engine(engine, gallery, None, margin)
                yield (name, engine_id, label, f"{min(rule.levels):.2f}-{max(rule.levels):.2f}",
                       f"{r['top']}/{r['asked']}", f"{r['right']}/{r['asked']}", r["wrong"],
                       f"{r['let_in']}/{r['strangers']}", f"{pair_auc(gallery):.3f}")  # fmt: skip

    def each(rows, name: str = "ive"):
        for engine in engines:
            if (engine.id, name) in galleries:
                yield from rows(galleries[engine.id, name], engine)

    def unlike(engine):
        return [p for s in ("knn_examples", "friends") if s in options.sets for p in everyone(galleries[engine.id, s])]

    section("single", "Single faces", ("set", "engine", "rule", "levels", "top-1", "named right", "named wrong",
            "strangers named", "pair AUC"), single())  # fmt: skip
    section("levels", "Levels: per cent of look-alike strangers / of the person's own photos that reach a similarity",
            ("engine", "references", *map(str, LEVELS)), each(level_rows))  # fmt: skip
    section("halves", "The threshold chosen on half of the look-alikes, and what it does on the other half", ("engine",
            "halves", "threshold", "strangers, mean", "strangers, worst", "own"), each(halves_rows))  # fmt: skip
    section("small", "Small faces, as a video shows them: look-alike strangers' 99.8 %, one's own median; who reaches "
            "the threshold", ("engine", "pixels", "strangers' 99.8 %", "own median", "strangers", "own"),
            each(lambda g, e: small_rows(g, e, data)))  # fmt: skip
    section("few", "Few references: the rule on six look-alikes", ("engine", "references", "named right", "wrong, %",
            "strangers named, %"), each(few_rows))  # fmt: skip
    section("lone", "A gallery that can show nothing: one of the look-alikes on file, the others strangers", ("engine",
            "gallery", "strangers named", "own photos named", "each: strangers, own"),
            each(lambda g, e: lone_rows(g, unlike(e), e)))  # fmt: skip
    section("split", "One person under two names", ("engine", "named before", "others named", "theirs named", "wrong",
            "said"), each(split_rows))  # fmt: skip
    section("across", "Strangers of other sets", ("engine", "gallery", "named"),
            (row for e in engines
             for row in across_rows({n: galleries[e.id, n] for n in options.sets}, e)))  # fmt: skip
    section("scoring", "Scoring: mean of the references, best three, or the average of both", ("set", "engine",
            "scoring", "top-1", "named right", "named wrong", "strangers named"),
            ((n, e.id, s, f"{q['top']}/{q['asked']}", f"{q['right']}/{q['asked']}", q["wrong"],
              f"{q['let_in']}/{q['strangers']}")
             for n in options.sets[:1] for e in engines for s in SCORINGS
             for q in (evaluate(galleries[e.id, n], e, None, s),)))  # fmt: skip
    section("groups", "Group pictures", ("engine", "picture", "faces", "right", "wrong", "by group",
            "least similarity"),
            (row for n in options.sets for e in engines
             for row in group_rows(n, galleries[e.id, n], unlike(e) if n == "ive" else [], e, data)))  # fmt: skip
    section("time", "Building", ("engine", "set", "photos", "time"), times)
    print("\nLeft out at enrolment:\n" + "\n".join(left_out))
    print("\nLowest leave-one-out similarity:", {
        k: round(min((s for i in range(len(g)) for s in own_scores(g, i)), default=1.0), 3)
        for k, g in galleries.items()
    })  # fmt: skip


if __name__ == "__main__":
    main()
