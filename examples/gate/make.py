"""Writes reference.jsonl and candidate.jsonl: a made-up tool caller in two languages, before and after a merge.

    python examples/gate/make.py

On the whole the candidate is 2 points worse, which the policy allows; in German it is 11 points
worse, which it does not.
"""

from __future__ import annotations

import json
from pathlib import Path

GERMAN, ENGLISH = range(120), range(120, 400)
WRONG = {*range(0, 12, 2), *range(120, 160, 2)}  # samples that the reference gets wrong
MENDED = {0, *range(120, 136, 2)}  # of these, what the candidate gets right
BROKEN = {*range(20, 34), 200, 300}  # what only the reference gets right


def rows(wrong: set[int]) -> str:
    """A line for each sample; `exact` says whether the call was right."""
    return "".join(
        json.dumps(
            {
                "id": f"call-{number:03d}",
                "exact": int(number not in wrong),
                "language": "de" if number in GERMAN else "en",
            }
        )
        + "\n"
        for number in (*GERMAN, *ENGLISH)
    )


def main() -> None:
    """Write both files beside this one."""
    folder = Path(__file__).parent
    (folder / "reference.jsonl").write_text(rows(WRONG), encoding="utf-8")
    (folder / "candidate.jsonl").write_text(rows((WRONG - MENDED) | BROKEN), encoding="utf-8")


if __name__ == "__main__":
    main()
