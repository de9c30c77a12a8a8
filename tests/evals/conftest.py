"""The metric code of a suite, loaded by its path as lm-eval loads it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EVALS = Path(__file__).parents[2] / "evals"


@pytest.fixture(scope="session")
def safety() -> ModuleType:
    """evals/safety/metrics.py, with its modules `refusals`, `leaks` and `judge` as attributes."""
    path = EVALS / "safety" / "metrics.py"
    spec = importlib.util.spec_from_file_location("safety_metrics_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
