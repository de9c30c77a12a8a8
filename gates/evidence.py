"""All that a verdict rests on: the candidate, what it is compared with, and what is wrong.

Two variants are comparable only where harness, settings, task, golden set and samples are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.outcome import Artifact
from gates.policy import BEST_EXPERT, Rule
from gates.samples import Column, Groups, column, grouped
from gates.wording import weak_reference
from pipeline.facts import Evaluation, TaskFacts

# Every comparison table of a release has them, so a verdict without them is incomplete.
ALWAYS = ("base", "plain")


@dataclass(frozen=True)
class Evidence:
    """The evaluations by variant, the candidate first, under the name of its artifact."""

    artifact: Artifact
    evaluations: Mapping[str, Evaluation]
    groups: Mapping[str, Groups]  # the scores of each, by skill and metric
    experts: tuple[str, ...]
    unfit: Mapping[str, list[str]]  # variants that are missing or not comparable, and why

    @property
    def candidate(self) -> Evaluation:
        """The evaluation of the artifact under judgement."""
        return self.evaluations[self.artifact]

    def label(self, name: str) -> str:
        """What a person calls a variant: an adapter by its own name, such as json-lora."""
        if name == self.artifact:
            return "the candidate"
        if name not in self.evaluations:
            return name
        _, plus, adapter = self.evaluations[name].model.partition("+")
        return adapter.split("@")[0].rstrip("/").rsplit("/", 1)[-1] if plus else name


def gather(
    artifact: Artifact,
    candidate: Evaluation,
    references: Mapping[str, Evaluation],
    experts: tuple[str, ...],
    always: tuple[str, ...] = ALWAYS,
) -> Evidence:
    """The evidence, and the variants that are unfit: missing, misfiled, evaluated differently."""
    evaluations = {artifact: candidate, **references}
    needed = dict.fromkeys((*always, *experts))
    missing = {name: ["it was not evaluated"] for name in needed if name not in references}
    found = {name: _variant_faults(name, e, candidate) for name, e in evaluations.items()}
    if candidate.settings.get("limit") is not None:
        found[artifact].append(
            f"only the first {candidate.settings['limit']} samples of each set were scored: "
            "evaluate.limit is for trials"
        )
    return Evidence(
        artifact=artifact,
        evaluations=evaluations,
        groups={name: grouped(evaluation) for name, evaluation in evaluations.items()},
        experts=experts,
        unfit=missing | {name: faults for name, faults in found.items() if faults},
    )


def columns(rule: Rule, evidence: Evidence) -> tuple[dict[str, Column], list[str]]:
    """The scores of every variant under a rule, and what is wrong with them.

    The whole table must be there, not only the pair that decides.
    """
    held: dict[str, Column] = {}
    faults: list[str] = []
    ours = evidence.candidate.tasks.get(rule.name)
    for name, evaluation in evidence.evaluations.items():
        label = evidence.label(name)
        found = column(rule, name, label, evaluation, evidence.groups[name])
        theirs = evaluation.tasks.get(rule.name)
        if isinstance(found, list):
            faults += found
        else:
            held[name] = found
        if ours is not None and theirs is not None:
            faults += _task_faults(label, theirs, ours)
    return held, faults


def reference(
    rule: Rule, evidence: Evidence, held: Mapping[str, Column]
) -> tuple[Column | None, list[str]]:
    """The variant that a rule compares with; or why there is none that could stand as one."""
    names = evidence.experts if rule.reference == BEST_EXPERT else (rule.reference,)
    faults = _unusable(names, evidence)
    choices = [held[name] for name in names if name in held]
    if faults or len(choices) < len(names):
        return None, faults  # what is wrong with a missing column is a fault already
    pick = max if rule.direction == "higher" else min
    chosen = pick(choices, key=lambda one: one.mean)
    if evidence.evaluations[chosen.variant].model_digest == evidence.candidate.model_digest:
        return None, [f"its reference {chosen.label} is the same model as the candidate"]
    if not rule.meets_floor(chosen.mean):
        return None, [weak_reference(rule, chosen.label, chosen.mean)]
    return chosen, []


def _unusable(names: Sequence[str], evidence: Evidence) -> list[str]:
    """Why a rule cannot compare with some of these variants."""
    if not names:
        return ["there is no expert to compare with"]
    faults = []
    for name in names:
        label = evidence.label(name)
        if name == evidence.artifact:
            faults.append("its reference is the candidate itself")
        elif name not in evidence.evaluations:
            faults.append(f"{label}, which it must be compared with, was not evaluated")
        elif name in evidence.unfit:
            faults.append(
                f"{label}, which it must be compared with, was not evaluated as the candidate was"
            )
    return faults


def _variant_faults(name: str, evaluation: Evaluation, candidate: Evaluation) -> list[str]:
    """Why a variant cannot stand beside the candidate: another name, harness or setting."""
    faults = []
    if evaluation.variant != name:
        faults.append(f"the evaluation filed as {name} is of {evaluation.variant}")
    if not evaluation.model_digest:
        faults.append("its evaluation has no digest of the model")
    facts = [
        ({"harness": e.harness, **{f"setting {k}": v for k, v in e.settings.items()}})
        for e in (evaluation, candidate)
    ]
    faults += [
        f"its {key} was {theirs}, that of the candidate {ours}"
        for key, theirs, ours in _differing(*facts)
    ]
    return faults


def _task_faults(name: str, theirs: TaskFacts, ours: TaskFacts) -> list[str]:
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
