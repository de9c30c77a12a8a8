"""What a release needs of the disk and of the installation, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gates.golden_rows import early_faults
from pipeline.params import Params
from pipeline.sources import Reference
from pipeline.sources.reference import is_registry_uri

# What must be installed for a backend of lm-eval's that loads the model itself.
_BACKENDS = {"vllm": "vllm", "sglang": "sglang"}


def file_faults(params: Params) -> list[str]:
    """Folders and files that params.yaml names and that are not there, and golden sets that are unfit by themselves.

    A prompt that occurs in training data is found by the stage `golden`, which reads that too.
    """
    missing = [*_missing(params), *_lost(params)]
    return [*missing, *_uninstalled(params), *(() if missing else _unfit(params))]


def _missing(params: Params) -> Iterator[str]:
    evaluate = params.evaluate
    named = {"watch": params.watch, "evaluate.golden": evaluate.golden}
    for skill in evaluate.skills.values():
        if skill.golden:
            named[f"evaluate.skills.{skill.name}.task"] = Path(skill.task)
    for key, path in named.items():
        if path is not None and not path.exists():
            yield f"params.yaml: {key} is {path}, which does not exist. Mend the path, or build what it names."


def _lost(params: Params) -> Iterator[str]:
    """Local folders that are named and not there; a name whose first part is a folder here is no hub id."""
    named = {"base": params.base, **{f"experts.{n}": text for n, text in params.experts.items()}}
    for key, text in named.items():
        reference = Reference.parse(text)
        for part in (reference.model, reference.adapter):
            if part and not is_registry_uri(part) and _is_lost(part):
                yield (
                    f"params.yaml: {key} is {text}, and {part} is no folder here. "
                    "Mend the path, or build what it names."
                )


def _is_lost(name: str) -> bool:
    """Whether a name that is no folder can only mean one: it is written as a path, or its first folder is there."""
    path = Path(name)
    if path.is_dir():
        return False
    return name.startswith(("/", "./", "../")) or Path(path.parts[0]).is_dir()


def _uninstalled(params: Params) -> Iterator[str]:
    """Packages that a later stage would look for in vain."""
    if find_spec("llmcompressor") is None:
        yield (
            "llm-compressor is not installed, and every release quantizes what it promotes. "
            "Run `pip install 'mergegate[quantize]'`."
        )
    package = _BACKENDS.get(params.evaluate.backend)
    if package and find_spec(package) is None:
        yield (
            f"params.yaml: evaluate.backend is {params.evaluate.backend}, and the package {package} is not "
            "installed here. Install it, or use hf."
        )


def _unfit(params: Params) -> Iterator[str]:
    skills = params.evaluate.skills.values()
    for skill in skills:
        if path := skill.split("test"):
            yield from early_faults(path, skill.attributes)
    tuning = [path for skill in skills if (path := skill.split("tune"))]
    if not any(path.is_file() and path.stat().st_size for path in tuning):
        yield (
            f"{params.evaluate.golden}: has no prompts in its tune split, and latency and calibration need some. "
            f"Add {params.evaluate.golden}/tune/SKILL.jsonl for one skill or more, with none of the test prompts."
        )
