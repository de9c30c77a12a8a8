"""All that a verdict rests on: the candidate, what it is compared with, and what is wrong.

Two variants are comparable only where harness, settings, task, golden set and samples are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gates.comparable import task_faults, variant_faults
from gates.outcome import Artifact
from gates.rule import BASE, BEST_EXPERT, CHAMPION, PLAIN, UNMERGED, Rule
from gates.samples import Column, Groups, aligned, attribute_faults, column, grouped
from gates.wording import weak_reference
from pipeline.facts import Evaluation

# Every comparison table of a release has them, so a verdict without them is incomplete.
ALWAYS = (BASE, PLAIN)
# Words of the policy that stand for one of the experts, so that no variant can be called so.
OF_EXPERTS = (BEST_EXPERT, UNMERGED)


@dataclass(frozen=True)
class Evidence:
    """The evaluations by variant, the candidate first, under the name of its artifact."""

    artifact: Artifact
    evaluations: Mapping[str, Evaluation]
    groups: Mapping[str, Groups]  # the scores of each, by skill and metric
    experts: tuple[str, ...]
    unfit: Mapping[str, list[str]]  # variants that are missing or not comparable, and why
    absent: Mapping[str, str] = field(default_factory=dict)  # CHAMPION: why there is none yet

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

    def is_candidate(self, name: str) -> bool:
        """Whether a variant is the very model that is judged."""
        return self.evaluations[name].model_digest == self.candidate.model_digest


def gather(
    artifact: Artifact,
    candidate: Evaluation,
    references: Mapping[str, Evaluation],
    experts: tuple[str, ...],
    always: tuple[str, ...] = ALWAYS,
    absent: Mapping[str, str] | None = None,
) -> Evidence:
    """The evidence, and the variants that are unfit: missing, misfiled, evaluated differently."""
    evaluations = {artifact: candidate, **references} | {artifact: candidate}
    needed = dict.fromkeys((*always, *experts))
    unfit = {name: ["it was not evaluated"] for name in needed if name not in references}
    for name, evaluation in evaluations.items():
        unfit[name] = variant_faults(name, evaluation, candidate)
    if artifact in references:
        unfit[artifact].append("a variant that it is compared with has its name")
    if candidate.settings.get("limit") is not None:
        unfit[artifact].append(
            f"only the first {candidate.settings['limit']} samples of each set were scored: "
            "evaluate.limit is for trials"
        )
    for name in (*OF_EXPERTS, *(absent or {})):
        unfit.setdefault(name, []).extend(_misnamed(name, evaluations))
    return Evidence(
        artifact=artifact,
        evaluations=evaluations,
        groups={name: grouped(evaluation) for name, evaluation in evaluations.items()},
        experts=experts,
        unfit={name: faults for name, faults in unfit.items() if faults},
        absent=dict(absent or {}),
    )


def columns(rule: Rule, evidence: Evidence) -> tuple[dict[str, Column], list[str]]:
    """The scores of every variant under a rule in the candidate's order, and what is wrong with them.

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
            faults += task_faults(label, theirs, ours)
    return (held, faults) if faults else _aligned(held, evidence.artifact)


def reference(
    rule: Rule, evidence: Evidence, held: Mapping[str, Column], *, weak: bool = False
) -> tuple[Column | None, list[str]]:
    """The variant that a rule compares with; or why there is none that could stand as one.

    `weak`: whether one that misses the floor itself may stand.
    """
    names = evidence.experts if rule.reference in OF_EXPERTS else (rule.reference,)
    faults = _unusable(names, evidence)
    choices = [held[name] for name in names if name in held]
    if faults or len(choices) < len(names):
        return None, faults  # what is wrong with a missing column is a fault already
    pick = max if rule.direction == "higher" else min
    chosen = pick(choices, key=lambda one: one.mean)
    if evidence.is_candidate(chosen.variant):
        return None, [f"its reference {chosen.label} is the same model as the candidate"]
    if not weak and not rule.meets_floor(chosen.mean):
        return None, [weak_reference(rule, chosen.label, chosen.mean)]
    return chosen, []


def _aligned(held: Mapping[str, Column], artifact: str) -> tuple[dict[str, Column], list[str]]:
    """Every column in the candidate's order, or the faults; alike ones are told once."""
    ours = held[artifact]
    if faults := attribute_faults(ours):
        return {}, faults
    found = {name: aligned(ours, one) for name, one in held.items()}
    alike: dict[str, list[str]] = {}
    for name, one in found.items():
        if isinstance(one, str):
            alike.setdefault(one, []).append(held[name].label)
    faults = [
        fault.replace("{both}", f"the candidate and {labels[0]}")
        + (f"; so it is with {', '.join(labels[1:])}" if labels[1:] else "")
        for fault, labels in alike.items()
    ]
    return {name: one for name, one in found.items() if isinstance(one, Column)}, faults


def _misnamed(name: str, evaluations: Mapping[str, Evaluation]) -> list[str]:
    """Why a name of the policy's own, or one that is said to be absent, cannot be taken as it is."""
    if name in OF_EXPERTS:
        taken = f"it is a word of the policy for the best expert, and a variant is called {name}"
        return [taken] if name in evaluations else []
    if name != CHAMPION:
        return [f"it is said to be absent, and only the {CHAMPION} may be"]
    return ["it is said to be absent, and was evaluated"] if name in evaluations else []


def _unusable(names: Sequence[str], evidence: Evidence) -> list[str]:
    """Why a rule cannot compare with some of these variants."""
    if not names:
        return ["there is no expert to compare with"]
    faults = []
    for name in names:
        label = evidence.label(name)
        if name == evidence.artifact:
            faults.append("its reference is the candidate itself")
        elif name in evidence.absent:
            faults.append(f"there is no {label} to compare with ({evidence.absent[name]})")
        elif name not in evidence.evaluations:
            faults.append(f"{label}, which it must be compared with, was not evaluated")
        elif name in evidence.unfit:
            faults.append(
                f"{label}, which it must be compared with, was not evaluated as the candidate was"
            )
    return faults
