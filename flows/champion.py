"""The champion as a reference: which model it is, for a policy that compares with it."""

from __future__ import annotations

from flows.ledger import write_new
from gates import Policy
from gates.rule import CHAMPION
from pipeline.errors import InputError
from pipeline.facts import read_json
from pipeline.params import Params
from pipeline.stages.workspace import BUILD

CHAMPION_FILE = BUILD / "champion.json"


def compares_with_champion(params: Params) -> bool:
    """Whether some rule of the policy names the champion."""
    policy = Policy.parse(params.policy, "params.yaml: policy")
    return any(CHAMPION in rule.references for rule in policy.rules)


def note_champion(params: Params) -> bool:
    """Write build/champion.json, where its content changes; True where there is a model to evaluate.

    Holds `reference` and the `digest` of the weights that were judged, or `absent`, why there is no
    model to compare with. Raises InputError where the champion is no version of mergegate's,
    EnvironmentFault where the registry cannot be reached.
    """
    from pipeline.release.registry import MERGE, UNMERGED, champion

    version = champion(params.registry_uri, params.name)
    if version is None:
        found = {"absent": "there is no champion yet"}
    elif version.kind == UNMERGED:
        found = {"absent": "the champion is the unmerged set, for which `unmerged` stands"}
    elif version.kind == MERGE:
        reference = f"models:/{params.name}/{version.version}"
        found = {"reference": reference, "digest": version.digest}
    else:
        raise InputError(
            f"{params.name} version {version.version}: is the champion, which the policy compares "
            "with, and was not registered by mergegate. Move the alias to a version that was, or "
            "leave the champion out of the policy."
        )
    write_new(CHAMPION_FILE, found)
    return "reference" in found


def read_champion(params: Params) -> dict[str, str] | None:
    """What `note_champion` wrote; None where the policy does not ask for the champion."""
    return dict(read_json(CHAMPION_FILE)) if compares_with_champion(params) else None
