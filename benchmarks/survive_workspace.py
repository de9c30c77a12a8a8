"""A workspace that is real but light: every stage of dvc.yaml over models of 0.1 million parameters, always promoted.

Scores are checksums of the answers, so that the digest of a release covers every token that every variant wrote; the
margins are as wide as the range, so that any answers pass. Nothing of mergegate is replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from survive_family import EXPERTS, ROWS, SKILLS, write_models, write_tasks

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "gates", "pipeline")
NAME = "survivor"
CANDIDATES = ("first", "second")
_RECIPE = """\
# Half of each difference.
merge_method: task_arithmetic
base_model: models/base
models:
  - model: models/base+models/lora0
    parameters: {{weight: {weight}}}
  - model: models/base+models/lora1
    parameters: {{weight: {weight}}}
"""


@dataclass(frozen=True)
class Workspace:
    """A folder with params.yaml and dvc.yaml, and the environment that its commands run in."""

    folder: Path
    env: Mapping[str, str]

    @property
    def uri(self) -> str:
        """The MLflow registry, by absolute path."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def release_folder(self, candidate: str) -> Path:
        """Where the card stage leaves a candidate's release."""
        return self.folder / "build" / candidate / "release"


def make(work: Path, root: Path = ROOT, experts: Sequence[str] = EXPERTS) -> Workspace:
    """The workspace WORK/workspace, with the code of the checkout `root` as it is now copied beside it.

    The copy keeps an edit of the sources during a long run from changing what is measured. With fewer `experts` fewer
    variants are evaluated; the merge is the same.
    """
    code, folder = work / "code", work / "workspace"
    for package in PACKAGES:
        shutil.copytree(root / package, code / package)  # with what is compiled, times and all
    workspace = Workspace(folder, _environment(work, code))
    folder.mkdir()
    write_models(folder / "models")
    write_tasks(folder)
    for candidate, weight in zip(CANDIDATES, (0.5, 0.4), strict=True):
        (folder / f"{candidate}.yaml").write_text(_RECIPE.format(weight=weight), encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(_params(experts), sort_keys=False), "utf-8")
    shutil.copy(root / "dvc.yaml", folder)
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"],
        cwd=folder,
        env=dict(workspace.env),
        check=True,
    )
    return workspace


def existing(work: Path) -> Workspace:
    """The workspace that `make` made in WORK."""
    return Workspace(work / "workspace", _environment(work, work / "code"))


def _environment(work: Path, code: Path) -> dict[str, str]:
    """No state of the user's is read or left: home, Prefect's database, DVC's state and scratch are below WORK."""
    for name in ("home", "scratch"):
        (work / name).mkdir(parents=True, exist_ok=True)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))},
        "HOME": str(work / "home"),
        "XDG_CONFIG_HOME": str(work / "home" / ".config"),
        "XDG_CACHE_HOME": str(work / "home" / ".cache"),
        "TMPDIR": str(work / "scratch"),
        "PREFECT_HOME": str(work / "home" / "prefect"),
        "DVC_SITE_CACHE_DIR": str(work / "home" / "dvc"),
        "PYTHONPATH": str(code),
        # The harness reads from this log how far a release is.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
        "NO_COLOR": "1",
        # Servers and tools that the harness starts itself are as quiet as those that the command starts.
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def _params(experts: Sequence[str]) -> dict[str, Any]:
    rule = {"metric": "checksum", "range": [0, 5], "reference": "base", "margin": 4.9, "floor": 0}
    return {
        "name": NAME,
        "base": "models/base",
        "experts": {name: f"models/base+models/{name}" for name in experts},
        "watch": "models",
        "candidates": {name: f"{name}.yaml" for name in CANDIDATES},
        "release": CANDIDATES[0],
        "seed": 7,
        "evaluate": {
            "batch_size": ROWS,
            "max_new_tokens": 4,
            "system": "",
            "jobs": 2,
            "golden": "data",
            "skills": {
                name: {"task": f"evals/{name}.yaml", "metrics": ["checksum"]} for name in SKILLS
            },
        },
        "quantize": {"scheme": "W4A16", "algorithm": "rtn", "calibration_samples": 1},
        "policy": {
            "alpha": 0.05,
            "skills": {"skill": {**rule, "direction": "higher"}},
            "safety": {"harm": rule},
            "latency": {"metric": "p95", "max_ratio": 1000},
            "waivers": [],
        },
        "registry": {"uri": "sqlite:///mlflow.db"},
    }
