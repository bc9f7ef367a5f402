"""The project holds its own lines: imports point one way, names are pinned, the demo is right."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import identity_segmentation

PACKAGE = ROOT / "identity_segmentation"
ENGINE_LIBRARIES = [
    "torch",
    "onnxruntime",
    "onnx",
    "av",
    "pycocotools",
    "insightface",
    "ai_edge_litert",
    "gradio",
    "matplotlib",
    "sklearn",
]


# ---- wings


def _map() -> dict[str, tuple[set[str], set[str]]]:
    """CONTRIBUTING's table: wing -> (its modules, the wings it may import from)."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ") and line.count("|") == 5]
    wings = {}
    for wing, _, modules, allowed in rows[1:]:
        wings[wing.strip(" `/")] = (
            {name.strip(" `") for name in modules.split(",")},
            {name.strip(" `/") for name in allowed.split(",") if name.strip()},
        )
    return wings


def _module(path) -> str:
    """A file of the package as "wing/name"; those at the root are in the wing that the map says."""
    *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
    if folders:
        return "/".join([*folders, name])  # "labels/export/coco": the wing is the first folder
    return next((f"{wing}/{name}" for wing in ("ground", "through") if name in _map()[wing][0]), name)


def _wing(path) -> str:
    return _module(path).partition("/")[0] if "/" in _module(path) else ""


def _imported(path):
    """Files of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for name in [alias.name for alias in node.names] if base.is_dir() else [""]:
            inner = base / f"{name}.py"
            yield inner if inner.is_file() else (base / "__init__.py" if base.is_dir() else base.with_suffix(".py"))


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_map_of_the_code_is_complete():
    listed = {f"{wing}/{name}" for wing, (modules, _) in _map().items() for name in modules}
    assert listed == {_module(p) for p in FILES if p.stem not in ("__init__", "__main__")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_wing_imports_only_from_the_wings_it_may(path):
    wings, wing = _map(), _wing(path)
    for target in _imported(path):
        other = _wing(target)
        if wing and other not in (wing, "ground", ""):
            assert other in wings[wing][1], f"{wing} must not import {target.relative_to(PACKAGE)}"
        if wing and not other:
            assert target == PACKAGE / "__init__.py", "the package itself has no more than its version"


def test_no_two_modules_import_each_other():
    graph = {path: {t for t in _imported(path) if t != PACKAGE / "__init__.py"} - {path} for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_files_and_functions_stay_readable():
    """The largest file, and functions so long that they can hardly tell one story."""
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert max(lines.values()) < 650, max(lines, key=lines.get)
    functions = [
        node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert sum(length > 50 for length in functions) < 0.01 * len(functions)


def test_importing_the_package_loads_nothing_heavy():
    heavy = [
        "numpy",
        "cv2",
        "scipy",
        "torch",
        "onnxruntime",
        "insightface",
        "ai_edge_litert",
        "PIL",
        "gradio",
        "matplotlib",
    ]
    code = f"import sys, identity_segmentation; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_importing_every_module_loads_no_engine():
    files = [
        p.relative_to(PACKAGE) for p in FILES if p.parent != PACKAGE / "ui" and p.stem != "__main__"
    ]  # the page itself
    modules = [".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in files if p.stem != "__init__"]
    heavy = ENGINE_LIBRARIES
    code = (
        f"import sys, importlib\nfor m in {modules}: importlib.import_module('identity_segmentation.' + m)\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_public_names_are_these_and_all_are_documented():
    assert sorted(identity_segmentation.__all__) == sorted(
        [
            "__version__",
            "IdentityAwareSegmentation",
            "Settings",
            "Gallery",
            "build_embeddings_db",
            "add_photos",
            "open_gallery",
            "identify",
            "identify_all_members",
            "match_faces",
            "face_to_body_bbox",
            "segment_by_box",
            "segment_matches",
            "annotate",
            "overlay",
            "cutout",
            "read_image",
            "write_image",
            "face_engine",
            "segmenter",
            "Face",
            "Match",
            "Segment",
            "Sighting",
            "Status",
            "MemberResult",
            "IdentitySegmentationError",
            "EngineUnavailable",
            "GalleryError",
            "ImageError",
            "InputError",
            "OutputError",
            "UnknownPerson",
            "SimpleTracker",
            "TemporalSmoother",
            "VideoReader",
            "VideoReport",
            "VideoError",
            "batch",
            "LabelJob",
            "Mark",
            "SmartSelector",
        ]
    )
    for name in identity_segmentation.__all__:
        assert getattr(identity_segmentation, name) is not None
        if name != "__version__":
            assert getattr(identity_segmentation, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = identity_segmentation.nonsense


def test_every_module_and_public_function_says_what_it_does():
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree), path
        for node in tree.body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and node.name != "create"
            ):
                assert ast.get_docstring(node), f"{path}: {node.name}"


def _functions(path):
    """(function, is it public, does it belong to an instance or class) of a file."""

    def within(body, public, bound):
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from within(node.body, public and not node.name.startswith("_"), True)
            elif isinstance(node, ast.FunctionDef):
                static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
                yield node, public and not node.name.startswith("_"), bound and not static

    yield from within(ast.parse(path.read_text("utf-8")).body, True, False)


def _parameters(node, bound):
    given = node.args
    extra = [p for p in (given.vararg, given.kwarg) if p]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs][int(bound) :] + extra


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_and_long_inner_ones_say_their_types(path):
    for node, public, bound in _functions(path):
        if public or node.end_lineno - node.lineno + 1 > 25:
            bare = [p.arg for p in _parameters(node, bound) if p.annotation is None]
            assert not bare, f"{node.name}: {', '.join(bare)}"
            assert node.returns is not None or node.name == "__init__", f"{node.name} says not what it returns"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_functions_of_three_parameters_say_what_each_is(path):
    """In an Args section; or by naming, with "see `...`", the protocol or the function that does."""
    for node, public, bound in _functions(path):
        said = ast.get_docstring(node) or ""
        if public and len(_parameters(node, bound)) >= 3:
            assert "Args:" in said or re.search(r"[Ss]ee\s+`", said), f"{node.name} says nothing of its parameters"


def test_the_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file() and "py.typed" in (ROOT / "pyproject.toml").read_text("utf-8")


def test_nothing_unpickles():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        text = path.read_text("utf-8")
        assert "import pickle" not in text and "allow_pickle=True" not in text, path
        # Meta publishes SAM 3 as a .pt file: read as tensors alone, by the loader that runs nothing.
        assert all("weights_only=True" in call for call in re.findall(r"torch\.load\([^)]*\)", text)), path


def test_the_version_is_said_once():
    assert f'version = "{identity_segmentation.__version__}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_requirements_txt_holds_the_full_set_its_users_expect():
    text = (ROOT / "requirements.txt").read_text("utf-8")
    for name in [
        "torch",
        "torchvision",
        "sam3>=0.1.4,<0.2",
        "insightface",
        "onnxruntime-gpu",
        "opencv-python",
        "numpy",
        "scipy",
        "gradio",
    ]:
        assert any(line.startswith(name) for line in text.splitlines()), name
    for name in ("huggingface_hub", "tqdm"):
        assert name in text


def test_the_members_file_names_the_six_and_their_spellings_do_not_collide():
    from identity_segmentation.people.enrolment import read_members
    from identity_segmentation.people.person import name_key

    members = read_members(ROOT / "Dataset")
    assert {m.folder: m.name for m in members.values()} == {
        "An_Yujin": "Yujin", "Jang_Wonyoung": "Wonyoung", "Kim_Gaeul": "Gaeul",
        "Kim_Jiwon": "Liz", "Lee_Hyunseo": "Leeseo", "Naoi_Rei": "Rei",
    }  # fmt: skip
    spellings = [name_key(a) for m in members.values() for a in (m.name, *m.aliases)]
    assert len(spellings) == len(set(spellings))
    assert len({m.colour for m in members.values()}) == 6
    assert {"원영", "วอนยอง"} <= set(members["Jang_Wonyoung"].aliases)


def test_the_demo_names_everyone_and_leaves_its_pictures(tmp_path, capsys):
    from identity_segmentation.demo import run_demo

    assert run_demo(tmp_path) == 0
    out = capsys.readouterr().out
    assert "0 wrong or missing names" in out and "WRONG" not in out
    assert (tmp_path / "contact_sheet.jpg").stat().st_size > 50_000
    assert not (tmp_path / "Dataset").exists(), "a user may have one there"
    assert len(list((tmp_path / "mirrored").glob("*_cutout.png"))) == 6


def test_the_scripts_compile_and_verify_says_ready():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "verify_setup.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0 and "ready" in done.stdout.splitlines()[-1], done.stdout
    assert subprocess.run(["bash", "-n", ROOT / "scripts" / "setup.sh"]).returncode == 0


def test_the_project_speaks_of_the_project_alone():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *PACKAGE.rglob("*.py")]:
        text = path.read_text("utf-8")
        for word in ("shared/DESIGN", "EMBEDDED_FACTS", "STYLE.md", "this issue", "the issue "):
            assert word not in text, f"{path}: {word}"
