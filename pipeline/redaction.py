"""Keeping secrets out of what is printed, tagged, recorded and logged."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

HIDDEN = "***"
# What stands between scheme and host of an address; a password may hold an @.
# A path collapses the second slash. In models:/NAME@ALIAS the @ ends no user.
_USERINFO = re.compile(r"(?:(?<=://)|(?<=:/)(?<!models:/))[^/\s@?#]*(?:@[^/\s@?#]*)*(?=@)")
# Arguments of an address that hold a secret.
_ARGUMENT = re.compile(
    r"(?i)([?&;](?:password|passwd|token|access_token|secret|sslpassword|api_?key|sig|signature)=)[^&;#\s]+"
)
# Variables whose values are secrets; those that name a file are none.
_SECRET_NAME = re.compile(
    r"(?i).*(TOKEN(?!IZER)|PASSWORD|SECRET|ACCESS_KEY|API_KEY|CONNECTION_STRING).*(?<!_FILE)(?<!_PATH)"
)
_SHORTEST = 6  # characters; a shorter value would be found in innocent words


def redacted(text: str) -> str:
    """`text` without what a message, tag or record must not hold.

    Left out are user and password of addresses, secret arguments of theirs, and the values of
    environment variables that are called a token, a password, a secret or a key.
    """
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    return _ARGUMENT.sub(rf"\1{HIDDEN}", _USERINFO.sub(HIDDEN, text))


def has_password(uri: str) -> bool:
    """Whether an address holds a password or a secret argument."""
    return bool(_ARGUMENT.search(uri) or any(":" in found for found in _USERINFO.findall(uri)))


def _secrets() -> list[str]:
    """Values that must not be shown, longest first, so that none leaves a part of another."""
    values = {value for key, value in os.environ.items() if _SECRET_NAME.fullmatch(key)}
    uris = [value for key, value in os.environ.items() if key.endswith("URI")]
    for found in (found for uri in uris for found in _USERINFO.findall(uri)):
        password = found.partition(":")[2]
        values |= {password, unquote(password)}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)
