"""Kill a release at random moments, again and again, and show that nothing of it is lost, doubled or half-made.

`python benchmarks/survive.py --kills 200 --seed 1 --work DIR --out survive.json`. Linux. Each kill is SIGKILL to the
whole process group of the real `mergegate release`, over a workspace of tiny models (survive_workspace.py). After each
kill the invariants are read from the registry's own files (survive_invariants.py); every few kills one run is let
finish, and must end with the digests of the undisturbed release, and with no orphan that `mergegate doctor` does not
name. Rounds alternate between an empty workspace and one that has a champion. `--faults` adds a full disk, a registry
that goes away, and corrupted bytes (survive_faults.py). Exit code 1 where anything was violated.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import survive_invariants as invariants
import survive_workspace
from survive_moments import Moments, reached, stage_of
from survive_reference import (
    AFTER_FIRST,
    EMPTY,
    FIRST,
    SECOND,
    Reference,
    ended,
    prepare,
    restore,
    restore_before,
)
from survive_run import REGISTER, Run, server
from survive_workspace import Workspace

KILLS_PER_ROUND = 8
# Of the releases that are killed, one in so many starts Prefect's server itself; the others share one, which is faster.
OWN_SERVER = 4
# Of the registry during one registration: more are seen than matter, and moments after the last count as registered.
WRITES = 40
# Until the flow begins: libraries, Prefect's server, `dvc status`.
STARTING_S = 8.0


def main(arguments: list[str]) -> int:
    """Run the harness; 1 where an invariant was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no kill after so many")
    parser.add_argument("--work", type=Path, required=True, help="a folder to make or go on in")
    parser.add_argument("--out", type=Path, help="JSON with every kill")
    parser.add_argument(
        "--root", type=Path, default=survive_workspace.ROOT, help="the checkout to run"
    )
    parser.add_argument("--faults", nargs="*", help="also these faults; all of them without a name")
    given = parser.parse_args(arguments)
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    workspace, reference = prepare(work, given.root, say)
    report = Harness(workspace, work, reference, given.seed).run(given.kills, given.minutes * 60)
    if given.faults is not None:
        from survive_faults import run_faults

        report["faults"] = run_faults(workspace, work, reference, given.faults, say)
    report["violations"] = violations(report)
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_table(report)
    return 1 if report["violations"] else 0


class Harness:
    """Rounds of kills, each ended by a run that is let finish."""

    def __init__(self, workspace: Workspace, work: Path, reference: Reference, seed: int) -> None:
        self.workspace, self.work, self.reference = workspace, work, reference
        self.moments = Moments(seed)
        self.kills: list[dict[str, Any]] = []
        self.ends: list[dict[str, Any]] = []
        self.servers = contextlib.ExitStack()

    def run(self, kills: int, seconds: float) -> dict[str, Any]:
        """Kill until there are `kills`, or time is up."""
        until, rounds = time.monotonic() + seconds, 0
        with self.servers:
            env = self.servers.enter_context(server(self.workspace, self.work)) if kills else {}
            while len(self.kills) < kills and time.monotonic() < until:
                self._round(rounds, min(KILLS_PER_ROUND, kills - len(self.kills)), env, until)
                rounds += 1
        return {
            "kills": self.kills,
            "ends": self.ends,
            "rounds": rounds,
            "undisturbed_seconds": {c: s["all"] for c, s in self.reference.seconds.items()},
        }

    def _round(self, number: int, kills: int, env: dict[str, str], until: float) -> None:
        candidate, due, champion = self._begin(number)
        for _ in range(kills):
            own = len(self.kills) % OWN_SERVER == OWN_SERVER - 1
            run = Run(self.workspace, candidate, self.work / "run.log", {} if own else env)
            moment = self.moments.draw(due, STARTING_S + sum(due.values()), WRITES)
            if not reached(run, moment):
                self._ended(run, candidate, f"before {moment}", number)
                return
            champion = self._kill(run, moment, number, candidate, champion, own)
            done = set(map(stage_of, run.finished()))
            due = {stage: seconds for stage, seconds in due.items() if stage not in done}
            if time.monotonic() > until:
                break
        run = Run(self.workspace, candidate, self.work / "run.log", env)
        run.wait()
        count = sum(kill["round"] == number for kill in self.kills)
        self._ended(run, candidate, f"after {count} kills", number)

    def _begin(self, number: int) -> tuple[str, dict[str, float], bool]:
        """The candidate, seconds of what is due by stage, and whether there is a champion, in round `number`.

        Every second round has only the registration before it: it is short, and has most that could be left half-made.
        """
        candidate = FIRST if number % 4 == 1 else SECOND
        seconds = {k: v for k, v in self.reference.seconds[candidate].items() if k != "all"}
        if number % 2 == 0:
            restore_before(self.workspace, self.work, REGISTER)
            return candidate, {REGISTER: seconds[REGISTER]}, True
        restore(self.workspace, self.work, EMPTY if candidate == FIRST else AFTER_FIRST)
        return candidate, seconds, candidate == SECOND

    def _kill(
        self, run: Run, moment: Any, number: int, candidate: str, champion: bool, own: bool
    ) -> bool:
        where, seconds = run.where(moment.target), run.seconds
        outlived = run.kill()
        self.moments.killed[where] += 1
        wrong = invariants.faults(
            self.workspace, champion_expected=champion, known=self.reference.shipped
        )
        entry = {
            "kill": len(self.kills) + 1,
            "round": number,
            "candidate": candidate,
            "mode": moment.mode,
            "moment": str(moment),
            "where": where,
            "seconds": round(seconds, 2),
            "own_server": own,
            "outlived": outlived,
            "faults": wrong,
        }
        self.kills.append(entry)
        say(
            f"kill {entry['kill']:>3}  round {number}  {candidate:<6}  {seconds:6.1f} s  {where:<18}  "
            f"({moment})  {'; '.join(wrong) or 'whole'}"
            + (f"  outlived: {', '.join(outlived)}" if outlived else "")
        )
        return champion or invariants.has_champion(self.workspace)

    def _ended(self, run: Run, candidate: str, how: str, number: int) -> None:
        entry = {"round": number, "how": how, **ended(run, candidate, self.reference)}
        self.ends.append(entry)
        shown = "as undisturbed" if not entry["faults"] else "; ".join(entry["faults"])
        say(f"finished  round {number}  {candidate:<6}  {run.seconds:6.1f} s  {how}: {shown}")


def violations(report: Mapping[str, Any]) -> list[str]:
    """Every fault of every kill, end and further fault, with where it was found."""
    found = [f"kill {k['kill']} ({k['where']}): {f}" for k in report["kills"] for f in k["faults"]]
    found += [f"round {e['round']} ({e['how']}): {f}" for e in report["ends"] for f in e["faults"]]
    return found + [f"{s['fault']}: {f}" for s in report.get("faults", ()) for f in s["faults"]]


def print_table(report: Mapping[str, Any]) -> None:
    """Kills by where they struck, and how the runs after them ended."""
    count = Counter(kill["where"] for kill in report["kills"])
    print("| killed in | kills | outlived |\n|---|---:|---:|")
    for where, number in sorted(count.items(), key=lambda item: (-item[1], item[0])):
        left = sum(bool(k["outlived"]) for k in report["kills"] if k["where"] == where)
        print(f"| {where} | {number} | {left} |")
    print(f"| all | {len(report['kills'])} | |\n")
    whole = [end for end in report["ends"] if not end["faults"]]
    print(f"{len(report['ends'])} runs were let finish; {len(whole)} ended as the undisturbed one.")
    for one in report.get("faults", ()):
        print(f"{one['fault']}: {'; '.join(one['faults']) or one['outcome']}")
    for line in report["violations"]:
        print(f"VIOLATED {line}")


def say(line: str) -> None:
    """A line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
