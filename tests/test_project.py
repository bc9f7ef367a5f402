"""The project holds its own lines: imports point one way, names are pinned, the notebook runs, the demo is right."""

from __future__ import annotations

import ast
import json
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
# A module may import from its own layer or from those before it.
LAYERS = [
    {"errors", "settings"},
    {"phrases", "files", "fonts"},
    {"types"},
    {"geometry", "images"},
    {"drawing"},
    {"engines"},
    {"gallery", "segmentation", "video", "flow", "smoothing", "propagation", "cuts", "marks", "calibration"},
    {"rule", "instances", "enrolment", "markbook", "targets", "manifest"},
    {"matching", "possession", "tracking", "naming"},
    {"doctor", "export", "clip_settings", "finders"},
    {"analysis"},
    {"seeded", "mattes", "clips", "labeling"},
    {"render", "canvas"},
    {"pipeline"},
    {"results"},
    {"demo", "notebook", "selector", "ui", "ui_label"},
    {"cli", "cli_label"},
    {"__main__", "__init__"},
]


def _layer(module: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if module.split(".")[0] in layer)


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level == 1 and path.parent != PACKAGE:
                yield path.parent.name
            elif node.module:
                yield node.module
            else:
                yield from (alias.name for alias in node.names if not alias.name.startswith("__"))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.parent.name if path.parent != PACKAGE else path.stem
    for module in _imports(path):
        assert _layer(module) <= _layer(own), f"{own} must not import {module}"


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
    modules = [p.stem for p in PACKAGE.glob("*.py") if p.stem not in ("__main__", "ui", "ui_label")]  # the page itself
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
    from identity_segmentation.enrolment import read_members
    from identity_segmentation.gallery import name_key

    members = read_members(ROOT / "Dataset")
    assert {m.folder: m.name for m in members.values()} == {
        "An_Yujin": "Yujin", "Jang_Wonyoung": "Wonyoung", "Kim_Gaeul": "Gaeul",
        "Kim_Jiwon": "Liz", "Lee_Hyunseo": "Leeseo", "Naoi_Rei": "Rei",
    }  # fmt: skip
    spellings = [name_key(a) for m in members.values() for a in (m.name, *m.aliases)]
    assert len(spellings) == len(set(spellings))
    assert len({m.colour for m in members.values()}) == 6
    assert {"원영", "วอนยอง"} <= set(members["Jang_Wonyoung"].aliases)


def test_the_notebook_is_committed_without_outputs():
    for cell in json.loads((ROOT / "main.ipynb").read_text("utf-8"))["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    book = nbformat.read(ROOT / "main.ipynb", 4)
    titles = [c.source.splitlines()[0] for c in book.cells if c.cell_type == "markdown" and c.source.startswith("## ")]
    assert titles == [
        "## 1 Environment Setup", "## 2 Face Embedding Database", "## 3 Identity Matching",
        "## 4 Segmentation Engine", "## 5 Integration Pipeline", "## 6 Gradio UI", "## 7 Video Inference",
    ]  # fmt: skip
    # Functions read the globals when they are called: changing one afterwards changes the next answer.
    book.cells.append(
        nbformat.v4.new_code_cell("SIMILARITY_THRESHOLD = 0.9999\nsegment_member(image_bgr, member_name).status.code")
    )
    book.cells.append(
        nbformat.v4.new_code_cell(
            "wanted = 'DATASET_DIR INPUT_DIR OUTPUT_DIR FACE_ENGINE SEGMENTER SIMILARITY_THRESHOLD FRAME_SAMPLING '"
            "'LAUNCH_UI SHARE face_analyzer embeddings_db identify_all_members segmenter segment_by_box '"
            "'face_to_body_bbox segment_member segment_possession demo SimpleTracker TemporalSmoother process_video'\n"
            "SIMILARITY_THRESHOLD = None\n"
            "print([name for name in wanted.split() if name not in globals()], type(demo).__name__)\n"
            "report = process_video(video_path, Path(OUTPUT_DIR) / 'again.mp4', member_name, 10)\n"
            "print(len(identify_all_members(image_bgr, face_analyzer, embeddings_db)), report.frames)\n"
            "embeddings_db = embeddings_db.without(member_name)\n"
            "try:\n    segment_member(image_bgr, member_name)\nexcept ids.UnknownPerson:\n    print('gone')"
        )
    )
    nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    code = [c for c in book.cells if c.cell_type == "code"]
    pictures = sum("image/png" in o.get("data", {}) for c in code for o in c.outputs)
    assert pictures == 6
    assert "'not_found'" in code[-2].outputs[0]["data"]["text/plain"]
    assert "".join(o.get("text", "") for o in code[-1].outputs).split("\n")[:3] == ["[] Blocks", "6 50", "gone"]
    assert any("similarity" in o.get("text", "") for c in code for o in c.outputs)


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
