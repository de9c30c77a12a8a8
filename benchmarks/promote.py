"""Several processes promote at once: no change is lost, each is in the journal once, the last one is champion.

    python benchmarks/promote.py [--uri URI] [--processes 8] [--times 25] [--separate]

Each process makes its own version the champion again and again, with a fresh head each time, and tries again when it
was overtaken. Without --uri a SQLite file in a temporary folder is used; with --separate every process has a journal
of its own, as on separate machines, so that nothing but the registry keeps them apart. Prints JSON; exit code 1 where
anything was lost.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.folders import TEMPORARY
from pipeline.release import store
from pipeline.release.changes import Overtaken, head, move_champion
from pipeline.release.journal import Journal
from pipeline.release.standing import changes, read_standing

NAME = "contended"


def prepare(uri: str, processes: int, name: str = NAME) -> None:
    """A registered model with two versions for each process, of one logged model without artifacts."""
    with store.connect(uri) as client:
        client.create_registered_model(name)
        model = client.create_logged_model(client.create_experiment(name), "light")
        client.finalize_logged_model(model.model_id, "READY")
        for number in range(2 * processes):
            tags = {store.RELEASE_DIGEST: f"digest {number}"}
            source = f"models:/{model.model_id}"
            client.create_model_version(name, source, model_id=model.model_id, tags=tags)


def promote(uri: str, process: int, times: int, journal: Path, name: str = NAME) -> dict[str, Any]:
    """Make the process's two versions champion in turn, `times` in all; what it won, and how often it lost."""
    won: list[int] = []
    overtaken = 0
    seconds: list[float] = []
    while len(won) < times:
        version = 2 * process + 1 + len(won) % 2
        last = head(uri, name)
        start = time.perf_counter()
        try:
            change = move_champion(
                uri,
                name,
                version,
                expected=last.number if last else None,
                kind="promotion",
                why=f"process {process}, {len(won)}",
                release_digest=f"digest {version - 1}",
                journal=journal,
            )
        except Overtaken:
            overtaken += 1
            continue
        seconds.append(time.perf_counter() - start)
        won.append(change.number)
    return {"won": won, "overtaken": overtaken, "seconds": seconds}


def contend(
    uri: str, processes: int, times: int, folder: Path, *, separate: bool = False, name: str = NAME
) -> dict[str, Any]:
    """Let `processes` promote `times` each at once; the counts, and the `faults` that must be none."""
    prepare(uri, processes, name)
    journals = [folder / (f"{i}.jsonl" if separate else "all.jsonl") for i in range(processes)]
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        tasks = [(uri, i, times, journals[i], name) for i in range(processes)]
        results = pool.starmap(promote, tasks, chunksize=1)
    wall = time.perf_counter() - start
    with store.connect(uri) as client:
        standing, known = read_standing(client, name), changes(client, name)
    wanted = processes * times
    won = Counter(number for result in results for number in result["won"])
    faults = [f"change {n} was won {c} times" for n, c in won.items() if c > 1]
    if sorted(won) != list(range(1, wanted + 1)):
        faults.append(f"{len(won)} changes instead of 1 to {wanted}")
    if [change.number for change in known] != list(range(1, wanted + 1)):
        faults.append(f"the registry knows {len(known)} changes instead of {wanted}")
    for before, after in pairwise(known):
        if (after.previous, after.follows) != (before.version, before.claim):
            faults.append(f"change {after.number} does not follow change {before.number}")
    if standing.moved_by_hand or standing.open or standing.alias != known[-1].version:
        faults.append(
            f"the alias is at {standing.alias}, the last change is to {known[-1].version}"
        )
    for path in dict.fromkeys(journals):
        faults += _journal_faults(path, known, whole=not separate)
    moves = sorted(s for result in results for s in result["seconds"])
    return {
        "processes": processes,
        "times": times,
        "changes": len(known),
        "overtaken": sum(result["overtaken"] for result in results),
        "journals": len(set(journals)),
        "entries": sum(len(Journal(path).entries()) for path in dict.fromkeys(journals)),
        "wall_s": round(wall, 1),
        "median_s": round(moves[len(moves) // 2], 3),
        "slowest_s": round(moves[-1], 3),
        "faults": faults,
    }


def _journal_faults(path: Path, known: list[Any], *, whole: bool) -> list[str]:
    """Whether a journal has each change once, in order, up to the champion; a part of them where not `whole`."""
    entries = Journal(path).entries()
    numbers = [entry["number"] for entry in entries]
    end = known[-1].number if whole else numbers[-1]
    faults = [] if numbers == list(range(1, end + 1)) else [f"{path.name}: entries {numbers}"]
    claims = {change.number: change.claim for change in known}
    wrong = [e["number"] for e in entries if e["claim"] != claims.get(e["number"])]
    return faults + [f"{path.name}: entry {n} is not the change {n}" for n in wrong]


def main() -> int:
    """Run, print the counts as JSON, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uri", default="")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--times", type=int, default=25)
    parser.add_argument("--separate", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as scratch:
        uri = given.uri or f"sqlite:///{scratch}/mlflow.db"
        counts = contend(uri, given.processes, given.times, Path(scratch), separate=given.separate)
    print(json.dumps(counts, indent=2))
    return 1 if counts["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
