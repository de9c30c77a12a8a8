"""What a verdict was computed from, by digest: a changed input shows, even where the outcome stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from gates.evidence import Evidence
from gates.policy import Policy
from gates.samples import Groups
from pipeline.facts import Evaluation

_SEPARATOR = "\x1f"  # ASCII's own «unit separator»


def inputs_of(
    policy: Policy,
    evidence: Evidence,
    *,
    latency: Mapping[str, Any] | None,
    always: Sequence[str],
    uses: Mapping[str, int] | None,
    fixed_policy: str | None,
    registered: str | None,
) -> dict[str, Any]:
    """Everything that `judge_release` was given, as JSON values.

    Evaluations and latency by digest; what the caller stated as it is. `uses` holds the counts
    that the policy limits alone. With the files and these, the verdict can be computed again.
    """
    counted = {seal.skill for seal in policy.sealed if seal.uses is not None}
    golden = {s.skill: s.golden for s in policy.sealed if s.skill in counted}
    judged_latency = policy.latency is not None and evidence.artifact == "merged"
    return {
        "evaluations": {
            name: evaluation_digest(evaluation, evidence.groups[name])
            for name, evaluation in evidence.evaluations.items()
        },
        "experts": list(evidence.experts),
        "always": list(always),
        "latency": _digest([_json(latency)]) if judged_latency else "",
        "absent": dict(evidence.absent),
        "uses": None if uses is None else {s: uses.get(d, 0) for s, d in golden.items()},
        "fixed_policy": fixed_policy,
        "registered": registered,
    }


def evaluation_digest(evaluation: Evaluation, groups: Groups) -> str:
    """SHA-256 over all that an evaluation says; its scores by skill and metric, in file order."""
    head = {
        "variant": evaluation.variant,
        "model": evaluation.model,
        "model_digest": evaluation.model_digest,
        "harness": evaluation.harness,
        "settings": evaluation.settings,
        "tasks": {skill: asdict(facts) for skill, facts in evaluation.tasks.items()},
        # Left out where there is none, so that digests of earlier verdicts stay what they were.
        **({"served": asdict(evaluation.served)} if evaluation.served else {}),
    }
    parts: list[bytes] = [_json(head)]
    for key in sorted(groups, key=repr):
        scores = groups[key]
        parts += [_json(key), _texts(list(map(attrgetter("sample_id"), scores)))]
        parts += [_texts(list(map(attrgetter("sample_digest"), scores)))]
        parts += [_numbers(list(map(attrgetter("score"), scores)))]
        parts += _attributes(list(map(attrgetter("attributes"), scores)))
    return _digest(parts)


def _digest(parts: Sequence[bytes]) -> str:
    """Of the parts with their lengths, so that nothing can move from one to the next."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


def _json(value: Any) -> bytes:
    """JSON of anything, broken evidence too: NaN by name, what JSON does not know by its repr."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=repr).encode()


def _texts(values: list[Any]) -> bytes:
    """Texts with a separator that none of them holds, which is quick; as JSON where that fails."""
    try:
        joined = _SEPARATOR.join(values)
        if joined.count(_SEPARATOR) == len(values) - 1:
            return b"tx" + joined.encode()
    except (TypeError, UnicodeEncodeError):
        pass
    return b"js" + _json(values)


def _attributes(values: list[Any]) -> list[bytes]:
    """All names and values in one row, and how many each sample has."""
    if not any(values):
        return []
    try:
        pairs = list(chain.from_iterable(values))
        if set(map(len, pairs)) == {2}:
            return [_texts(list(chain.from_iterable(pairs))), _numbers(list(map(len, values)))]
    except TypeError:
        pass
    return [b"js" + _json(values)]


def _numbers(values: list[Any]) -> bytes:
    """Scores as little-endian float64, which is quick; as JSON where they are not all numbers."""
    if set(map(type, values)) <= {int, float}:
        try:
            return b"f8" + np.array(values, dtype="<f8").tobytes()
        except OverflowError:
            pass
    return b"js" + _json(values)
