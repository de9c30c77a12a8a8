"""Judging is light: no model library, no scheduler and no validation framework comes with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("torch", "transformers", "prefect", "mlflow", "great_expectations", "pandas", "flows"),
    *("lm_eval", "scipy.stats", "datasets", "matplotlib"),
)
# A whole judgement: a policy and two files read, a verdict given.
JUDGED = """
import tempfile, pathlib
from gates import judge
folder = pathlib.Path(tempfile.mkdtemp())
rule = "{metric: exact, reference: base, margin: 0.05, floor: 0, slices: {language: {}}}"
(folder / "policy.yaml").write_text("skills: {json: " + rule + "}\\nsafety: {}")
for name in ("old", "new"):
    rows = ('{"id": %d, "exact": %d, "language": "de"}\\n' % (i, i > 9) for i in range(400))
    (folder / (name + ".jsonl")).write_text("".join(rows))
verdict = judge(folder / "policy.yaml", folder / "old.jsonl", folder / "new.jsonl")
assert verdict.outcome == "promote", verdict
import shutil
shutil.rmtree(folder)
"""


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
        "import gates.planning",
        JUDGED,
    ],
)
def test_gates_and_a_whole_judgement_load_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) == set()


def test_the_test_above_can_fail() -> None:
    assert loaded_after("import gates, pandas") == {"pandas"}
