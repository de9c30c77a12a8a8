"""The verdict of a release as a pure function of what its release folder stores.

The stages judge with the functions here and `mergegate verify` judges again with the same ones, so
that a verdict cannot rest on something that the folder does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import takewhile
from pathlib import Path
from typing import Any

from gates.outcome import Artifact, Verdict
from gates.policy import Policy
from gates.rule import CHAMPION, PLAIN
from gates.verdict import combine, judge_release
from pipeline.errors import CorruptArtifactError
from pipeline.facts import Evaluation, read_evaluation, read_json
from pipeline.strict import shown

POLICY, LATENCY, LEDGER = "policy.json", "latency.json", "ledger.json"
CHAMPION_FILE, EVALS = "champion.json", "evals"
ARTIFACTS: tuple[Artifact, ...] = ("merged", "quantized")
# The day where none is stored: without waivers nothing depends on it.
ANY_DAY = date(1970, 1, 1)


@dataclass(frozen=True)
class Earlier:
    """An earlier judgement of the same candidate under another policy."""

    same: str  # what was the same: weights or recipe
    fixed_policy: str  # the digest of that policy without its waivers
    outcome: str
    day: str  # YYYY-MM-DD


@dataclass(frozen=True)
class Ledger:
    """What the registry said before the candidate was judged; nothing where no ledger is kept."""

    uses: Mapping[str, int] | None = None  # candidates judged, by the digest of a golden set
    judged_before: tuple[Earlier, ...] = ()


@dataclass(frozen=True)
class Stored:
    """Everything that the verdict of a release depends on."""

    policy: Policy
    evaluations: Mapping[
        str, Evaluation
    ]  # by variant: merged, quantized, what they are compared with
    experts: tuple[str, ...]
    registered: Mapping[str, str]  # by artifact: the digest of the weights as they lie on the disk
    latency: Mapping[str, Any] | None  # in milliseconds; None where there was nothing to time
    day: date  # waivers hold up to and including their last day
    ledger: Ledger = field(default_factory=Ledger)
    absent: Mapping[str, str] = field(default_factory=dict)  # {"champion": why there is none}


def release_verdict(stored: Stored) -> Verdict:
    """The verdict on the merge and, where that one promotes, on the quantized artifact as well.

    Raises CorruptArtifactError where the scores that it needs are not there.
    """
    merged = artifact_verdict(stored, "merged")
    if merged.outcome != "promote":
        return merged
    return combine(merged, artifact_verdict(stored, "quantized"))


def artifact_verdict(stored: Stored, artifact: Artifact) -> Verdict:
    """The verdict on one artifact, with a note for each earlier judgement under another policy."""
    candidate = _evaluation(stored, artifact)
    verdict = _judged(stored, candidate, artifact, stored.registered.get(artifact))
    return replace(verdict, notes=verdict.notes + tuple(_judged_before(stored)))


def plain_verdict(stored: Stored) -> Verdict:
    """What the policy says of plain task arithmetic, as if it were the merge; it never ships."""
    plain = replace(_evaluation(stored, PLAIN), variant="merged")
    return _judged(stored, plain, "merged", None)


def read_stored(
    folder: Path,
    *,
    variants: tuple[str, ...],
    experts: tuple[str, ...],
    registered: Mapping[str, str],
    judged_on: str,
) -> Stored:
    """The content of a release folder. `variants` and `experts` in the order of the table.

    The order is that of params.yaml: of two experts that are equally good, the first stands as the
    best one. `judged_on`: the day in the verdict, "" without waivers.

    Raises InputError or CorruptArtifactError naming the file that is missing or does not read.
    """
    policy = Policy.parse(read_json(folder / POLICY), str(folder / POLICY))
    if bool(policy.waivers) != bool(judged_on):
        raise CorruptArtifactError(
            f"verdict.json: judged_on is {judged_on!r}, and {POLICY} has {len(policy.waivers)} "
            "waivers; the day is stated where there are waivers, and nowhere else."
        )
    try:
        day = date.fromisoformat(judged_on) if judged_on else ANY_DAY
    except ValueError:
        raise CorruptArtifactError(f"verdict.json: judged_on is {judged_on!r}, no day.") from None
    return Stored(
        policy=policy,
        evaluations={name: _read_evaluation(folder / EVALS / f"{name}.json") for name in variants},
        experts=experts,
        registered=registered,
        latency=read_latency(folder / LATENCY),
        day=day,
        ledger=read_ledger(folder / LEDGER),
        absent=read_absent(folder / CHAMPION_FILE),
    )


def read_latency(path: Path) -> Mapping[str, Any] | None:
    """The report of the latency stage; None where it had nothing to compare with."""
    report = read_json(path)
    if not isinstance(report, dict):
        raise CorruptArtifactError(f"{path}: not a report of latency. Run its stage again.")
    return None if "skipped" in report else report


def read_ledger(path: Path) -> Ledger:
    """What the release flow wrote of the registry's ledger; nothing is known where the file is missing."""
    if not path.is_file():
        return Ledger()
    value = read_json(path)
    try:
        uses = value["uses"]
        return Ledger(
            uses=None if uses is None else {str(k): _count(v) for k, v in uses.items()},
            judged_before=tuple(
                Earlier(**{key: str(one[key]) for key in Earlier.__annotations__})
                for one in value["judged_before"]
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{path}: does not read as the count of a ledger ({error!r}). "
            "Delete it and run `mergegate release` again, which writes it."
        ) from None


def read_absent(path: Path) -> dict[str, str]:
    """{"champion": why there is none}, where the release flow wrote so; else nothing."""
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise CorruptArtifactError(f"{path}: says nothing of a champion. Delete it.")
    return {CHAMPION: str(value["absent"])} if "absent" in value else {}


def names_champion(policy: Policy) -> bool:
    """Whether some rule compares with the champion."""
    return any(CHAMPION in rule.references for rule in policy.rules)


def differences(stored: Any, computed: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ, as «path: stored, computed», in the order of the paths."""
    if isinstance(stored, dict) and isinstance(computed, dict):
        for key in sorted({*stored, *computed}):
            inner = f"{path}.{key}" if path else str(key)
            if key not in computed or key not in stored:
                which = "stored and not computed" if key in stored else "computed and not stored"
                yield f"{inner}: {which}"
            else:
                yield from differences(stored[key], computed[key], inner)
    elif isinstance(stored, list) and isinstance(computed, list):
        if len(stored) != len(computed):
            yield f"{path}: {len(stored)} entries stored, {len(computed)} computed"
        for number, (ours, theirs) in enumerate(zip(stored, computed, strict=False)):
            yield from differences(ours, theirs, f"{path}[{number}]")
    elif isinstance(stored, bool) != isinstance(computed, bool) or stored != computed:
        ours, theirs = _where_they_part(stored, computed)
        yield f"{path}: stored {shown(ours)}, computed {shown(theirs)}"


def _where_they_part(ours: Any, theirs: Any) -> tuple[Any, Any]:
    """Two values as they are; of two long texts that begin alike, the part from where they differ."""
    if not (isinstance(ours, str) and isinstance(theirs, str)):
        return ours, theirs
    alike = sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False))
    )
    start = max(0, alike - 20)
    return ("…" + ours[start:], "…" + theirs[start:]) if start else (ours, theirs)


def _judged(
    stored: Stored, candidate: Evaluation, artifact: Artifact, registered: str | None
) -> Verdict:
    return judge_release(
        stored.policy,
        candidate,
        {name: e for name, e in stored.evaluations.items() if name not in ARTIFACTS},
        stored.experts,
        latency=stored.latency,
        today=stored.day,
        artifact=artifact,
        absent=stored.absent,
        uses=stored.ledger.uses,
        registered=registered,
    )


def _judged_before(stored: Stored) -> Iterator[str]:
    """Told whatever the outcome was: a policy loosened after a refusal must not look like the first."""
    now = stored.policy.fixed_digest
    for one in dict.fromkeys(stored.ledger.judged_before):
        if one.fixed_policy != now:
            yield (
                f"{'These weights were' if one.same == 'weights' else 'This recipe was'} judged "
                f"before, under another policy: {one.outcome} on {one.day} by "
                f"{one.fixed_policy[:12]}…. The policy now is {now[:12]}… (both without waivers)."
            )


def _evaluation(stored: Stored, variant: str) -> Evaluation:
    if variant not in stored.evaluations:
        raise CorruptArtifactError(
            f"There are no scores of {variant}, and the verdict needs them. "
            "Run `mergegate release` again."
        )
    return stored.evaluations[variant]


def _read_evaluation(path: Path) -> Evaluation:
    try:
        return read_evaluation(path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(f"{path}: not the scores of a variant ({error!r}).") from None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
