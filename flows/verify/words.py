"""How a verification is told to a person."""

from __future__ import annotations

from flows import say
from flows.verify.result import Verification, count


def show(found: Verification) -> None:
    """What was checked, what is wrong, and what to know beside it, a line each."""
    for text in found.checked:
        say.line(f"checked  {text}")
    for text in found.faults:
        # A name of a file may hold line breaks, and must not look like a line of ours.
        say.line("differs  " + text.replace("\n", "\\n"))
    for text in found.notes:
        say.line(f"note     {text}")
    say.line(f"{found.release}: {_sentence(found)}")


def _sentence(found: Verification) -> str:
    if found.faults:
        return f"not what was released; {count(found.faults, 'difference')}."
    if found.kind == "unmerged":
        return "sound. It is the unmerged set: the base by reference, the adapters by copy."
    if not found.outcome:
        return "sound, as far as it can be checked: the verdict stands as it was written."
    return f"sound. The verdict computed again is the one stored: {found.outcome}."
