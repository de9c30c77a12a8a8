"""Serving and rolling back where the artifacts are at a server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from release_family import register_all
from servers import mlflow_server

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release import rehearse_version, rollback
from pipeline.release.proof import prove
from pipeline.release.serving import serving
from pipeline.sources import folder_digests


@pytest.mark.slow
def test_artifacts_at_a_server_are_listed_for_a_rollback_and_fetched_to_be_served(
    uri: str, bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with mlflow_server(tmp_path, uri) as (server, _):
        register_all(server, bundle())
        with pytest.raises(InputError, match="Add --download DIR"):
            serving(server, "harbor")
        report = serving(server, "harbor", download=tmp_path / "served")
        folder = tmp_path / "served" / "harbor-2"
        assert report.commands[0][2] == str(folder)
        shipped = folder_digests(Path("shipped"))
        assert shipped.items() <= folder_digests(folder).items()
        assert prove(server, "harbor", prompt="hello", max_new_tokens=2).answer
        rehearse_version(server, "harbor", 1)
        assert list(scratch.iterdir()) == []  # nothing fetched stays
        with monkeypatch.context() as patch:
            patch.setattr("pipeline.release.answer.load_model", None)
            assert rollback(server, "harbor", "why").moved
            assert rollback(server, "harbor", "up", to="2").moved
        (lost,) = (tmp_path / "artifacts").rglob("tone/adapter_model.safetensors")
        lost.unlink()
        with pytest.raises(
            CorruptArtifactError, match=r"tone/adapter_model\.safetensors: is missing"
        ):
            rollback(server, "harbor", "why")
