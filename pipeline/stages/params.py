"""Stage `params`: params.yaml with every default filled in, so that DVC can compare what no key states.

The other stages of dvc.yaml depend on keys of build/params.json. A key that is left out, null, or stated with its
default is the same there; a comment in params.yaml runs nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.facts import write_json
from pipeline.params import DEFAULT_URI, Params, load_params
from pipeline.plain_yaml import load_yaml
from pipeline.stages.workspace import PARAMS


def run() -> None:
    """Read params.yaml; write build/params.json."""
    write_json(PARAMS, resolved(load_params()))


def resolved(params: Params) -> dict[str, Any]:
    """The content of build/params.json: JSON values, by the keys of params.yaml.

    `experts` has references alone, their `domains` stand apart; so do `jobs`, on which no result depends, and the
    patience with a server is left out for the same reason. The registry's address is as it is written, since one that
    comes from the environment may hold a password.
    """
    evaluate = asdict(params.evaluate)
    del evaluate["serve_timeout"]
    stated = load_yaml(Path("params.yaml")).get("registry") or {}
    journal = params.registry_journal
    return {
        "name": params.name,
        "base": params.base,
        "experts": dict(params.experts),
        "domains": dict(params.domains),
        "seed": params.seed,
        "jobs": evaluate.pop("jobs"),
        "evaluate": _plain({**evaluate, "skills": _skills(params)}),
        "quantize": asdict(params.quantize),
        "policy": _plain({**params.policy, "waivers": params.policy.get("waivers") or []}),
        "registry": {"uri": stated.get("uri") or DEFAULT_URI, "journal": journal.as_posix()},
    }


def _skills(params: Params) -> dict[str, Any]:
    return {
        name: {"task": skill.task, "metrics": skill.metrics, "attributes": skill.attributes}
        for name, skill in params.evaluate.skills.items()
    }


def _plain(value: Any) -> Any:
    """A value of YAML or of a dataclass as JSON has it: paths and days as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value.isoformat() if isinstance(value, date) else value
