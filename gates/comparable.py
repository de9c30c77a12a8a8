"""Whether two variants can be compared: the same harness, settings, task and golden set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.facts import Evaluation, TaskFacts


def variant_faults(name: str, evaluation: Evaluation, candidate: Evaluation) -> list[str]:
    """Why a variant cannot stand beside the candidate: another name, harness, setting, a server of unknown weights."""
    faults = []
    if evaluation.variant != name:
        faults.append(f"the evaluation filed as {name} is of {evaluation.variant}")
    if not evaluation.model_digest:
        faults.append("its evaluation has no digest of the model")
    faults += evaluation.served.faults if evaluation.served else []
    facts = [
        ({"harness": e.harness, **{f"setting {k}": v for k, v in e.settings.items()}})
        for e in (evaluation, candidate)
    ]
    faults += [
        f"its {key} was {theirs}, that of the candidate {ours}"
        for key, theirs, ours in _differing(*facts)
    ]
    return faults


def task_faults(name: str, theirs: TaskFacts, ours: TaskFacts) -> list[str]:
    """Why two variants did not sit the same examination: task, golden set, or its size."""
    words = {
        "task": "task",
        "task_digest": "task's digest",
        "golden_digest": "golden set's digest",
        "samples": "number of samples",
    }
    return [
        f"the {words[key]} of {name} is {a}, that of the candidate {b}"
        for key, a, b in _differing(vars(theirs), vars(ours))
    ]


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    """Keys whose values differ, with both values as a message shows them."""
    for key in sorted({*a, *b}):
        if key not in a or key not in b or a[key] != b[key]:
            yield key, *_apart(a.get(key, "(absent)"), b.get(key, "(absent)"))


def _apart(a: Any, b: Any, width: int = 24) -> tuple[str, str]:
    """Two values, each cut to the stretch in which their texts begin to differ."""
    texts = str(a), str(b)
    pairs = enumerate(zip(*texts, strict=False))
    same = next((i for i, (x, y) in pairs if x != y), min(map(len, texts)))
    start = max(0, same - width // 2) if max(map(len, texts)) > width else 0
    return _window(a, start, width), _window(b, start, width)


def _window(value: Any, start: int, width: int) -> str:
    text = str(value)
    before, after = "…" if start else "", "…" if text[start + width :] else ""
    shown = before + text[start : start + width] + after
    return repr(shown) if isinstance(value, str) else shown
