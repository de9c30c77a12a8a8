"""Which way imports run. Each rule is checked in a fresh process, since a test session has imported everything."""

import subprocess
import sys

import pytest


def imported(statement: str, *packages: str) -> list[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({set(packages)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "pipeline.recipe",
        "pipeline.sources",
        "pipeline.compat",
        "pipeline.merge",
        "pipeline.evaluate",
    ],
)
def test_the_pipeline_knows_no_scheduler_no_registry_and_no_gate(module: str) -> None:
    assert imported(f"import {module}", "prefect", "mlflow", "gates", "flows") == []


def test_gates_import_without_torch_or_a_scheduler() -> None:
    assert (
        imported("import gates", "torch", "prefect", "mlflow", "flows", "great_expectations") == []
    )


def test_a_recipe_parses_without_torch() -> None:
    assert imported("import pipeline.recipe", "torch", "transformers") == []


def test_the_command_starts_without_the_heavy_libraries() -> None:
    heavy = ("torch", "transformers", "mlflow", "prefect", "lm_eval", "dvc", "great_expectations")
    assert imported("import flows.cli", *heavy) == []


def test_this_check_can_fail() -> None:
    assert imported("import flows.release", "prefect") == ["prefect"]
