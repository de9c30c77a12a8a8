"""What can be found wrong with a release in a second, before a server starts or a model is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import say
from flows.preflight_files import file_faults
from gates import Policy
from gates.rule import BASE, BEST_EXPERT, CHAMPION, PLAIN, UNMERGED
from pipeline.errors import InputError
from pipeline.params import Params, load_params
from pipeline.plain_yaml import load_yaml
from pipeline.recipe import load_recipe
from pipeline.sources import Reference
from pipeline.strict import nearest


def preflight(candidate: str) -> tuple[Params, str]:
    """The parameters of this folder and the candidate's name («» stands for that of params.yaml).

    Raises InputError for what would else be found after minutes of evaluation.
    """
    check_workspace()
    params = load_params()
    candidate = candidate or params.release
    load_recipe(params.recipe(candidate))
    found = (
        _interpolated(),
        _policy_faults(params),
        file_faults(params),
        _stacked_experts(params),
        _serving(params),
    )
    if faults := [fault for faults in found for fault in faults]:
        raise InputError.of(faults)
    _warn(Path.cwd())
    return params, candidate


@cache  # a command looks twice, before its flow starts and within; once is enough to be told
def _warn(workspace: Path) -> None:
    """Say on standard error which margins the golden sets of the workspace can hardly show."""
    from flows.power import warnings

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in warnings(load_params(workspace / "params.yaml")):
        console.print(f"[yellow]mergegate:[/yellow] {say.escape(line)}")


def check_workspace() -> None:
    """Raise InputError unless the current folder is one that a release can run in."""
    missing = [name for name in ("params.yaml", "dvc.yaml") if not Path(name).is_file()]
    if missing:
        raise InputError(
            f"{', '.join(missing)}: not in this folder. Run the command where both files are; "
            "a clone of mergegate holds a pair to start from."
        )
    if not Path(".dvc").is_dir():
        raise InputError(
            ".dvc: not in this folder, so DVC has no place for its cache. "
            "Run `dvc init` here (`dvc init --no-scm` outside a git repository)."
        )


def _policy_faults(params: Params) -> list[str]:
    """Where policy and evaluation do not speak of the same skills and metrics."""
    policy = Policy.parse(params.policy, "params.yaml: policy")
    skills, ruled = params.evaluate.skills, {rule.name: rule.metric for rule in policy.rules}
    known = {BEST_EXPERT, UNMERGED, BASE, PLAIN, CHAMPION, *params.experts}
    unreferenced = [
        f"params.yaml: policy compares {rule.name} with {reference}, which is no variant."
        f"{nearest(reference, known)}"
        for rule in policy.rules
        for reference in rule.references
        if reference not in known
    ]
    unevaluated = [
        f"params.yaml: policy names {name}, which evaluate.skills does not evaluate."
        f"{nearest(name, skills)}"
        for name in ruled
        if name not in skills
    ]
    unmeasured = [
        f"params.yaml: policy judges {name} by {metric}, which evaluate.skills.{name}.metrics does "
        f"not list.{nearest(metric, skills[name].metrics)}"
        for name, metric in ruled.items()
        if name in skills and metric not in skills[name].metrics
    ]
    unrecorded = [
        f"params.yaml: policy groups the samples of {rule.name} by {field}, which "
        f"evaluate.skills.{rule.name}.attributes does not record. Add it there."
        for rule in policy.rules
        for field in rule.fields
        if rule.name in skills and field not in skills[rule.name].attributes
    ]
    unruled = [
        f"params.yaml: evaluate.skills has {name}, but the policy does not say what it must show. "
        "Add it to policy.skills or policy.safety."
        for name in skills
        if name not in ruled
    ]
    return unreferenced + unevaluated + unmeasured + unrecorded + unruled


def _stacked_experts(params: Params) -> list[str]:
    """An expert is served with one adapter, so that it can be evaluated as it was before the merge."""
    return [
        f"params.yaml: experts.{name} is {text}, which has several adapters; an expert has at most one. "
        "Name each as an expert of its own; a recipe may still put them on one source."
        for name, text in params.experts.items()
        if Reference.parse(text).further
    ]


def _serving(params: Params) -> list[str]:
    """Where backend, server and tasks do not fit each other."""
    from pipeline.evaluate.served.plan import serving_faults

    adapters = any(Reference.parse(text).adapter for text in params.experts.values())
    return serving_faults(params.evaluate, adapters=adapters)


# What a release needs that other commands do without: dvc.yaml refers to these keys by ${...}.
_INTERPOLATED = {
    "watch": "the folder below which DVC looks for changes of local sources, for example models",
    "experts": "the fine-tunes to merge, by name",
    "evaluate.golden": "the folder of golden sets: GOLDEN/test/SKILL.jsonl to judge by, "
    "GOLDEN/tune for the prompts of calibration and latency",
}


def _interpolated() -> list[str]:
    """Keys that dvc.yaml reads by itself, and that params.yaml leaves out."""
    stated = load_yaml(Path("params.yaml"))
    return [
        f"params.yaml: {key} is missing, and a release needs it. It is {what}."
        for key, what in _INTERPOLATED.items()
        if _at(stated, key) is None
    ]


def _at(value: Any, dotted: str) -> Any:
    """The value at the key `a.b.c` of nested mappings; None where there is none."""
    for key in dotted.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
