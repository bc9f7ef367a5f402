"""What the documentation says is so.

Every line of its code blocks runs, in the order it is written; and the command line is documented whole.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import io
import json
import os
import re
import shlex
import shutil
import tomllib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT

from identity_segmentation.cli.command import build_parser, main

PAGES = [ROOT / "README.md", ROOT / "Dataset/README.md", ROOT / "Input/README.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
# Lines that a test cannot run, and why.
NOT_RUN = {
    "make": "the test is part of `make test`, and `make demo` has a test of its own",
    "pip": "would change the environment that the test runs in",
    "hf": "asks a person for a token",
    "jupyter": "serves until it is stopped; the notebook has a test of its own",
}
# ... or a store, or a shared folder.
NEEDS_A_GPU = ("--segmenter sam3 ", "--segmenter sam3.1 ", "--device cuda", "s3://", "/mnt/")


def blocks(page: Path):
    """(language, text) of every code block of a page, indented or fenced, in order."""
    lines, text, kind = page.read_text("utf-8").splitlines(), [], None
    for line in [*lines, ""]:
        if kind is not None and kind != "indented":
            if line.startswith("```"):
                yield kind, "\n".join(text)
                kind, text = None, []
            else:
                text.append(line)
        elif line.startswith("```"):
            kind, text = line.removeprefix("```") or "text", []
        elif line.startswith("    "):
            kind = "indented"
            text.append(line[4:])
        elif kind == "indented" and line.strip():
            yield kind, "\n".join(text)
            kind, text = None, []
    if text:
        yield kind, "\n".join(text)


@pytest.fixture(scope="module")
def master(tmp_path_factory, group, astronaut, embedded_faces) -> Path:
    """The folder that the documentation speaks of: photos of its people, pictures, videos, tiles."""
    from identity_segmentation import write_image
    from identity_segmentation.demo import portrait
    from identity_segmentation.video import FORMATS
    from identity_segmentation.video.writing import SegmentWriter

    home = tmp_path_factory.mktemp("docs")
    folders = ["An_Yujin", "Jang_Wonyoung", "Kim_Gaeul", "Kim_Jiwon", "Lee_Hyunseo", "Naoi_Rei"]
    faces = sorted(embedded_faces.faces(group, embed=False), key=lambda f: f.centre[0])
    for folder, face in zip(folders, faces, strict=True):
        write_image(home / "Dataset" / folder / "1.png", portrait(group, face))
    shutil.copy(ROOT / "Dataset" / "members.toml", home / "Dataset")
    write_image(home / "photos_of_friends" / "Eileen" / "1.png", astronaut)
    for number, picture in enumerate((astronaut, astronaut[:, ::-1], astronaut[30:260, 90:370]), 1):
        write_image(home / f"minji_{number}.jpg", np.ascontiguousarray(picture))
    stage = cv2.resize(group, (960, round(group.shape[0] * 960 / group.shape[1])), interpolation=cv2.INTER_AREA)
    write_image(home / "Input" / "stage.jpg", stage)
    small = cv2.resize(stage, (640, 480), interpolation=cv2.INTER_AREA)
    other = np.full_like(small, 40)
    cv2.circle(other, (330, 230), 50, (60, 90, 200), -1)
    films = {
        "in.mp4": [np.roll(small, i, 1) for i in range(8)] + [other] * 4 + [np.roll(small, -i, 1) for i in range(8)],
        "herd.mp4": [np.roll(other, 2 * i, 1) for i in range(12)],
    }
    for name, pictures in films.items():
        rate = Fraction(6)
        with SegmentWriter(home / name, FORMATS[".mp4"], (640, 480), rate, 1 / rate) as writer:
            for i, picture in enumerate(pictures):
                writer.write(picture, i)
    for copy in ("Input/stage.mp4", "Input/herd.mp4", "barn/2026-05-01_10-00-00.mp4"):
        (home / copy).parent.mkdir(exist_ok=True)
        shutil.copy(home / ("in.mp4" if "stage" in copy else "herd.mp4"), home / copy)
    rng = np.random.default_rng(5)
    names = ["a", "b", "clean", "more/x", *(f"tiles/tile_{i:03d}" for i in range(1, 6))]
    for name in names:
        plate = rng.integers(110, 140, (240, 320, 3), dtype=np.uint8)
        if name != "clean":
            cv2.line(plate, (130, 100), (200, 150), (30, 30, 30), 6)
        write_image(home / f"{name}.png", plate)
    return home


@pytest.fixture
def home(master, tmp_path, monkeypatch, embedded_faces, embedded_masks) -> Path:
    """A fresh copy to stand in, with the engines loaded already, no window to open and no page to serve."""
    import identity_segmentation.labels.window as window
    from identity_segmentation.labels.canvas import Canvas
    from identity_segmentation.labels.marks import Mark

    class Hand:
        """Draws one box in every picture that the window shows."""

        def __init__(self, job, pictures, number=1, correcting=False):
            self.canvases = [Canvas(job, picture, correcting) for picture in pictures]
            self.number = number

        def show(self):
            for canvas in self.canvases:
                canvas.add(Mark.box(self.number, 120, 90, 210, 160))
                canvas.finish()

    monkeypatch.setattr("identity_segmentation.engines.embedded_faces.create", lambda settings: embedded_faces)
    monkeypatch.setattr("identity_segmentation.engines.embedded_masks.create", lambda settings: embedded_masks)
    monkeypatch.setattr(window, "SmartSelector", Hand)
    with contextlib.suppress(ImportError):
        import identity_segmentation.ui.serving as serving

        monkeypatch.setattr(serving, "serve", lambda *_, **__: None)
    shutil.copytree(master, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def run(line: str, monkeypatch) -> None:
    """One line of a shell block."""
    for command in line.split(" && "):
        words = shlex.split(command, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            name, value = words.pop(0).split("=", 1)
            monkeypatch.setenv(name, value.replace("...", "a long password"))
        if not words:
            continue
        if words[0] in NOT_RUN:
            continue
        assert words[0] == "idseg", f"a line that the test knows nothing of: {line}"
        target = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if target else words
        words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(words[1:])
            except SystemExit as ended:  # of the parser
                status = ended.code
        random_weights = "sam3-hf" in words  # a tiny random SAM 3 finds nobody, and says so
        may_find = words[1] == "audit"  # whoever is to be seen is a finding, and says so
        assert status in ((0, 3) if random_weights else (0, 4) if may_find else (0,)), (
            f"{line}\n{out.getvalue()}{err.getvalue()}"
        )
        if target:
            Path(target).write_text(out.getvalue(), "utf-8")
            json.loads(out.getvalue())


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p))], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_line_of_a_code_block_runs_in_the_order_it_is_written(page, home, monkeypatch, request):
    for kind, text in blocks(page):
        if kind == "json":
            json.loads(text)
        elif kind == "toml":
            tomllib.loads(text)
            for name in ("clips.toml", "batch.toml"):
                Path(name).write_text(text, "utf-8")
        elif kind in ("yaml", "console", "text"):
            pass  # of other programs, of other machines, and sums
        elif kind == "python":
            exec(compile(text, str(page), "exec"), {})
        elif any(line.startswith(("idseg", "IDSEG", "make", "pip", "hf", "jupyter")) for line in text.splitlines()):
            if page.parent.name == "Input" and not Path("gallery").exists():
                assert main(["people", "build"]) == 0  # what Dataset/README.md says comes first
            for line in text.splitlines():
                if "sam3-hf" in line:
                    monkeypatch.setenv("IDSEG_SAM3_CHECKPOINT", str(request.getfixturevalue("tiny_folder")))
                if not any(word in f"{line} " for word in NEEDS_A_GPU):
                    run(line, monkeypatch)
                monkeypatch.delenv("IDSEG_SAM3_CHECKPOINT", raising=False)
        else:  # a drawing of folders
            assert re.search(r"^\w+/$", text, re.M), f"{page}: neither commands nor a drawing of folders:\n{text}"


# ---- the command line, documented whole


def _verbs():
    """(words of the verb, its parser)."""

    def within(parser, words):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    yield from within(inner, [*words, name])
                return
        yield words, parser

    yield from within(build_parser(), [])


def _options(parser) -> set[str]:
    return {max(a.option_strings, key=len) for a in parser._actions if a.option_strings} - {"--help"}


def _shared() -> set[str]:
    return set.intersection(*(_options(parser) for _, parser in _verbs()))


def _sections() -> dict[str, str]:
    text = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    parts = re.split(r"^## (.+)$", text, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


@pytest.mark.parametrize("words, parser", list(_verbs()), ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_every_option_of_a_verb_is_said_where_the_verb_is(words, parser):
    said = [text for text in _sections().values() if f"idseg {' '.join(words)}" in text]
    assert said, f"idseg {' '.join(words)} has no example"
    missing = [o for o in _options(parser) - _shared() if not any(re.search(rf"{o}\b", text) for text in said)]
    assert not missing


def test_the_table_of_shared_options_is_that_of_the_parser_and_the_settings():
    from identity_segmentation import Settings

    rows = re.findall(r"^\| `(-[\w-]+)[^|]*\| (`\w+`)? *\| (.*?) *\|", _sections()[""], re.M)
    assert {name for name, _, _ in rows} == {o for o in _shared() if o != "--verbose"} | {"-v"}
    defaults = {f"`IDSEG_{name.upper()}`": str(value) for name, value in vars(Settings()).items()}
    for _, variable, default in rows:
        assert not variable or variable in defaults
        if default.startswith("`"):
            assert default.strip("`") == defaults[variable]
    only = re.findall(r"`(IDSEG_\w+)`", _sections()[""])
    assert {f"`{name}`" for name in only} >= set(defaults), "every setting has a variable that is named"


def test_the_documentation_names_no_option_that_there_is_not():
    known = set().union(*(_options(parser) for _, parser in _verbs()))
    for page in PAGES:
        named = set(re.findall(r"(?<![\w-])(--[a-z][\w-]+)", page.read_text("utf-8")))
        of_scripts = {
            "--dev",
            "--light",
            "--data",
            "--parts",
            "--sets",
            "--half",
            "--starts",
            "--version",
            "--index-url",
        }
        of_scripts |= {"--head", "--address"}  # Ray's
        assert named - known - of_scripts == set(), page


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_environment_is_left_as_it_was():
    assert "IDSEG_UI_PASSWORD" not in os.environ
