"""The command `mergegate`: arguments in, words and exit codes out. What it does is done elsewhere.

Exit codes: 0 done or promoted, 1 a fault of ours, 2 bad input, 3 rejected, 4 inconclusive, 5 the gate could not judge,
6 the environment failed, 7 promoted but held back after a rollback. The functions of the commands are in
`flows.commands`.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import say
from flows.app import PANELS, app
from flows.commands import auditing, doctor, judging, merging, registry, releasing, reproduce  # noqa: F401
from flows.commands import registry_move as registry_move
from pipeline.errors import EnvironmentFault, MergegateError
from pipeline.redaction import redacted

# In this order `mergegate --help` lists them.
app.registered_commands.sort(key=lambda command: PANELS.index(command.rich_help_panel))


def main() -> None:
    """Run the command; every failure ends in one message on standard error and its exit code."""
    # Importing torch makes several hundred thousand objects that stay; looking through them again and again while
    # they are made takes half a second of a command that takes two.
    gc.set_threshold(50_000, 20, 50)
    for name in ("stdout", "stderr"):  # closed by the shell (`>&-`): then nobody reads what is said
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    # A terminal that cannot show «→» gets its escape: what has been done must not end as a failure to say so.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = guarded(lambda: app(standalone_mode=True))
    gc.freeze()  # nor need they be looked through once more when the process ends: that takes a third of a second
    sys.exit(code)


def guarded(command: Callable[[], Any]) -> int:
    """The exit code of `command`, its failure said in words. MERGEGATE_DEBUG=1 adds the traceback."""
    try:
        command()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except MergegateError as error:
        if os.environ.get("MERGEGATE_DEBUG"):
            sys.stderr.write(redacted(traceback.format_exc()))
        return say.failure(redacted(str(error)), error.exit_code)
    except KeyboardInterrupt:
        return say.failure("Interrupted. Nothing is half-written; the same command goes on.", 130)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except OSError as error:
        return say.failure(redacted(str(EnvironmentFault.of(error))), EnvironmentFault.exit_code)
    except Exception as error:
        if os.environ.get("MERGEGATE_DEBUG"):
            sys.stderr.write(redacted(traceback.format_exc()))
        return say.failure(
            f"A fault of mergegate's own: {type(error).__name__}: {redacted(str(error))}. "
            "Run again with MERGEGATE_DEBUG=1 for the traceback, and report it.",
            1,
        )
    return 0
