"""A schedule: the release flow as a Prefect deployment, served from the current folder."""

from __future__ import annotations

import os

from pipeline.errors import EnvironmentFault, InputError


def serve(cron: str, candidate: str) -> None:
    """Serve the release at the times of `cron` until stopped. Needs a Prefect server (PREFECT_API_URL)."""
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.settings import PREFECT_API_URL
    from prefect.types.entrypoint import EntrypointType

    from flows.preflight import preflight
    from flows.release import release

    params, _ = preflight(candidate)
    try:
        schedule = CronSchedule(cron=cron, timezone=os.environ.get("TZ") or "UTC")
    except ValueError:
        raise InputError(
            f"--cron is {cron!r}; it must be five fields: minute hour day month weekday. "
            'Use for example "0 3 * * 1", Mondays at 03:00.'
        ) from None
    url = PREFECT_API_URL.value()
    if not url:
        raise EnvironmentFault(
            "PREFECT_API_URL is not set, and a schedule is kept by a Prefect server. Start one with "
            "`prefect server start`, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`."
        )
    release.serve(
        name=params.name,
        schedules=[schedule],
        parameters={"candidate": candidate},
        entrypoint_type=EntrypointType.MODULE_PATH,
        limit=1,
    )
