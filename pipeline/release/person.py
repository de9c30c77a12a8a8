"""Who moves the champion: a name for the record, no proof of identity."""

from __future__ import annotations

import getpass
import os
import platform

# First the one that a person or a CI sets for this, then the account that started the CI job.
_NAMED = ("MERGEGATE_WHO", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
_LIMIT = 200


def who() -> str:
    """The person as «NAME», «ACCOUNT@MACHINE» where no variable names one; at most 200 characters.

    Read from MERGEGATE_WHO, then GITHUB_ACTOR, then GITLAB_USER_LOGIN. Control characters are left
    out, since the name is printed and stands in one line of the journal.
    """
    named = next((os.environ[key] for key in _NAMED if os.environ.get(key, "").strip()), "")
    found = named or f"{_account()}@{platform.node() or 'unknown'}"
    return "".join(c for c in found if c.isprintable()).strip()[:_LIMIT] or "unknown"


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return f"uid {os.getuid()}"
