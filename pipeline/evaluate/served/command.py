"""evaluate.serve: a command with placeholders, as the words of a process. No shell reads it."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping

KEY = "params.yaml: evaluate.serve"
MODEL, PORT = "model", "port"
PLACEHOLDERS = (MODEL, PORT, "variant")
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def command_faults(command: str) -> list[str]:
    """Every fault of the command: it does not split, a placeholder is missing or unknown, there is no such program."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return [f"{KEY} does not read as a command ({error}). Close what is quoted."]
    named = _PLACEHOLDER.findall(command)
    faults = [
        f"{KEY} has no {{{key}}}; without it a server cannot be started for each variant. "
        "Write for example `vllm serve {model} --port {port}`."
        for key in (MODEL, PORT)
        if key not in named
    ]
    faults += [
        f"{KEY} has {{{key}}}, which stands for nothing. Valid: "
        f"{', '.join(f'{{{one}}}' for one in PLACEHOLDERS)}."
        for key in dict.fromkeys(named)
        if key not in PLACEHOLDERS
    ]
    if words and not _PLACEHOLDER.search(words[0]) and shutil.which(words[0]) is None:
        faults.append(
            f"{KEY} begins with {words[0]}, and there is no such program here. No shell reads the command: "
            "name a program, or write `sh -c '...'`."
        )
    return faults


def command_words(command: str, values: Mapping[str, str]) -> list[str]:
    """The words of the process, each placeholder replaced by its value; a space in a value splits no word."""
    return [
        _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), word)
        for word in shlex.split(command)
    ]
