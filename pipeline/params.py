"""params.yaml, parsed once into frozen types. It is the one file that a user edits for a release.

Paths in it are relative to the workspace: the folder that holds params.yaml and dvc.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.plain_yaml import load_yaml
from pipeline.redaction import has_password
from pipeline.strict import (
    Fields,
    filled,
    mapping,
    nearest,
    one_of,
    sequence,
    shown,
    string,
    text,
    whole,
)

SPLITS = ("train", "tune", "test")
# Folders and files under build/ that are not a candidate's.
_FOLDERS = {"base", "plain", "evals", "merged", "quantized"}
# Variants that a policy may name besides.
RESERVED = frozenset(_FOLDERS | {"best-expert", "unmerged", "champion"})
DEFAULT_URI = "sqlite:///mlflow.db"  # of the registry
_FROM_ENVIRONMENT = "env:"  # before the name of the variable that holds the registry's URI
_EXPERTS = "a mapping of names to references, or to a source and a domain, both texts"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Skill:
    """One skill: the lm-eval task that scores it and the metrics to keep; its golden sets are by split."""

    name: str
    task: str  # a YAML file of the workspace, or the name of a task that lm-eval ships
    metrics: tuple[str, ...]
    golden: Path | None  # folder of golden sets; None for a task of lm-eval's own
    # Fields of the golden rows to record with each score: what a policy slices and clusters by.
    attributes: tuple[str, ...] = ()

    def split(self, name: str) -> Path | None:
        """The golden set of one of SPLITS as a JSONL path; None where the task has its own data."""
        return self.golden / name / f"{self.name}.jsonl" if self.golden else None


@dataclass(frozen=True)
class EvaluateParams:
    """How variants are evaluated: the lm-eval backend, decoding, and the skills."""

    backend: str
    model_args: Mapping[str, Any]
    batch_size: int | str  # prompts decoded together; «auto» sizes it to memory
    max_new_tokens: int
    jobs: int  # variants evaluated at the same time
    system: str
    golden: Path | None
    limit: int | None  # first N samples of each set: for trials, never for a release
    skills: Mapping[str, Skill]
    serve: str = ""  # the command that serves a variant, with {model} and {port}; "" without one
    serve_timeout: int = 600  # seconds until that server must answer
    trusted: str = ""  # who vouches that a server has the weights; "" where it is checked


@dataclass(frozen=True)
class QuantizeParams:
    """The scheme of the artifact that ships, and its calibration."""

    scheme: str
    algorithm: str
    group_size: int | str
    calibration_samples: int


@dataclass(frozen=True)
class Params:
    """The whole of params.yaml. `policy` stays a mapping: gates.Policy.parse owns its grammar."""

    name: str
    base: str
    experts: Mapping[str, str]
    domains: Mapping[str, str]
    candidates: Mapping[str, Path]
    release: str
    seed: int
    watch: Path
    evaluate: EvaluateParams
    quantize: QuantizeParams
    policy: Mapping[str, Any]
    registry_uri: str
    registry_journal: Path = Path(".mergegate/journal")  # a folder; may be shared by machines

    @property
    def journal(self) -> Path:
        """The journal of the champion's changes of this model."""
        return self.registry_journal / f"{self.name}.jsonl"

    def recipe(self, candidate: str) -> Path:
        """The recipe file of a candidate. Raises InputError naming the nearest one."""
        if candidate not in self.candidates:
            raise InputError(
                f"params.yaml: candidates has no {candidate!r}."
                f"{nearest(candidate, self.candidates)} Add a line `{candidate}: "
                "RECIPE.yaml` to it."
            )
        return self.candidates[candidate]


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml. Raises InputError that lists every fault."""
    if not path.exists():
        raise InputError(
            f"{path}: no such file here. Run the command in the folder that holds it, or name it."
        )
    faults: list[str] = []
    top = Fields(load_yaml(path), path.name, faults)
    for key in ("experts", "candidates"):
        faults.extend(_bad_names(top.value.get(key), f"{path.name}: {key}"))
    experts = top.get("experts", _experts, _EXPERTS, {}) or {}
    uri, journal = _registry(
        top.get("registry", mapping, "a mapping", {}), f"{path.name}: registry", faults
    )
    params = Params(
        name=top.get("name", _name, "a name of letters, digits, - and _"),
        base=top.get("base", text, "a reference to the base model"),
        experts={name: reference for name, (reference, _) in experts.items()},
        domains={name: domain for name, (_, domain) in experts.items()},
        candidates=top.get("candidates", _recipes, "a mapping of names to recipe files") or {},
        release=top.get("release", _name, "the name of a candidate"),
        seed=top.get("seed", whole(0), "a whole number, 0 or more", 0),
        watch=top.get("watch", _inside, "a folder of the workspace", Path("models")),
        evaluate=_evaluate(
            top.get("evaluate", mapping, "a mapping"), f"{path.name}: evaluate", faults
        ),
        quantize=_quantize(
            top.get("quantize", mapping, "a mapping", {}), f"{path.name}: quantize", faults
        ),
        policy=top.get("policy", mapping, "a mapping; see docs/policy.md") or {},
        registry_uri=uri,
        registry_journal=journal,
    )
    top.done()
    if params.release and params.candidates and params.release not in params.candidates:
        faults.append(
            f"{path.name}.release is {params.release!r}; it must name one of candidates."
            f"{nearest(params.release, params.candidates)}"
        )
    if faults:
        raise InputError.of(faults)
    return params


def _evaluate(value: Any, where: str, faults: list[str]) -> EvaluateParams:
    fields = Fields(value or {}, where, faults)
    golden = fields.get("golden", _inside, "a folder of the workspace", None)
    faults.extend(_bad_names(fields.value.get("skills"), f"{where}.skills"))
    skills = (
        fields.get("skills", filled(mapping), "a mapping of skill names to task and metrics") or {}
    )
    params = EvaluateParams(
        backend=fields.get("backend", text, "the name of an lm-eval backend: hf, vllm, ...", "hf"),
        model_args=fields.get("model_args", mapping, "a mapping of lm-eval model arguments", {}),
        batch_size=fields.get("batch_size", _batch_size, "a whole number, 1 or more, or auto", 64),
        max_new_tokens=fields.get("max_new_tokens", whole(1), "a whole number, 1 or more", 256),
        jobs=fields.get("jobs", whole(1, 64), "a whole number from 1 to 64", 1),
        system=fields.get("system", string, "a text: the system prompt of every question", ""),
        golden=golden,
        limit=fields.get("limit", whole(1), "a whole number, 1 or more", None),
        skills={
            name: _skill(name, spec, golden, f"{where}.skills.{name}", faults)
            for name, spec in skills.items()
        },
        serve=fields.get("serve", text, "a command with {model} and {port}", ""),
        serve_timeout=fields.get("serve_timeout", whole(1), "seconds, a whole number", 600),
        trusted=_trusted(fields, faults),
    )
    fields.done()
    return params


def _trusted(fields: Fields, faults: list[str]) -> str:
    """evaluate.served_by.trusted: the person who vouches for the server; "" where there is none."""
    must = "a mapping `trusted: NAME`, the person who vouches for the server"
    if not (given := fields.get("served_by", filled(mapping), must, None)):
        return ""
    inner = Fields(given, f"{fields.where}.served_by", faults)
    name = inner.get("trusted", text, "the name of the person who vouches for the server")
    inner.done()
    return str(name or "")


def _skill(name: str, value: Any, golden: Path | None, where: str, faults: list[str]) -> Skill:
    fields = Fields(value, where, faults)
    task = fields.get("task", text, "a task file (evals/...yaml) or the name of an lm-eval task")
    metrics = fields.get("metrics", _words, "a list of metric names")
    attributes = fields.get(
        "attributes", _once, "a list of field names of the golden rows, each once", ()
    )
    fields.done()
    ours = bool(task) and task.endswith((".yaml", ".yml"))
    if ours and golden is None:
        faults.append(
            f"{where}.task is a file, so evaluate.golden must name the folder of golden sets "
            f"(GOLDEN/test/{name}.jsonl)."
        )
    return Skill(name, task, metrics or (), golden if ours else None, attributes or ())


def _quantize(value: Any, where: str, faults: list[str]) -> QuantizeParams:
    schemes = ("W4A16", "W4A16_ASYM", "W8A8", "FP8_DYNAMIC")
    fields = Fields(value or {}, where, faults)
    params = QuantizeParams(
        scheme=fields.get("scheme", one_of(*schemes), f"one of {', '.join(schemes)}", "W4A16"),
        algorithm=fields.get("algorithm", one_of("gptq", "awq", "rtn"), "gptq, awq or rtn", "gptq"),
        group_size=fields.get("group_size", _group, "auto or a whole number, 1 or more", "auto"),
        calibration_samples=fields.get(
            "calibration_samples", whole(1), "a whole number, 1 or more", 128
        ),
    )
    fields.done()
    return params


def _registry(value: Any, where: str, faults: list[str]) -> tuple[str, Path]:
    fields = Fields(value or {}, where, faults)
    uri = fields.get("uri", text, "an MLflow tracking URI", DEFAULT_URI) or ""
    journal = fields.get("journal", _folder, "a folder", Path(".mergegate/journal"))
    fields.done()
    if has_password(uri):
        faults.append(
            f"{where}.uri holds a password, and {where.partition(':')[0]} and dvc.lock are kept in git. Write "
            "`uri: env:MLFLOW_TRACKING_URI` and set that variable, or take the password out and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    try:
        uri = tracking_uri(uri, f"{where}.uri")
    except InputError as error:
        faults.append(str(error))
    return uri, journal or Path()


def tracking_uri(text: str, where: str) -> str:
    """The URI that `text` is, or that the variable of `env:VARIABLE` holds.

    `where` names it in the message. Raises InputError where the variable is not set.
    """
    if not text.startswith(_FROM_ENVIRONMENT) or text == _FROM_ENVIRONMENT:
        return text
    uri = os.environ.get(text.removeprefix(_FROM_ENVIRONMENT), "").strip()
    if not uri:
        raise InputError(
            f"{where} is {text}, and that variable is not set. Set it to an MLflow tracking URI, or write the URI "
            "itself."
        )
    return uri


def _batch_size(value: Any) -> int | str:
    return "auto" if value == "auto" else whole(1)(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _bad_names(value: Any, where: str) -> list[str]:
    """A fault for each name that could not be that of a stage, a file or a column."""
    names = [str(name) for name in value] if isinstance(value, Mapping) else []
    return [
        f"{where}: {shown(name)} is a name that mergegate itself uses. Choose another."
        if name in RESERVED
        else f"{where}: {shown(name)} is no name; one has 1 to 64 letters, digits, - and _, "
        "and begins with a letter or digit."
        for name in names
        if name in RESERVED or not _NAME.fullmatch(name)
    ]


def _recipes(value: Any) -> dict[str, Path]:
    return {name: _inside(path) for name, path in filled(mapping)(value).items()}


def _experts(value: Any) -> dict[str, tuple[str, str]]:
    """Name -> (reference, domain); the value is a reference, or `{source: REFERENCE, domain: TEXT}`."""
    given = filled(mapping)(value)
    named = {n: v if isinstance(v, Mapping) else {"source": v} for n, v in given.items()}
    if any(set(v) - {"source", "domain"} for v in named.values()):
        raise ValueError
    domains = {name: v.get("domain") for name, v in named.items()}
    return {
        name: (text(v["source"]), "" if domains[name] is None else string(domains[name]))
        for name, v in named.items()
    }


def _folder(value: Any) -> Path:
    return Path(text(value))


def _inside(value: Any) -> Path:
    path = Path(text(value))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError
    return path


def _words(value: Any) -> tuple[str, ...]:
    return tuple(text(word) for word in filled(sequence)(value))


def _once(value: Any) -> tuple[str, ...]:
    words = _words(value)
    if len(set(words)) < len(words):
        raise ValueError
    return words


def _group(value: Any) -> int | str:
    return "auto" if value == "auto" else whole(1)(value)
