"""Fixtures: pictures that packages carry, the test data where it is, and engines loaded once."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeFaces, FakeMasks

from identity_segmentation.files import package_folder

pytest_plugins = ["page_fixtures"]

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("IDSEG_DATA") or ROOT.parent / "shared" / "data")
# SAM 3's tests run where this says: "cpu", or "cuda" on a machine that has one.
DEVICE = os.environ.get("IDSEG_TEST_DEVICE") or "cpu"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    """A developer's IDSEG_... variables must not decide what the tests see."""
    for name in [n for n in os.environ if n.startswith("IDSEG_") and n not in ("IDSEG_NETS", "IDSEG_DATA")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"the test data is not at {DATA} (set IDSEG_DATA)")
    return DATA


def packaged(package: str, inside: str) -> Path:
    return package_folder(package) / inside


@pytest.fixture(scope="session")
def group_path() -> Path:
    """InsightFace's example picture: six people at a table, 1280x886."""
    return packaged("insightface", "data/images/t1.jpg")


@pytest.fixture(scope="session")
def group(group_path) -> np.ndarray:
    from identity_segmentation import read_image

    return read_image(group_path)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    from identity_segmentation import read_image

    return read_image(packaged("skimage", "data/astronaut.png"))


@pytest.fixture(scope="session")
def embedded_faces():
    from identity_segmentation.engines.embedded_faces import EmbeddedFaces

    return EmbeddedFaces()


@pytest.fixture(scope="session")
def embedded_masks():
    from identity_segmentation.engines.embedded_masks import EmbeddedMasks

    return EmbeddedMasks()


@pytest.fixture(scope="session")
def embedded_objects():
    from identity_segmentation.engines.embedded_objects import EmbeddedObjects

    return EmbeddedObjects()


@pytest.fixture(scope="session")
def cat() -> np.ndarray:
    """A cat's face, 451x300."""
    from identity_segmentation import read_image

    return read_image(packaged("skimage", "data/chelsea.png"))


@pytest.fixture(scope="session")
def mini_pack(data) -> Path:
    return data / "weights/insightface/models/mini_2.5g"


@pytest.fixture(scope="session")
def insightface_mini(mini_pack):
    from identity_segmentation.engines.insightface_faces import InsightFaceEngine

    return InsightFaceEngine(str(mini_pack))


@pytest.fixture
def fake_faces() -> FakeFaces:
    return FakeFaces()


@pytest.fixture
def fake_masks() -> FakeMasks:
    return FakeMasks()


# ---- SAM 3, tiny and random: its code and its loading are real, its masks mean nothing


@pytest.fixture(scope="session")
def torch():
    """torch, quiet and on one thread; skips aloud where the extra is not installed."""
    from identity_segmentation.engines import _torchvision

    found = pytest.importorskip("torch", reason="SAM 3's tests need torch: scripts/setup.sh --dev")
    pytest.importorskip("transformers", reason="SAM 3's tests need transformers: scripts/setup.sh --dev")
    _torchvision.ensure()
    found.set_num_threads(1)
    # float32 is meant to the last digit: on a GPU convolutions would be rounded to 10 bits.
    found.backends.cudnn.allow_tf32 = False
    return found


@pytest.fixture(scope="session")
def device(torch) -> str:
    """Where SAM 3's models of these tests are: $IDSEG_TEST_DEVICE, or the CPU."""
    if DEVICE != "cpu" and not torch.cuda.is_available():
        pytest.fail(f"IDSEG_TEST_DEVICE is {DEVICE}, but torch {torch.__version__} sees no GPU")
    return DEVICE


@pytest.fixture(scope="session")
def tiny_folder(torch, tmp_path_factory) -> Path:
    import tiny_sam3

    return tiny_sam3.build(tmp_path_factory.mktemp("sam3") / "tiny")


@pytest.fixture(scope="session")
def sam3_hf(tiny_folder, device):
    from identity_segmentation.engines.sam3_hf import Sam3HF

    return Sam3HF(str(tiny_folder), device=device, dtype="float32")


@pytest.fixture(scope="session")
def official_parts(torch, device, tmp_path_factory):
    """(checkpoint, vocabulary) of Meta's package."""
    if importlib.util.find_spec("sam3") is None:  # importing it would need triton
        pytest.skip("these tests need Meta's package: scripts/setup.sh --dev")
    import tiny_official

    folder = tmp_path_factory.mktemp("official")
    return tiny_official.checkpoint(folder, device), tiny_official.vocabulary(folder)


@pytest.fixture
def sam31(embedded_masks, torch, tmp_path, monkeypatch):
    """SAM 3.1's adapter over a stand-in for Meta's tracker, with the embedded engine for pictures."""
    import standin_multiplex

    return standin_multiplex.engine(standin_multiplex.installed(monkeypatch), embedded_masks, tmp_path)


@pytest.fixture
def sam3_official(official_parts, torch, device, monkeypatch):
    """Meta's package through our adapter; without a GPU to test on, the CPU plays it."""
    import tiny_official

    with tiny_official.engine(*official_parts, device, monkeypatch) as engine:
        yield engine
