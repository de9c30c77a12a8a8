"""Run one stage: `python -m pipeline.stages merge tuned`. Exit codes are those of the command."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.facts import write_json
from pipeline.redaction import redacted
from pipeline.stages.code import NAMES
from pipeline.strict import nearest

FAILURES = Path(".mergegate/failures")


def main(arguments: list[str]) -> int:
    """Run the stage that `arguments` name; report a failure on standard error and for the release flow."""
    _quiet_libraries()
    _die_with_parent()
    try:
        name = arguments[0] if arguments else ""
        if name not in NAMES:
            raise InputError(f"{name!r} is not a stage.{nearest(name, NAMES)}")
        importlib.import_module(f"pipeline.stages.{name}").run(*arguments[1:])
    except MergegateError as error:
        return _report(str(error), error.exit_code)
    except OSError as error:
        return _report(str(EnvironmentFault.of(error)), EnvironmentFault.exit_code)
    except Exception:
        return _report(traceback.format_exc(), 1)
    return 0


def _report(message: str, code: int) -> int:
    """Print the message, and leave it where the release flow finds it: DVC passes on neither words nor code."""
    message = redacted(message)
    sys.stderr.write(message.rstrip() + "\n")
    if stage := os.environ.get("DVC_STAGE"):
        with suppress(OSError):  # on a full disk the words above must do
            write_json(FAILURES / f"{stage}.json", {"exit_code": code, "message": message})
    return code


def _quiet_libraries() -> None:
    """No telemetry, no thread pools that fight over cores, no hub look-ups where all is local."""
    for key in ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(key, "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _die_with_parent() -> None:
    """On Linux, end when DVC ends: a stage that outlives a killed release would race with the next one."""
    if sys.platform == "linux":
        import ctypes
        import signal

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
