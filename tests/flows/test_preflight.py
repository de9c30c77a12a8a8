"""What is refused before a release starts: here, keys that have a default but that DVC asks for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from flows.preflight import preflight
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped params.yaml and dvc.yaml, with the folders and files that they name."""
    for name in ("params.yaml", "dvc.yaml", "evals", "recipes"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    for name in ("examples/harbor/models", "examples/harbor/data", ".dvc"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr("flows.preflight._warn", lambda _: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drop(workspace: Path, *keys: str) -> None:
    """Take a key out of params.yaml."""
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    inner = params
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    path.write_text(yaml.safe_dump(params), encoding="utf-8")


def test_the_shipped_parameters_pass(workspace: Path) -> None:
    assert preflight("")[1] == "tuned"


@pytest.mark.parametrize("keys", [("seed",), ("policy", "waivers"), ("evaluate", "system")])
def test_an_optional_key_may_be_left_out_of_a_release(
    workspace: Path, keys: tuple[str, ...]
) -> None:
    drop(workspace, *keys)
    assert preflight("")[1] == "tuned"


@pytest.mark.parametrize("keys", [("watch",), ("experts",)])
def test_a_key_that_dvc_reads_by_itself_is_required_for_a_release(
    workspace: Path, keys: tuple[str, ...]
) -> None:
    drop(workspace, *keys)
    with pytest.raises(InputError, match=rf"params\.yaml: {'.'.join(keys)} is missing"):
        preflight("")
