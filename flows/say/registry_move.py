"""What was moved to another registry, and what is to be done there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.say.console import counted, facts, line, size


def moved(report: Mapping[str, Any]) -> None:
    """What was copied and verified, and the next steps."""
    name = report["name"]
    left_out = ", ".join(map(str, report["left_out"]))
    champion = f"version {report['champion']}" if report["champion"] else "none"
    facts(
        f"{name}: moved already, nothing was changed"
        if report["already"]
        else f"{name}: moved, and both registries say the same",
        {
            "from": report["source"],
            "to": report["target"],
            "champion": champion,
            "versions": f"{report['versions']}{f' (left out, as deleted: {left_out})' if left_out else ''}",
            "changes": str(report["changes"]),
            "ledger": counted(report["judgements"], "judgement"),
            "refusals": str(report["refusals"]),
            "artifacts": f"{counted(report['files'], 'file')}, {size(report['size'])}",
        },
    )
    if report["edited"]:
        line(f"params.yaml says `{report['line']}` now.")
    elif report["workspace"]:
        line(f"Put this line under `registry:` in params.yaml (--edit does): {report['line']}")
    else:
        line(f"Put this line under `registry:` in params.yaml of the workspace: {report['line']}")
    line("The journal stays where it is and goes on. To see that all is well there:")
    for command in (
        f"mergegate status {name}",
        f"mergegate doctor {name}",
        f"mergegate verify models:/{name}@champion",
        f"mergegate rollback {name} --rehearse",
    ):
        line(f"  {command}")
    line(
        "The old registry is kept, and marked: `mergegate status` of it says so, and releases to it are refused."
    )
