"""Who moves the champion, and the reason they give: for the record, no proof of identity."""

from __future__ import annotations

import getpass
import os
import platform

from pipeline.errors import InputError

# First the one that a person or a CI sets for this, then the account that started the CI job.
_NAMED = ("MERGEGATE_WHO", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
_LIMIT = 200
WHY_LIMIT = 2_000  # characters of a reason; a tag of an experiment holds 20,000


def who() -> str:
    """The person as «NAME», «ACCOUNT@MACHINE» where no variable names one; at most 200 characters.

    Read from MERGEGATE_WHO, then GITHUB_ACTOR, then GITLAB_USER_LOGIN. Control characters are left
    out, since the name is printed and stands in one line of the journal.
    """
    named = next((os.environ[key] for key in _NAMED if os.environ.get(key, "").strip()), "")
    found = named or f"{_account()}@{platform.node() or 'unknown'}"
    return "".join(c for c in found if c.isprintable()).strip()[:_LIMIT] or "unknown"


def reason(why: str) -> str:
    """A person's reason without space around it; "" where nothing in it can be read.

    Raises InputError where it is longer than WHY_LIMIT, or holds what is no text in UTF-8.
    """
    try:
        why.encode()
    except UnicodeEncodeError as error:
        shown = why[max(0, error.start - 20) : error.end + 20].encode("ascii", "backslashreplace")
        raise InputError(
            f"--why: character {error.start + 1:,} is no text in UTF-8, near «{shown.decode()}». The reason is kept in "
            "the registry and the journal: write it in UTF-8."
        ) from None
    why = why.strip()
    if len(why) > WHY_LIMIT:
        raise InputError(
            f"--why: the reason has {len(why):,} characters; at most {WHY_LIMIT:,} are kept. Give it in short, with "
            "the number or address of where the whole is."
        )
    return why if any(c.isprintable() and not c.isspace() for c in why) else ""


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return f"uid {os.getuid()}"
