"""The Prefect flow of one release: every stage through DVC, then registration, retried where that can help.

The champion is noted before anything else, so that a release judged beside one does not replace another. The
ledger is asked before the candidate is judged, and told of the verdict before anything is registered.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import wait

from flows import say, stages
from flows.board import Board
from flows.ledger import champion_is_new, enter_ledger, ledger_is_new
from flows.preflight import preflight
from flows.record import Outcome, check_journal, note_champion, read_outcome, record_release
from flows.workspace_lock import hold
from pipeline.errors import EnvironmentFault
from pipeline.params import Params, load_params
from pipeline.redaction import redacted
from pipeline.release.changes import Overtaken

ENTER, REGISTER = "enter into the ledger", "register"  # as the board shows them

_BOARD = Board()
_DELAYS_S = [5, 30]  # before a second and a third try


def _may_help(_task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Only a fault of the environment can pass by itself; a refused recipe is refused again."""
    error = state.result(raise_on_failure=False)
    passing = isinstance(error, EnvironmentFault) and not isinstance(error, Overtaken)
    if passing and run.run_count <= len(_DELAYS_S):
        pause = _DELAYS_S[run.run_count - 1]
        say.note(f"{run.name} failed and is tried again in {pause} s: {redacted(str(error))}")
    return passing


# Stages and the registry alike: a disk that was full, a server that was down.
_PATIENT: dict[str, Any] = {
    "retries": len(_DELAYS_S),
    "retry_delay_seconds": _DELAYS_S,
    "retry_condition_fn": _may_help,
    "persist_result": False,
}


@task(task_run_name="{stage}", **_PATIENT)
def run_stage(stage: str, force: bool) -> str:
    """Run one stage of dvc.yaml if it is out of date."""
    with _BOARD.running(stage) as done:
        return done(stages.reproduce(stage, force=force))


@task(task_run_name="look up {stage}", **_PATIENT)
def look_up(stage: str, candidate: str) -> bool:
    """Whether the registry says anything new to the stage `champion` or `ledger@CANDIDATE`."""
    params = load_params()
    return champion_is_new(params) if stage == "champion" else ledger_is_new(params, candidate)


@task(task_run_name="enter {candidate} into the ledger", **_PATIENT)
def enter(candidate: str) -> bool:
    """Add the verdict to the ledger, where it is not there yet."""
    with _BOARD.running(ENTER) as done:
        added = enter_ledger(load_params(), candidate)
        done("ran" if added else "unchanged")
        return added


@task(task_run_name="note the champion", **_PATIENT)
def note(register: bool) -> int | None:
    """The number of the champion's last change, which this release is judged beside; None where it only judges.

    A registry that lacks changes which the journal has is refused in any case: its ledger is not the whole one.
    """
    params = load_params()
    if register:
        return note_champion(params)
    check_journal(params)
    return None


@task(task_run_name="register {candidate}", **_PATIENT)
def record(candidate: str, expected: int | None) -> dict[str, Any]:
    """Register a promoted candidate if the champion is as noted, or log the refusal of another one, in MLflow."""
    with _BOARD.running(REGISTER) as done:
        registered = record_release(load_params(), candidate, expected)
        done("refusal" if registered["version"] is None else "ran")
        return registered


@flow(name="release", flow_run_name="release {candidate}", validate_parameters=False)
def release(candidate: str = "", register: bool = True) -> Outcome:
    """Release `candidate` (the one that params.yaml names if empty) of the workspace in the current folder.

    With `register` false it is judged only: the ledger learns of it, and nothing is registered. Raises Busy where
    another process releases or judges in this workspace.
    """
    return run_release(candidate, register=register)


def run_release(candidate: str, *, register: bool) -> Outcome:
    """As `release`, as part of the flow that calls it."""
    params, candidate = preflight(candidate)
    with hold("release" if register else "judge", candidate):
        return _release(params, candidate, register=register)


def _release(params: Params, candidate: str, *, register: bool) -> Outcome:
    levels = stages.levels(params, candidate)
    expected = note(register)
    names = [*(stage for level in levels for stage in level), ENTER, *([REGISTER] * register)]
    with _BOARD.of(f"{'release' if register else 'judge'} {candidate}", names):
        _run_stages(params, candidate, levels)
        # First, so that nothing is promoted whose use of the golden sets was not counted.
        enter(candidate)
        registered = record(candidate, expected) if register else {}
    outcome = read_outcome(candidate, registered)
    create_table_artifact(
        key=f"verdict-{candidate}".lower().replace("_", "-"),
        table=[{"variant": variant, **means} for variant, means in outcome.scores.items()],
        description=outcome.sentence,
    )
    return outcome


def _run_stages(params: Params, candidate: str, levels: list[list[str]]) -> None:
    """Level by level, from the first at which DVC finds something to do; what is up to date is not started."""
    forced = stages.unwatched(params, candidate)
    for stage in forced:
        run_stage(stage, force=True)
    rest = [[stage for stage in level if stage not in forced] for level in levels]
    stale = stages.stale([stage for level in rest for stage in level])
    changed = False
    for level in rest:
        # DVC does not see the registry: where that says something new, the stage that asks it must run.
        new = {s for s in level if s in stages.of_registry(candidate) and look_up(s, candidate)}
        # Once a stage has run, DVC looks anew at all that may depend on it.
        due = [stage for stage in level if changed or stage in stale or stage in new]
        _BOARD.unchanged([stage for stage in level if stage not in due])
        _run_level(due, new, params.evaluate.jobs)
        # What `params` writes was looked at before: here only the text of params.yaml differs.
        changed = changed or any(stage != "params" for stage in due)


def _run_level(level: list[str], forced: set[str], jobs: int) -> None:
    """The stages of one level, `jobs` at a time. The first failure, in the order of the level, is raised."""
    for start in range(0, len(level), jobs):
        futures = [
            run_stage.submit(stage, force=stage in forced) for stage in level[start : start + jobs]
        ]
        wait(futures)
        for future in futures:
            future.result()
