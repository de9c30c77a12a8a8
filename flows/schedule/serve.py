"""A schedule: the scheduled release as a Prefect deployment, served from the current folder until stopped."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from flows import workspace_lock
from pipeline.errors import EnvironmentFault, InputError
from pipeline.private import private_folder
from pipeline.redaction import redacted

if TYPE_CHECKING:
    from prefect.client.schemas.schedules import CronSchedule

    from flows.schedule.terminal import Watch

LOCK = Path(".mergegate/schedule.lock")
_ANSWER_S = 5.0  # for a server to say that it is there
_EXIT_S, _PAUSE_S = 10.0, 0.1  # for the process of a run that has ended to exit


def serve(cron: str, candidate: str) -> None:
    """Serve the release at the times of `cron` until stopped, telling what happens on standard output.

    Raises:
        InputError: `cron`, TZ or the parameters of the workspace are wrong.
        EnvironmentFault: PREFECT_API_URL is not set, the server does not answer, or the folder is served already.
    """
    from flows.preflight import preflight

    params, _ = preflight(candidate)
    with _alone():
        schedule = _schedule(cron)
        _serve(params.name, schedule, candidate, _server())


def _serve(name: str, schedule: CronSchedule, candidate: str, url: str) -> None:
    from httpx import HTTPError
    from prefect.exceptions import PrefectException
    from prefect.runner import Runner

    from flows.schedule.terminal import Watch

    # Never two releases at once, but not by a limit here: that would hold later runs back instead of skipping them.
    runner = Runner(name=name, limit=None, prefetch_seconds=0)
    try:
        deployment = _deploy(runner, name, schedule, candidate)
        watch = Watch(deployment, ZoneInfo(schedule.timezone or "UTC"))
        watch.recover()
        watch.say(f"release/{name} is served from {Path.cwd()} at {schedule.cron!r}.")
        with watch.telling():
            asyncio.run(_until_stopped(runner, watch))
    except (HTTPError, PrefectException, RuntimeError) as error:
        # RuntimeError is what Prefect's loop ends with when the server has not answered for minutes.
        raise EnvironmentFault(
            f"The Prefect server at {redacted(url)} failed: {type(error).__name__}: {redacted(str(error))}. "
            "No run is made until `mergegate schedule` is started again."
        ) from None


def _deploy(runner: Any, name: str, schedule: CronSchedule, candidate: str) -> UUID:
    """The id of the deployment, registered so that each run begins in a process of its own."""
    from prefect.types.entrypoint import EntrypointType

    from flows.schedule.run import scheduled_release

    deployment = scheduled_release.to_deployment(
        name=name,
        schedules=[schedule],
        paused=False,
        parameters={"candidate": candidate},
        description=f"mergegate release of {Path.cwd()}",
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # Not `add_flow`: that keeps the flow in memory and pickles it, with all that its module holds, for each run.
    return UUID(str(runner.add_deployment(deployment)))


async def _until_stopped(runner: Any, watch: Watch) -> None:
    """Run the runner until SIGINT or SIGTERM, which stop a run that is under way. A second signal ends all at once."""

    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        watch.stop()
        runner.execute_in_background(_stop, runner)

    async def install() -> None:
        while not runner.started:  # it installs its own handler, and would not stop in order before
            await asyncio.sleep(_PAUSE_S)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)

    installing = asyncio.create_task(install())
    try:
        await runner.start()
    finally:
        installing.cancel()


async def _stop(runner: Any) -> None:
    """Stop the runner, but let a run that has ended exit first: Prefect would set it to cancelled."""
    until = time.monotonic() + _EXIT_S
    while runner._process_manager.flow_run_count() and time.monotonic() < until:
        if (working := workspace_lock.holder()) and working.by == "schedule":
            break
        await asyncio.sleep(_PAUSE_S)
    await runner.astop()


def _schedule(cron: str) -> CronSchedule:
    zone = os.environ.get("TZ") or "UTC"
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise InputError(
            f"TZ is {zone!r}, which is no time zone. Use for example Europe/Berlin, or unset it for UTC."
        ) from None
    from prefect.client.schemas.schedules import CronSchedule

    try:
        return CronSchedule(cron=cron, timezone=zone)
    except ValueError:
        raise InputError(
            f"--cron is {cron!r}; it must be five fields, each in its range: minute hour day month weekday. "
            'Use for example "0 3 * * 1", Mondays at 03:00.'
        ) from None


def _server() -> str:
    """The address of the Prefect server, which answers."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    if not url:
        raise EnvironmentFault(
            "PREFECT_API_URL is not set, and a schedule is kept by a Prefect server. Start one with "
            "`prefect server start`, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`."
        )
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_ANSWER_S).close()
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):  # it is there, and wants the key that its client sends
            raise _silent(url, error) from None
    except (OSError, ValueError) as error:
        raise _silent(url, error) from None
    return url


def _silent(url: str, error: Exception) -> EnvironmentFault:
    why = getattr(error, "reason", error)
    return EnvironmentFault(
        f"PREFECT_API_URL is {redacted(url)}, where no Prefect server answers ({redacted(str(why))}). "
        "Start one with `prefect server start`, or mend the address, which ends in /api."
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second schedule out of the folder while the block runs."""
    private_folder(LOCK.parent)
    with LOCK.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentFault(
                f"Another `mergegate schedule` (process {LOCK.read_text().strip() or '?'}) serves this folder. "
                "Stop it first, or let it run."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
