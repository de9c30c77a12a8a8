"""Which code a stage depends on: what it runs, by its syntax, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import code
from pipeline.params import load_params
from pipeline.recipe import METHODS
from pipeline.stages.code import code_of_stages

ROOT = Path(__file__).parents[2]
Change = Callable[[str, str, str], set[str]]


def forget() -> None:
    for function in (code.method_modules, code._imports, code._names, code._parsed, code._syntax):
        function.cache_clear()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages that may be edited."""
    folder = tmp_path_factory.mktemp("code")
    for package in ("pipeline", "gates"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture
def change(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    """Replaces a text in a file of the copy; gives the names of the digests that are others then."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(code, "_ROOTS", {name: packages / name for name in ("pipeline", "gates")})

    def digests() -> dict[str, str]:
        forget()
        found = code_of_stages(load_params())
        merges = {f"merge {name}": digest for name, digest in found["merges"].items()}
        return {"package": found["package"], **found["stages"], **merges}

    def replace(file: str, old: str, new: str) -> set[str]:
        path = packages / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        before = digests()
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        try:
            after = digests()
        finally:
            path.write_text(text, encoding="utf-8")
        return {name for name in before if before[name] != after[name]}

    yield replace
    forget()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pipeline/merge/methods/ties.py", "# Below this L1 norm", "# Under this L1 norm"),
        ("pipeline/merge/methods/ties.py", '"""TIES: trim', '"""TIES: cut'),
        ("pipeline/merge/engine.py", "\n\n\n", "\n\n\n# A word.\n\n"),
        ("gates/decide.py", "\ndef ", "\n# A word.\ndef "),
    ],
)
def test_a_corrected_comment_or_docstring_runs_nothing_again(
    change: Change, file: str, old: str, new: str
) -> None:
    assert change(file, old, new) == set()


def test_a_changed_method_runs_the_merges_by_it_again_and_no_others(change: Change) -> None:
    changed = change(
        "pipeline/merge/methods/ties.py", "SMALLEST_NORM = 1e-7", "SMALLEST_NORM = 1e-6"
    )
    assert changed == {"package", "merge tuned"}  # naive and plain are task arithmetic


def test_what_a_method_imports_counts_as_its_own(change: Change) -> None:
    assert "merge tuned" in change(
        "pipeline/merge/methods/sums.py", "VANISHING = ", "VANISHING = 2 * "
    )


def test_a_changed_engine_runs_every_merge_again_and_no_evaluation(change: Change) -> None:
    changed = change("pipeline/merge/engine.py", "import", "import os\nimport")
    assert {"merge", "merge plain", "merge naive", "merge tuned"} <= changed
    assert not changed & {"evaluate", "judge", "gate", "quantize"}


@pytest.mark.parametrize(
    "file",
    [
        "pipeline/release/card.py",
        "gates/decide.py",
        "pipeline/report/page.py",
        "pipeline/release/registry.py",
    ],
)
def test_gate_release_and_report_run_no_merge_and_no_evaluation_again(
    change: Change, file: str
) -> None:
    changed = change(
        file, "from __future__ import annotations", "from __future__ import annotations\nimport os"
    )
    assert "card" in changed
    assert not any(
        name.startswith(("merge", "evaluate", "quantize", "latency")) for name in changed
    )


def test_a_changed_template_of_the_report_runs_the_card_again(change: Change) -> None:
    changed = change("pipeline/report/templates/page.html.j2", "<", "<!-- --><")
    assert "card" in changed
    assert "evaluate" not in changed


def test_every_method_of_a_recipe_has_a_file_of_its_own() -> None:
    forget()
    assert code.method_modules().keys() == METHODS.keys()
