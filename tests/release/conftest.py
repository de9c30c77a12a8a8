"""A workspace with a tiny family, and the records and release folders of its merge."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from release_family import COMPARISON, EXPERTS, RECIPE, build_adapter, build_base, verdict

from pipeline.facts import write_json
from pipeline.recipe import parse_recipe
from pipeline.release import build_record, write_bundle
from pipeline.release.store import connect
from pipeline.sources import Reference, artifact_digest, folder_digests, open_source, pin


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models/{base,tone,json} and shipped/; `workspace` copies it for each test."""
    folder = tmp_path_factory.mktemp("family")
    base = build_base(folder / "models" / "base")
    for seed, name in enumerate(EXPERTS):
        build_adapter(base, folder / "models" / name, seed)
    shutil.copytree(folder / "models" / "base", folder / "shipped")
    return folder


@pytest.fixture
def workspace(family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test, with the family in it: references are relative to it."""
    shutil.copytree(family, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an MLflow store without content: making its tables takes seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    with connect(f"sqlite:///{file}") as client:
        client.search_experiments()
    return file


@pytest.fixture
def uri(workspace: Path, empty_store: Path) -> str:
    """An MLflow store of the test's own."""
    shutil.copy(empty_store, workspace / "mlflow.db")
    return f"sqlite:///{workspace}/mlflow.db"


@pytest.fixture
def pins(workspace: Path) -> dict[str, Any]:
    """The pins of the base and the experts, as stage `sources` writes them."""
    return {r: pin(open_source(Reference.parse(r))) for r in ("models/base", *EXPERTS.values())}


@pytest.fixture
def record(pins: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """Makes the record of a promoted merge; keywords replace arguments of `build_record`."""

    def make(**changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "name": "harbor",
            "candidate": "tuned",
            "recipe": parse_recipe(yaml.safe_load(RECIPE), "recipe.yaml", RECIPE),
            "base": "models/base",
            "experts": EXPERTS,
            "pins": pins,
            "merged_digest": artifact_digest(Path("models/base")),
            "merged_files": folder_digests(Path("models/base")),
            "tasks": {"json": {"task": "json_task", "task_digest": "1" * 64, "samples": 400}},
            "environment": {
                "python": "CPython 3.11.7",
                "hardware": {"machine": "x86_64", "cpu": "a CPU", "gpu": None, "cores": 2},
                "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
            },
            "quantized_files": folder_digests(Path("shipped")),
            "golden": {"json": "d" * 64, "tone": "e" * 64},
            "samples": {"merged": "f" * 64},
            "verdict": verdict(),
            "comparison": COMPARISON,
            "seed": 7,
            "versions": {"mergegate": "0.1.0", "torch": "2.13.0"},
            "domains": {"json": "tool calls | strict"},
            "quantization": {"scheme": "W4A16", "algorithm": "gptq", "group_size": 32},
        }
        return build_record(**{**arguments, **changes})

    return make


@pytest.fixture
def bundle(record: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Writes the release folder of a record; keywords as for `record`."""

    def write(**changes: Any) -> Path:
        made = record(**changes)
        folder = Path("build") / made["candidate"]
        write_json(folder / "verdict.json", made["verdict"])
        write_bundle(folder / "release", made, {"verdict.json": folder / "verdict.json"})
        return folder / "release"

    return write
