"""What the terminal of a schedule says: asked of the Prefect server, so that runs which died are told as well."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_RUNNER_POLL_FREQUENCY
from prefect.states import Crashed

from flows import say, workspace_lock
from pipeline.redaction import redacted

_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
_MOST_S = 2.0  # between two looks
_PATIENCE = timedelta(seconds=60)  # for the server to plan a first run
_LATEST = 50  # runs that one look takes in


class Watch:
    """Tells on standard output what becomes of the runs of one deployment."""

    def __init__(self, deployment: UUID, zone: ZoneInfo) -> None:
        self._of = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
        self._zone = zone
        self._client: SyncPrefectClient = get_client(sync_client=True)
        self._under_way: set[UUID] = set()
        self._since = datetime.now(UTC)
        self._told: set[UUID] = set()  # how they ended
        self._next: datetime | None = None
        self._silent = self._unplanned = self._stopping = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Say that the schedule stops. How a run ends that is under way is told at the end: Prefect sets it twice."""
        self._stopping = True
        self.say("stopping: no further runs are made, and one that is under way is cancelled.")

    def say(self, text: str) -> None:
        """One line with the time, at once."""
        say.line(f"{self._moment(datetime.now(UTC))}  {text}")

    def recover(self) -> None:
        """Set what a schedule that died left under way to crashed, and tell it."""
        alive = workspace_lock.holder()
        for run in self._runs(_UNDER_WAY):
            if alive and alive.run == str(run.id):
                self.say(f'run "{run.name}" of an earlier schedule is still under way.')
                self._under_way.add(run.id)
                continue
            lost: State[None] = Crashed(message="The schedule that ran it ended without a word.")
            self._client.set_flow_run_state(run.id, lost, force=True)
            self._told.add(run.id)
            self.say(f'run "{run.name}" of an earlier schedule ended: Crashed. {lost.message}')

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Look every other second while the block runs, and once more at its end."""
        thread = threading.Thread(target=self._loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()
            self._look_safely(last=True)
            self.say(
                "stopped: no further runs are made until `mergegate schedule` is started again."
            )

    def _loop(self) -> None:
        pause = min(_MOST_S, float(PREFECT_RUNNER_POLL_FREQUENCY.value()))
        while not self._stopped.wait(pause):
            self._look_safely()

    def _look_safely(self, *, last: bool = False) -> None:
        """Look; where the server does not answer, say so once."""
        try:
            self._look(last=last)
        except Exception as error:  # whatever is wrong, the runs go on
            if not self._silent:
                self.say(
                    f"the Prefect server does not answer: {redacted(str(error) or repr(error))}"
                )
            self._silent = True
            return
        if self._silent:
            self.say("the Prefect server answers again.")
        self._silent = False

    def _look(self, *, last: bool) -> None:
        for run in self._runs(_UNDER_WAY):
            if run.id not in self._under_way and run.state_type is not StateType.PENDING:
                self._began(run)
        ended = [*StateType.__members__.values()]
        ended = [kind for kind in ended if kind not in (*_UNDER_WAY, StateType.SCHEDULED)]
        for run in () if self._stopping and not last else reversed(self._runs(ended, _LATEST)):
            if run.id in self._under_way or self._is_new(run):
                self._ended(run)
        if not last and not self._stopping and not self._under_way:
            self._tell_next()

    def _is_new(self, run: FlowRun) -> bool:
        """Whether it ended since this began, between two looks."""
        when = run.state.timestamp if run.state else None
        return run.id not in self._told and when is not None and when > self._since

    def _began(self, run: FlowRun) -> None:
        self._under_way.add(run.id)
        by = "by the schedule" if run.auto_scheduled else "by hand"
        self.say(f'run "{run.name}" began ({by}).')

    def _ended(self, run: FlowRun) -> None:
        if run.id not in self._under_way:
            self._began(run)
        self._under_way.discard(run.id)
        self._told.add(run.id)
        self._next = None
        if run.state:
            words = " ".join(redacted(run.state.message or "").split())
            name = run.state.name or ""
            self.say(
                f'run "{run.name}" ended: {words if words.startswith(name) else f"{name}. {words}"}'
            )

    def _tell_next(self) -> None:
        found = self._client.read_flow_runs(
            flow_run_filter=_in(StateType.SCHEDULED),
            deployment_filter=self._of,
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
        )
        at = found[0].expected_start_time if found else None
        if at is None:
            if not self._unplanned and datetime.now(UTC) - self._since > _PATIENCE:
                self._unplanned = True
                self.say("the Prefect server has planned no run yet: does its scheduler run?")
        elif at != self._next and at > datetime.now(UTC):
            self._next = at
            self.say(f"next run: {self._moment(at)}.")

    def _runs(self, kinds: list[StateType], limit: int = 200) -> list[FlowRun]:
        """The runs in one of the states, the last first."""
        return self._client.read_flow_runs(
            flow_run_filter=_in(*kinds),
            deployment_filter=self._of,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=limit,
        )

    def _moment(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%Y-%m-%d %H:%M:%S %Z}"


def _in(*kinds: StateType) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(kinds))))
