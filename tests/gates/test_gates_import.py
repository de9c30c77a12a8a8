"""Judging is light: no model library, no scheduler and no validation framework comes with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "prefect", "mlflow", "great_expectations", "pandas", "flows")


def loaded_after(statement: str) -> set[str]:
    """Which of HEAVY a fresh process holds after running `statement`."""
    code = f"{statement}\nimport sys\nprint(*(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "from gates import judge_release, Policy",
        "import gates.golden, gates.table, gates.expectations",
    ],
)
def test_importing_gates_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) == set()


def test_the_test_above_can_fail() -> None:
    assert loaded_after("import gates, pandas") == {"pandas"}
