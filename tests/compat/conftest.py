"""One family for all tests of compatibility; it is copied, never changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from compat_family import save_adapter, save_model


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `other` (retrained from another seed) and `tone`, an adapter of base."""
    folder = tmp_path_factory.mktemp("family")
    save_model(folder / "base")
    save_model(folder / "other", seed=9)
    save_adapter(folder / "tone", folder / "base")
    return folder


@pytest.fixture
def base(family: Path, tmp_path: Path) -> Path:
    """A base of the test's own, with `other` and `tone` beside it."""
    import shutil

    for name in ("base", "other", "tone"):
        shutil.copytree(family / name, tmp_path / name)
    config = tmp_path / "tone" / "adapter_config.json"
    config.write_text(config.read_text().replace(str(family), str(tmp_path)))
    return tmp_path / "base"
