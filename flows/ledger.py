"""What a release asks of the registry before it judges, what it enters afterwards, and the ledger as a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gates.recompute import LEDGER
from pipeline.errors import MergegateError
from pipeline.facts import read_json
from pipeline.params import Params
from pipeline.stages.champion import served
from pipeline.stages.ledger import golden_digests, standing_of
from pipeline.stages.workspace import BUILD, CHAMPION

if TYPE_CHECKING:
    from gates import Policy
    from pipeline.release.ledger import Judgement


def ledger_is_new(params: Params, candidate: str) -> bool:
    """Whether build/CANDIDATE/ledger.json is not what the ledger says of the candidate now."""
    return _differs(BUILD / candidate / LEDGER, standing_of(params, candidate))


def champion_is_new(params: Params) -> bool:
    """Whether build/champion.json is not what the registry says of the champion now."""
    return _differs(CHAMPION, served(params))


def enter_ledger(params: Params, candidate: str) -> bool:
    """Add the candidate's verdict to the ledger; False where it is there already."""
    from gates import Policy
    from pipeline.release.ledger import Judgement, append

    folder = BUILD / candidate
    verdict = read_json(folder / "verdict.json")
    policy, judged_by = Policy.parse(params.policy, "params.yaml: policy"), verdict["policy_digest"]
    judgement = Judgement(
        candidate=candidate,
        outcome=verdict["outcome"],
        weights=verdict["candidate_digests"],
        golden=golden_digests(read_json(folder / "evals" / "merged.json")),
        recipe=read_json(folder / "compat.json")["recipe_digest"],
        policy=judged_by,
        # Of a policy that was edited while the release ran, its whole digest is all that is known.
        fixed_policy=policy.fixed_digest if policy.digest == judged_by else judged_by,
    )
    return append(params.registry_uri, params.name, judgement)


def read_ledger_report(uri: str, name: str, policy: Policy | None) -> dict[str, Any]:
    """Who was judged on which golden set, and how many uses of each the policy leaves.

    `policy`: None where it is not known; then nothing is said of what it allows.
    """
    from pipeline.release.ledger import candidates_on, shown_ledger

    entries = shown_ledger(uri, name)
    limits: dict[str, int] = {}
    for seal in policy.sealed if policy else ():
        if seal.uses is not None:
            limits[seal.golden] = min(seal.uses, limits.get(seal.golden, seal.uses))
    sets = candidates_on(entries)
    unused: dict[str, list[Judgement]] = {digest: [] for digest in limits if digest not in sets}
    return {
        "name": name,
        "policy": policy.digest if policy else None,
        "golden_sets": [
            _golden_set(digest, candidates, entries, limits.get(digest), policy)
            for digest, candidates in {**sets, **unused}.items()
        ],
        "judgements": [
            {**asdict(one), "when": _moment(one.when), "digest": one.digest} for one in entries
        ],
    }


def _golden_set(
    digest: str,
    candidates: Sequence[Judgement],
    entries: Sequence[Judgement],
    allowed: int | None,
    policy: Policy | None,
) -> dict[str, Any]:
    named = {skill for one in entries for skill, d in one.golden.items() if d == digest}
    sealed = {seal.skill for seal in policy.sealed if seal.golden == digest} if policy else set()
    return {
        "digest": digest,
        "skills": sorted(named | sealed),
        "candidates": len(candidates),
        "allowed": allowed,
        "left": None if allowed is None else max(0, allowed - len(candidates)),
        "first": _moment(candidates[0].when) if candidates else None,
    }


def _moment(milliseconds: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _differs(path: Path, value: Any) -> bool:
    try:
        return not path.is_file() or read_json(path) != value
    except MergegateError:  # a file that is broken is written anew
        return True
