"""What all tests share: no network, no telemetry, one thread, nothing of the user's own settings."""

from __future__ import annotations

import os
import tempfile

import pytest

# Before anything imports Prefect, which reads its settings once.
_HOME = tempfile.TemporaryDirectory(prefix="mergegate-tests-")
os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", PREFECT_HOME=_HOME.name)
os.environ.pop("PREFECT_API_URL", None)

from flows import environment  # noqa: E402

environment.prepare(quiet=True)


@pytest.fixture
def metered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int | None, str]]:
    """What each meter of long work says at each change: title, done, total, unit."""
    from pipeline.progress import Meter

    seen: list[tuple[str, int, int | None, str]] = []

    def write(self: Meter) -> None:
        seen.append((self._title, self._done, self._total, self._unit))

    monkeypatch.setattr(Meter, "_write", write)
    return seen
