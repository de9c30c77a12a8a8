"""Stage `champion`: which version is served now, for a policy that compares with it."""

from __future__ import annotations

from gates import Policy
from gates.recompute import names_champion
from pipeline.errors import InputError
from pipeline.facts import read_json, write_json
from pipeline.params import Params, load_params
from pipeline.stages.workspace import CHAMPION, SOURCES


def run() -> None:
    """Write build/champion.json."""
    write_json(CHAMPION, served(load_params()))


def served(params: Params) -> dict[str, str]:
    """`reference` and the `digest` of the weights that were judged, or `absent`, why there is nothing to compare with.

    Raises InputError where the champion is no version of mergegate's, EnvironmentFault where the
    registry cannot be reached.
    """
    if not names_champion(Policy.parse(params.policy, "params.yaml: policy")):
        return {"absent": "the policy does not compare with the champion"}
    from pipeline.release.registry import MERGE, UNMERGED, champion

    version = champion(params.registry_uri, params.name)
    if version is None:
        return {"absent": "there is no champion yet"}
    if version.kind == UNMERGED:
        return {"absent": _unmerged(params, version.version, version.digest)}
    if version.kind == MERGE:
        reference = f"models:/{params.name}/{version.version}"
        return {"reference": reference, "digest": version.digest}
    raise InputError(
        f"{params.name} version {version.version}: is the champion, which the policy compares "
        "with, and was not registered by mergegate. Move the alias to a version that was, or "
        "leave the champion out of the policy."
    )


def _unmerged(params: Params, version: int, digest: str) -> str:
    """What is said of a champion that is an unmerged set: `unmerged` stands for it while its files are the same."""
    from pipeline.release import unmerged_set

    pins = read_json(SOURCES)["pins"] if SOURCES.is_file() else {}
    if {params.base, *params.experts.values()} <= pins.keys():
        now = unmerged_set(params.base, params.experts, pins)["digest"]
        if now != digest:
            return (
                f"the champion, version {version}, is an unmerged set of other files than base and experts have now, "
                "and is not evaluated; `unmerged` stands for what they are now"
            )
    return "the champion is the unmerged set, for which `unmerged` stands"
