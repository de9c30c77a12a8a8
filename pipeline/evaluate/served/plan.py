"""What params.yaml asks of a server, checked from files alone: before a stage runs, and without lm-eval."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.evaluate.backend import (
    CHAT,
    KNOWN,
    PROBED,
    STARTABLE,
    argument_faults,
    is_served,
)
from pipeline.evaluate.served.command import KEY, command_faults
from pipeline.evaluate.tasks import output_type
from pipeline.params import EvaluateParams, Skill
from pipeline.strict import nearest

_WITH_KEY = ("openai-completions", "openai-chat-completions")
_LIKELIHOODS = ("multiple_choice", "loglikelihood", "loglikelihood_rolling")


def serving_faults(evaluate: EvaluateParams, *, adapters: bool) -> list[str]:
    """Every fault of backend, model_args, serve and served_by; `adapters`: whether an expert is one."""
    if fault := _unknown(evaluate.backend):
        return [fault]
    return [
        *_backend_faults(evaluate, adapters),
        *_serve_faults(evaluate),
        *_key_faults(evaluate),
        *_identity_faults(evaluate),
        *_task_faults(evaluate),
    ]


def _unknown(backend: str) -> str:
    """That lm-eval has no such backend; "" where it has. It is imported only for a name that is not known here."""
    if backend in KNOWN:
        return ""
    from lm_eval.models import MODEL_MAPPING

    if backend in MODEL_MAPPING:
        return ""
    return (
        f"params.yaml: evaluate.backend is {backend!r}, which lm-eval does not have."
        f"{nearest(backend, MODEL_MAPPING)}"
    )


def _backend_faults(evaluate: EvaluateParams, adapters: bool) -> list[str]:
    started = bool(evaluate.serve) and is_served(evaluate.backend)
    return argument_faults(
        evaluate.backend,
        evaluate.model_args,
        evaluate.batch_size,
        adapters=adapters,
        started=started,
    )


def _serve_faults(evaluate: EvaluateParams) -> list[str]:
    if not evaluate.serve:
        return []
    faults = command_faults(evaluate.serve)
    if evaluate.backend not in STARTABLE:
        loads = "asks another server" if is_served(evaluate.backend) else "loads the model itself"
        faults.append(
            f"{KEY} is given, and evaluate.backend is {evaluate.backend}, which {loads}. "
            f"Leave serve out, or use {' or '.join(STARTABLE)}."
        )
    return faults


def _key_faults(evaluate: EvaluateParams) -> list[str]:
    """OpenAI's own backends ask for a key at their first request."""
    if evaluate.backend not in _WITH_KEY or os.environ.get("OPENAI_API_KEY"):
        return []
    return [
        f"params.yaml: evaluate.backend is {evaluate.backend}, and OPENAI_API_KEY is not set. Set that variable, or "
        f"use {' or '.join(STARTABLE)} for a server without keys."
    ]


def _identity_faults(evaluate: EvaluateParams) -> list[str]:
    """A server whose weights nobody could identify, and a person who vouches where there is no server."""
    served = is_served(evaluate.backend)
    if evaluate.trusted and not served:
        return [
            f"params.yaml: evaluate.served_by is given, and evaluate.backend is {evaluate.backend}, "
            "which loads the model itself. Leave served_by out."
        ]
    if served and not evaluate.trusted and evaluate.backend not in PROBED:
        return [
            f"params.yaml: evaluate.backend is {evaluate.backend}, which cannot be asked probes, so nothing shows "
            f"which weights answer. Use {', '.join(PROBED)}, or name the person who vouches for it: "
            "`served_by: {trusted: NAME}`."
        ]
    return []


def _task_faults(evaluate: EvaluateParams) -> list[str]:
    if evaluate.backend not in CHAT:
        return []
    found = {skill.name: _output_type(skill) for skill in evaluate.skills.values()}
    return [
        f"params.yaml: evaluate.skills.{name} is of output_type {kind}, which needs the log-probability of a given "
        f"text, and {evaluate.backend} gives none. Use local-completions, or a task of output_type generate_until."
        for name, kind in found.items()
        if kind in _LIKELIHOODS
    ]


def _output_type(skill: Skill) -> str:
    """Of a task file of the workspace; "" of one that is missing, which others report, and of lm-eval's own."""
    return output_type(Path(skill.task)) if skill.golden and Path(skill.task).is_file() else ""
