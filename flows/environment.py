"""Environment of the command and of all that it starts: no telemetry, patient servers, quiet logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start of the embedded server writes its database; on two busy cores that takes a while.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # The command prints its own messages. Prefect's log stays in its server, for its page.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def prepare(*, quiet: bool = False) -> None:
    """Set what the user has not set. Stages must find the Python that runs this command first on the path."""
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    if quiet:
        os.environ["MERGEGATE_QUIET"] = "1"
    here = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != here:
        os.environ["PATH"] = here + os.pathsep + os.environ.get("PATH", "")
