"""What a release asks of the ledger before it judges, what it enters afterwards, and the ledger as a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import MergegateError
from pipeline.facts import read_json, write_json
from pipeline.params import Params
from pipeline.stages.workspace import BUILD

if TYPE_CHECKING:
    from gates import Policy
    from pipeline.release.ledger import Judgement


def note_ledger(params: Params, candidate: str) -> bool:
    """Write build/CANDIDATE/ledger.json: how the candidate stands in the ledger. True where that is new.

    Beside what `standing` gives it holds build/champion.json, where the policy asks for the champion:
    another one is something new to judge by. Written only where its content changes, so that a
    release with nothing new runs no stage again.
    """
    from flows.champion import read_champion
    from gates import Policy
    from pipeline.recipe import load_recipe
    from pipeline.release.ledger import read_ledger, standing

    evaluation = read_json(BUILD / candidate / "evals" / "merged.json")
    found = standing(
        read_ledger(params.registry_uri, params.name),
        merge=evaluation["model_digest"],
        golden=_golden(evaluation),
        recipe=load_recipe(params.recipe(candidate)).digest,
        fixed_policy=Policy.parse(params.policy, "params.yaml: policy").fixed_digest,
    )
    if served := read_champion(params):
        found["champion"] = served
    return write_new(BUILD / candidate / "ledger.json", found)


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
        golden=_golden(read_json(folder / "evals" / "merged.json")),
        recipe=read_json(folder / "compat.json")["recipe_digest"],
        policy=judged_by,
        # Of a policy that was edited while the release ran, its whole digest is all that is known.
        fixed_policy=policy.fixed_digest if policy.digest == judged_by else judged_by,
    )
    return append(params.registry_uri, params.name, judgement)


def _golden(evaluation: dict[str, Any]) -> dict[str, str]:
    """The digests of the golden sets that scores were made with, by skill."""
    tasks = evaluation["tasks"]
    return {s: facts["golden_digest"] for s, facts in tasks.items() if facts["golden_digest"]}


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


def write_new(path: Path, value: Any) -> bool:
    """Write `value` where the file does not hold it already; whether it was written."""
    try:
        if path.is_file() and read_json(path) == value:
            return False
    except MergegateError:  # a file that is broken is written anew
        pass
    write_json(path, value)
    return True
