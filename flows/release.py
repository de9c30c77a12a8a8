"""The Prefect flow of one release: every stage through DVC, then registration, retried where that can help.

The ledger is asked before the candidate is judged, and told of the verdict before anything is registered.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import wait

from flows import stages
from flows.board import Board
from flows.champion import compares_with_champion, note_champion
from flows.ledger import enter_ledger, note_ledger
from flows.preflight import preflight
from flows.record import Outcome, read_outcome, record_release
from pipeline.errors import EnvironmentFault
from pipeline.params import Params, load_params

_BOARD = Board()


def _may_help(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Only a fault of the environment can pass by itself; a refused recipe is refused again."""
    return isinstance(state.result(raise_on_failure=False), EnvironmentFault)


# Stages and the registry alike: a disk that was full, a server that was down.
_PATIENT: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [5, 30],
    "retry_condition_fn": _may_help,
    "persist_result": False,
}


@task(task_run_name="{stage}", **_PATIENT)
def run_stage(stage: str, force: bool) -> str:
    """Run one stage of dvc.yaml if it is out of date."""
    with _BOARD.running(stage) as done:
        return done(stages.reproduce(stage, force=force))


@task(task_run_name="look up the champion", **_PATIENT)
def look_up_champion() -> bool:
    """Note which version is served now; True where it is a model to evaluate."""
    return note_champion(load_params())


@task(task_run_name="look up {candidate} in the ledger", **_PATIENT)
def look_up(candidate: str) -> bool:
    """Note how the candidate stands in the ledger; True where that is new."""
    with _BOARD.running("ledger") as done:
        changed = note_ledger(load_params(), candidate)
        done("ran" if changed else "unchanged")
        return changed


@task(task_run_name="enter {candidate} into the ledger", **_PATIENT)
def enter(candidate: str) -> bool:
    """Add the verdict to the ledger, where it is not there yet."""
    with _BOARD.running("enter") as done:
        added = enter_ledger(load_params(), candidate)
        done("ran" if added else "unchanged")
        return added


@task(task_run_name="register {candidate}", **_PATIENT)
def record(candidate: str) -> dict[str, Any]:
    """Register a promoted candidate, or log the refusal of another one, in MLflow."""
    with _BOARD.running("register") as done:
        registered = record_release(load_params(), candidate)
        done("refusal" if registered["version"] is None else "ran")
        return registered


@flow(name="release", flow_run_name="release {candidate}", validate_parameters=False)
def release(candidate: str = "", register: bool = True) -> Outcome:
    """Release `candidate` (the one that params.yaml names if empty) of the workspace in the current folder.

    With `register` false it is judged only: the ledger learns of it, and nothing is registered.
    """
    params, candidate = preflight(candidate)
    champion = compares_with_champion(params) and look_up_champion()
    levels = stages.levels(params, candidate, champion=champion)
    with _BOARD.of(candidate, sum(map(len, levels)) + 2 + register):
        _run_stages(params, candidate, levels)
        # First, so that nothing is promoted whose use of the golden sets was not counted.
        enter(candidate)
        registered = record(candidate) if register else {}
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
        if f"judge@{candidate}" in level:
            changed = look_up(candidate) or changed
        # Once a stage has run, DVC looks anew at all that may depend on it.
        due = level if changed else [stage for stage in level if stage in stale]
        _BOARD.unchanged(len(level) - len(due))
        _run_level(due, params.evaluate.jobs)
        changed = changed or bool(due)


def _run_level(level: list[str], jobs: int) -> None:
    """The stages of one level, `jobs` at a time. The first failure, in the order of the level, is raised."""
    for start in range(0, len(level), jobs):
        futures = [run_stage.submit(stage, force=False) for stage in level[start : start + jobs]]
        wait(futures)
        for future in futures:
            future.result()
