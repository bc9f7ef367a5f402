"""Fixtures: pictures that packages carry, the test data where it is, and engines loaded once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeFaces, FakeMasks

from identity_segmentation.engines._nets import package_folder

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("IDSEG_DATA") or ROOT.parent / "shared" / "data")


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
