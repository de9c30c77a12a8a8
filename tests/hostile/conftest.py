"""A folder with two tiny models and an adapter, in which each test breaks something and runs the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import adapter, model

from flows.cli import app, guarded

RECIPE = {"merge_method": "linear", "models": [{"model": "base"}, {"model": "other"}]}
Refusal = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, with `base`, `other` (its fine-tune) and `lora` (over base)."""
    monkeypatch.chdir(tmp_path)
    model(tmp_path / "base")
    model(tmp_path / "other", 1)
    adapter(tmp_path / "lora")
    return tmp_path


@pytest.fixture
def refusal(here: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Merge by a recipe, which must be refused as it should be; the words of the refusal.

    The recipe is text, or keys that are added to one of two models and no fault.
    """

    def run(text: str | None = None, /, *, code: int = 2, **keys: Any) -> str:
        recipe = {**RECIPE, "parameters": {"weight": 1}, **keys}
        (here / "recipe.yaml").write_text(json.dumps(recipe) if text is None else text)
        before = set(here.rglob("*"))
        ended = guarded(lambda: app(["--quiet", "merge", "recipe.yaml", "new/out"]))
        printed = capsys.readouterr()
        assert ended == code, printed.err
        assert printed.out == ""
        assert printed.err.count("mergegate: ") == 1
        assert "Traceback" not in printed.err
        assert "fault of mergegate" not in printed.err
        # The digests of files that were read whole may be remembered.
        left = {p for p in set(here.rglob("*")) - before if ".mergegate" not in p.parts}
        assert left == set()
        return printed.err

    return run
