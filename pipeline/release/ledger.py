"""The ledger: every candidate that was judged on a golden set, in MLflow, appended to and never changed.

Testing many merges on one set selects those that suit its noise, so the gate must know how many
there were. One run per judgement, in the experiment «NAME ledger», refusals included. A run that is
deleted in MLflow still counts, and one whose tags were edited is refused: its digest no longer fits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_of
from pipeline.redaction import redacted
from pipeline.release import store
from pipeline.release.moved import check_home
from pipeline.strict import nearest

KIND = "judgement"
_SUFFIX = " ledger"  # no model's name holds a space, so no model's experiment is called so
_TAG, _KEY, _GOLDEN = "mergegate.", "mergegate.judgement", "mergegate.golden."
_ARTIFACTS = ("merged", "quantized")


@dataclass(frozen=True)
class Judgement:
    """One verdict: on which weights, by which policy, on which golden sets, with what outcome."""

    candidate: str  # its name in params.yaml
    outcome: str
    weights: Mapping[str, str]  # artifact -> digest of the model that was judged
    golden: Mapping[str, str]  # skill -> SHA-256 of its golden set; none for a task of lm-eval's
    recipe: str  # digest
    policy: str  # digest, waivers included
    fixed_policy: str  # digest of the policy without its waivers, which answer a result
    when: int = 0  # milliseconds since 1970, UTC; 0 until it is in the ledger

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what makes it one judgement: weights, golden sets, policy, and what came out.

        Without the outcome, a second one of the same weights (another latency, an expired waiver)
        would leave no trace.
        """
        parts = (dict(self.weights), dict(self.golden), self.policy, self.fixed_policy)
        return digest_of([*parts, self.outcome])

    @property
    def merge(self) -> str:
        """The digest of the merged weights, which make a candidate what it is."""
        return self.weights["merged"]

    @property
    def day(self) -> str:
        """The day of the judgement in UTC, such as 2027-01-31."""
        return datetime.fromtimestamp(self.when / 1000, UTC).date().isoformat()


def append(uri: str, name: str, judgement: Judgement) -> bool:
    """Add a judgement to the ledger of model `name`; False where it is there already.

    Two processes may append at once: should both add the same judgement, it is read as one. Raises
    InputError where the ledger was deleted in MLflow, or the model moved to another registry,
    EnvironmentFault where the registry cannot be reached.
    """
    with store.connect(uri) as client:
        check_home(client, name)
        experiment = _ensure(client, name)
        known = f"tags.`{_KEY}` = '{judgement.digest}'"
        if client.search_runs([experiment], known, run_view_type=_all(), max_results=1):
            return False
        run = client.create_run(
            experiment,
            start_time=judgement.when or int(time.time() * 1000),
            tags=_tags(judgement),
            run_name=f"{judgement.candidate}: {judgement.outcome}",
        )
        client.set_terminated(run.info.run_id, "FINISHED")
    return True


def read_ledger(uri: str, name: str) -> list[Judgement]:
    """Every judgement of model `name`, oldest first, each once; none where there is no ledger yet.

    Raises CorruptArtifactError naming a run whose tags were changed, EnvironmentFault where the
    registry cannot be reached.
    """
    with store.connect(uri) as client:
        experiment = client.get_experiment_by_name(name + _SUFFIX)
        runs = list(_runs(client, str(experiment.experiment_id))) if experiment else []
    runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
    first: dict[str, Judgement] = {}
    for run in runs:
        found = _judgement(run)
        first.setdefault(found.digest, found)
    return list(first.values())


def shown_ledger(uri: str, name: str) -> list[Judgement]:
    """As `read_ledger`, for a reader: InputError, with the nearest name, where there is none."""
    with store.connect(uri, existing=True) as client:
        ledgers = [e.name for e in client.search_experiments(view_type=_all())]
    others = [e.removesuffix(_SUFFIX) for e in ledgers if e.endswith(_SUFFIX)]
    if name not in others:
        hint = nearest(name, others) if others else " Nothing was judged here yet."
        raise InputError(f"{name}: no ledger of that name in {redacted(uri)}.{hint}")
    return read_ledger(uri, name)


def standing(
    entries: Sequence[Judgement],
    *,
    merge: str,
    golden: Mapping[str, str],
    recipe: str,
    fixed_policy: str,
) -> dict[str, Any]:
    """How a candidate stood in the ledger when it was first judged, as JSON values.

    `uses`: by golden set, how many candidates were judged on it, this one included. A candidate is
    a merge, known by the digest of its weights, `merge`; its own number stays, however many are
    tried after it, so that the same evidence gives the same verdict. `judged_before`: earlier
    judgements of the same weights, or of the same recipe, under another policy (waivers apart) on
    any of these golden sets; the first of each policy and outcome.
    """
    uses = {digest: _number(entries, digest, merge) for digest in sorted(set(golden.values()))}
    before: dict[tuple[str, ...], dict[str, Any]] = {}
    for one in entries:
        if (one.merge, one.fixed_policy) == (merge, fixed_policy) and _share(one.golden, golden):
            break
        same = "weights" if one.merge == merge else "recipe" if one.recipe == recipe else ""
        if same and one.fixed_policy != fixed_policy and _share(one.golden, golden):
            told = {"policy": one.policy, "outcome": one.outcome, "day": one.day}
            told |= {"candidate": one.candidate, "fixed_policy": one.fixed_policy, "same": same}
            before.setdefault((same, one.fixed_policy, one.outcome), told)
    return {"uses": uses, "judged_before": list(before.values())}


def candidates_on(entries: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    """By golden set, in the order of their first use: the first judgement of every candidate."""
    found: dict[str, dict[str, Judgement]] = {}
    for one in entries:
        for digest in sorted(set(one.golden.values())):
            found.setdefault(digest, {}).setdefault(one.merge, one)
    return {digest: list(first.values()) for digest, first in found.items()}


def _number(entries: Sequence[Judgement], digest: str, merge: str) -> int:
    merges = [one.merge for one in candidates_on(entries).get(digest, [])]
    return merges.index(merge) + 1 if merge in merges else len(merges) + 1


def _share(theirs: Mapping[str, str], ours: Mapping[str, str]) -> bool:
    """Whether two judgements used a common golden set; tasks of lm-eval's own say nothing of theirs."""
    return not theirs or not ours or bool({*theirs.values()} & {*ours.values()})


def _tags(judgement: Judgement) -> dict[str, str]:
    return {
        "mergegate.kind": KIND,
        _KEY: judgement.digest,
        **{_TAG + key: getattr(judgement, key) for key in _TEXTS},
        **{_TAG + artifact: digest for artifact, digest in judgement.weights.items()},
        **{_GOLDEN + skill: digest for skill, digest in judgement.golden.items()},
    }


_TEXTS = ("candidate", "outcome", "recipe", "policy", "fixed_policy")


def _judgement(run: Any) -> Judgement:
    """The judgement that a run holds. Raises CorruptArtifactError where it is not as written."""
    tags = run.data.tags
    found = Judgement(
        **{key: tags.get(_TAG + key, "") for key in _TEXTS},
        weights={a: tags[_TAG + a] for a in _ARTIFACTS if _TAG + a in tags},
        golden={k.removeprefix(_GOLDEN): v for k, v in tags.items() if k.startswith(_GOLDEN)},
    )
    if found.digest != tags.get(_KEY) or "merged" not in found.weights:
        raise CorruptArtifactError(
            f"run {run.info.run_id} of the ledger: its tags were changed since it was written, so "
            "no count can be relied on. Set them back, or restore the store from a backup."
        )
    return replace(found, when=run.info.start_time)


def _runs(client: Any, experiment: str) -> Iterator[Any]:
    """Every run, deleted ones too, page by page."""
    token = None
    while True:
        page = client.search_runs(
            [experiment], run_view_type=_all(), max_results=1000, page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def _ensure(client: Any, name: str) -> str:
    """The id of the ledger's experiment; another process may make it at the same time."""
    from mlflow.exceptions import MlflowException

    title = name + _SUFFIX
    found = client.get_experiment_by_name(title)
    if found is None:
        try:
            return str(client.create_experiment(title))
        except MlflowException as error:
            found = client.get_experiment_by_name(title)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        raise InputError(
            f"{title}: this experiment of MLflow, the ledger of what was judged, was deleted. "
            f"Restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


def _all() -> int:
    from mlflow.entities import ViewType

    return int(ViewType.ALL)
