"""Which code each stage depends on. A stage runs again where code that it runs has changed, not where another's has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.code import code_digest, code_digest_of, method_modules
from pipeline.errors import InputError
from pipeline.params import Params
from pipeline.recipe import load_recipe

# The stages of dvc.yaml, as `python -m pipeline.stages NAME` runs them.
NAMES = (
    "params",
    "sources",
    "golden",
    "champion",
    "check",
    "diagnose",
    "merge",
    "evaluate",
    "latency",
    "ledger",
    "judge",
    "quantize",
    "gate",
    "card",
)
_HERE = "pipeline.stages"


def code_of_stages(params: Params) -> dict[str, Any]:
    """The content of build/code.json, on whose keys the stages of dvc.yaml depend.

    `package` is `code_digest()`; `stages` has the digest of the code of each stage, without the files of the merge
    methods; `merges` has that of each candidate's merge, and of plain task arithmetic, with the file of its method.
    """
    methods = {name: _method_of(path) for name, path in params.candidates.items()}
    return {
        "package": code_digest(),
        "stages": {
            name: code_digest_of(f"{_HERE}.{name}", unused=_unused(params)) for name in NAMES
        },
        "merges": {
            name: merge_digest(method)
            for name, method in {**methods, "plain": "task_arithmetic"}.items()
        },
    }


def _unused(params: Params) -> tuple[str, ...]:
    """Modules that no stage runs: what merges an adapter for a server, where no server is started."""
    return () if params.evaluate.serve else ("pipeline.evaluate.served.folder",)


def _method_of(recipe: Path) -> str | None:
    """The merge method of a recipe; None where it cannot be read, which its own stages say."""
    try:
        return load_recipe(recipe).merge_method
    except InputError:
        return None


def merge_digest(method: str | None) -> str:
    """SHA-256 over the code of a merge by `method`, a name of pipeline.recipe.METHODS; None: by any of them."""
    files = method_modules()
    used = sorted(set(files.values()) if method is None else {files[method]})
    return code_digest_of(f"{_HERE}.merge", *used)
