"""A release that finds nothing to do, without Prefect, whose start takes longer than all that is left."""

from __future__ import annotations

import threading

from flows import stages
from flows.ledger import champion_is_new, enter_ledger, ledger_is_new
from flows.record import Outcome, check_journal, note_champion, read_outcome, record_release
from pipeline.errors import EnvironmentFault
from pipeline.params import Params


def settled(params: Params, candidate: str, *, register: bool) -> Outcome | None:
    """The outcome where neither DVC nor the registry has anything new; None where a stage must run.

    What a release checks is checked: DVC compares every input, the registry is asked, and ledger and registration are
    made good where something lacks. None too where the environment fails: the flow tries again.
    """
    levels = stages.levels(params, candidate)
    if stages.unwatched(params, candidate):
        return None
    # Importing MLflow takes as long as DVC's look at all files, in another process.
    importing = threading.Thread(target=_import_registry, daemon=True)
    importing.start()
    try:
        if stages.stale([stage for level in levels for stage in level]):
            return None
        importing.join()
        check_journal(params)
        expected = note_champion(params) if register else None
        if champion_is_new(params) or ledger_is_new(params, candidate):
            return None
        enter_ledger(params, candidate)
        registered = record_release(params, candidate, expected) if register else {}
    except EnvironmentFault:
        return None
    return read_outcome(candidate, registered)


def _import_registry() -> None:
    import mlflow  # noqa: F401
