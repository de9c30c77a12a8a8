"""Which candidates a change since a git revision touches, and by what."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gates import Policy
from pipeline.errors import InputError
from pipeline.facts import write_text
from pipeline.params import Params, load_params
from pipeline.plain_yaml import load_document
from pipeline.recipe import load_recipe, parse_recipe

PARAMS = Path("params.yaml")


def changed_since(params: Params, revision: str) -> dict[str, str]:
    """The candidates whose verdict may differ from that at `revision`, in the order of params.yaml, each with why.

    Those that are new, whose recipe says something else, and all of them where something differs that every
    candidate is judged by: base, experts, seed, evaluation, quantization, policy, a task, a golden set, a source below
    `watch`. A comment, the order of keys, and what only names or places things (`candidates`, `release`, `registry`,
    `jobs`, `domain`) touch none.

    Args:
        params: params.yaml as it is now, in the current folder.
        revision: a commit, a branch or a tag of the repository around it.

    Raises:
        InputError: where there is no such revision.
    """
    # Resolved first: git would take a revision that begins with a dash for an option.
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found is None:
        raise InputError(
            f"--since {revision}: not a revision of this repository. "
            "Use for example origin/main or a commit, and fetch it first."
        )
    commit = found.strip()
    before = _params_at(commit)
    shared = ", ".join(_shared(params, before, commit))
    reasons = {
        name: shared or _own(name, path, before, commit) for name, path in params.candidates.items()
    }
    return {name: why for name, why in reasons.items() if why}


def _shared(now: Params, before: Params | None, commit: str) -> Iterator[str]:
    """What differs of all that every candidate is judged by."""
    if before is None:
        yield f"{PARAMS} of then cannot be read"
        return
    then, here = _judged_by(before), _judged_by(now)
    yield from (f"{key} differs" for key in here if then[key] != here[key])
    folders = {"the golden sets differ": now.evaluate.golden, "the sources differ": now.watch}
    for skill in now.evaluate.skills.values():
        if skill.golden:
            folders[f"the task of {skill.name} differs"] = Path(skill.task).parent
    files = _changed_files(commit)
    for what, folder in folders.items():
        if folder and any(_touches(file, folder) for file in files):
            yield what


def _judged_by(params: Params) -> dict[str, Any]:
    return {
        "base": params.base,
        "experts": dict(params.experts),
        "seed": params.seed,
        "evaluate": replace(params.evaluate, jobs=1),
        "quantize": params.quantize,
        "policy": Policy.parse(params.policy, "params.yaml: policy").digest,
    }


def _own(name: str, path: Path, before: Params | None, commit: str) -> str:
    """What differs of one candidate's recipe; "" where it says what it said."""
    if before is None or name not in before.candidates:
        return "it is new"
    text = _git("show", f"{commit}:./{before.candidates[name].as_posix()}")
    try:
        then = parse_recipe(load_document(text or "", "recipe"), "recipe").digest
    except InputError:
        return "its recipe of then cannot be read"
    return "" if then == load_recipe(path).digest else "its recipe differs"


def _params_at(commit: str) -> Params | None:
    """params.yaml of a commit; None where it had none, or one that is not valid by now."""
    text = _git("show", f"{commit}:./{PARAMS}")
    if text is None:
        return None
    with TemporaryDirectory() as scratch:
        write_text(Path(scratch) / PARAMS, text)
        try:
            found = load_params(Path(scratch) / PARAMS)
            Policy.parse(found.policy, str(PARAMS))
        except InputError:
            return None
    return found


def _changed_files(commit: str) -> list[Path]:
    """The files of this folder that differ from the commit, those that git does not track yet too."""
    differing = _git("diff", "--name-only", "--relative", "-z", commit, "--") or ""
    untracked = _git("ls-files", "--others", "--exclude-standard", "-z") or ""
    return [Path(name) for name in (differing + untracked).split("\0") if name]


def _touches(file: Path, folder: Path) -> bool:
    """Whether a file lies below `folder`, or is what DVC has in place of it or of a folder above it."""
    pointers = (place.with_name(f"{place.name}.dvc") for place in (folder, *folder.parents[:-1]))
    return folder in file.parents or file in pointers


def _git(*arguments: str) -> str | None:
    """What a git command prints; None where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout
