"""What all tests share: no network, no telemetry, one thread, nothing of the user's own settings."""

from __future__ import annotations

import os
import tempfile

# Before anything imports Prefect, which reads its settings once.
_HOME = tempfile.TemporaryDirectory(prefix="mergegate-tests-")
os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", PREFECT_HOME=_HOME.name)
os.environ.pop("PREFECT_API_URL", None)

from flows import environment  # noqa: E402

environment.prepare(quiet=True)
