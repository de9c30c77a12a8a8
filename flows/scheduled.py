"""One run of the schedule: a release whose end is the run's state in Prefect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import say
from flows.preflight import preflight
from flows.record import Outcome
from flows.release import run_release
from flows.stages import LOGS, die_with_parent
from flows.workspace_lock import Busy, hold
from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.private import private_folder
from pipeline.redaction import redacted

LOG = LOGS / "scheduled.log"
_NAMES = {
    "promote": "Promoted",
    "reject": "Rejected",
    "inconclusive": "Inconclusive",
    "cannot judge": "Cannot judge",
}


@flow(name="release", validate_parameters=False)
def scheduled_release(candidate: str = "") -> State[Any]:
    """Release `candidate` (the one that params.yaml names if empty) of the workspace in the current folder.

    Completed with the verdict as the state's name, "Nothing changed", "Held back", or "Skipped" where another release
    works in the workspace. Failed where the input is bad or the environment fails. The message has the words.
    """
    die_with_parent()  # a schedule that is killed takes its run with it, as a release does its stages
    return release_to_state(candidate, str(runtime.flow_run.id or ""))


def release_to_state(candidate: str, run: str) -> State[Any]:
    """Release, and how that ended as a state; `run` is the id of the Prefect run."""
    try:
        with redirect_stderr(StringIO()) as warned:  # `schedule` has shown it when it began
            _, candidate = preflight(candidate)
        with hold("release", candidate, by="schedule", run=run), _logged(LOG):
            sys.stderr.write(warned.getvalue())
            return state_of(run_release(candidate, register=True))
    except Busy as busy:
        return Completed(name="Skipped", message=busy.who)
    except MergegateError as error:
        return _failed(error)
    except OSError as error:
        return _failed(EnvironmentFault.of(error))


def state_of(outcome: Outcome) -> State[Any]:
    """The state that says how the release ended."""
    name = "Nothing changed" if outcome.unchanged else _NAMES[outcome.outcome]
    name = "Held back" if outcome.held_back else name
    version = outcome.registered.get("version")
    where = f" Version {version} of {outcome.registered['model']} is champion." if version else ""
    message = say.news(outcome) or f"{outcome.candidate}: {outcome.sentence}{where}"
    return Completed(name=name, message=message)


def _failed(error: MergegateError) -> State[Any]:
    kinds = {InputError.exit_code: "Bad input", EnvironmentFault.exit_code: "Environment failed"}
    return Failed(name=kinds.get(error.exit_code, "Failed"), message=redacted(str(error)))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Standard output and error into a file: the terminal of the schedule has the lines of the schedule."""
    private_folder(path.parent)
    with path.open("w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        yield
