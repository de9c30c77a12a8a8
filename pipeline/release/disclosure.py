"""What a release must not tell: it goes to others, and what is signed cannot be taken back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.redaction import has_password

_TOKEN = re.compile(
    r"\b(hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|glpat-[\w-]{20,}|AKIA[0-9A-Z]{16}|dapi[0-9a-f]{32})\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_SECRET_NAME = re.compile(r"(?i).*(TOKEN|PASSWORD|SECRET|ACCESS_KEY|API_KEY)(?!.*(_FILE|_PATH)$).*")
_SHORTEST = 16  # characters of a secret; a shorter one could be an innocent word


def check_disclosure(value: Any, where: str) -> None:
    """Raise InputError, naming the fields, where JSON values hold a secret or a path of the user's home.

    A secret: user and password of an address, a token of a well-known shape, a private key, or the
    value of an environment variable that is called a token, a password, a secret or a key. The
    message repeats none of them.
    """
    secrets = [
        text
        for name, text in os.environ.items()
        if _SECRET_NAME.fullmatch(name) and len(text) >= _SHORTEST
    ]
    home = f"{Path.home()}{os.sep}"
    homes = [home] if len(home) > 2 else []
    faults = [
        f"{where}: {field}: {fault}"
        for field, text in _texts(value, "")
        if (fault := _fault(text, secrets, homes))
    ]
    if faults:
        raise InputError.of(dict.fromkeys(faults))


def _fault(text: str, secrets: list[str], homes: list[str]) -> str:
    if has_password(text) or _TOKEN.search(text) or any(secret in text for secret in secrets):
        return (
            "holds a password, a token or a key, and a release is given to others. Take it out of "
            "params.yaml or the recipe, and put it into the environment."
        )
    if any(home in text for home in homes):
        return (
            "holds a path below the home folder, which means nothing to others. Write it relative to "
            "the workspace, for example through a link: `ln -s FOLDER models`."
        )
    return ""


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every text in JSON values, keys too, with the field it stands in."""
    if isinstance(value, str):
        yield where or "value", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield where or "keys", str(key)
            yield from _texts(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner, where)
