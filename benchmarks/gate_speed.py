"""How long `judge` takes for two files of scores, their reading included; each run in a process of its own.

    python benchmarks/gate_speed.py --samples 100000

Prints a row for each form of file: seconds of wall clock and of CPU within `judge`, seconds for the import of
gates, and the peak memory of the process; medians of the runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLICY = """skills:
  calls: {metric: exact, reference: base, margin: 0.02, floor: 0.8%s}
safety: {}
"""
MEASURED = """
import json, resource, sys, time
begun = time.perf_counter()
from gates import judge
imported = time.perf_counter()
cpu = time.process_time()
verdict = judge(*sys.argv[1:])
print(json.dumps({
    "wall": time.perf_counter() - imported,
    "cpu": time.process_time() - cpu,
    "import": imported - begun,
    "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "outcome": verdict.outcome,
}))
"""


def digest(number: int) -> str:
    """A digest as a golden row would have."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def plain(number: int, score: int) -> dict[str, Any]:
    """The shortest row."""
    return {"id": number, "exact": score}


def own(number: int, score: int) -> dict[str, Any]:
    """A row as mergegate writes it."""
    return {
        "metric": "exact",
        "sample_digest": digest(number),
        "sample_id": f"calls-test-{number:06d}",
        "score": float(score),
        "skill": "calls",
    }


def sliced(number: int, score: int) -> dict[str, Any]:
    """A row with a field that the policy slices by."""
    return {**plain(number, score), "language": "de" if number % 3 else "en"}


def logged(number: int, score: int) -> dict[str, Any]:
    """A line of lm-eval's log, about a kilobyte long."""
    return {
        "doc_id": number,
        "doc": {"id": number, "question": f"What is {number}? " * 12},
        "target": "4",
        "arguments": {"gen_args_0": {"arg_0": f"What is {number}? " * 12, "arg_1": {"until": []}}},
        "resps": [["4"]],
        "filtered_resps": ["4"],
        "filter": "none",
        "metrics": ["exact"],
        **{key: digest(number) for key in ("doc_hash", "prompt_hash", "target_hash")},
        "exact": float(score),
    }


FORMS: dict[str, tuple[Callable[[int, int], dict[str, Any]], str]] = {
    "id and score": (plain, ""),
    "mergegate's own": (own, ""),
    "with a slice": (sliced, ", slices: {language: {}}"),
    "lm-eval's log": (logged, ""),
}


def write(folder: Path, form: str, samples: int) -> list[str]:
    """A policy and two files of one form: 95 % right, and 0.2 points fewer."""
    row, more = FORMS[form]
    policy = folder / "policy.yaml"
    policy.write_text(POLICY % more)
    paths = [folder / "reference.jsonl", folder / "candidate.jsonl"]
    for seed, (path, share) in enumerate(zip(paths, (0.95, 0.948), strict=True)):
        draw = random.Random(seed)
        with path.open("w") as file:
            for number in range(samples):
                file.write(json.dumps(row(number, int(draw.random() < share))) + "\n")
    return [str(policy), *map(str, paths)]


def measured(arguments: list[str], runs: int) -> dict[str, Any]:
    """Medians over the runs."""
    command = [sys.executable, "-c", MEASURED, *arguments]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    ]
    keys = ("wall", "cpu", "import", "memory")
    medians = {key: statistics.median(one[key] for one in found) for key in keys}
    return {**medians, "best": min(one["wall"] for one in found), "outcome": found[0]["outcome"]}


def main() -> None:
    """Measure every form and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=100_000, help="of each of the two files")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forms", nargs="*", choices=[*FORMS], default=[*FORMS])
    args = parser.parse_args()
    sys.stdout.write("| form | verdict | wall s | best s | CPU s | import s | peak MB |\n")
    sys.stdout.write("|---|---|---:|---:|---:|---:|---:|\n")
    for form in args.forms:
        with tempfile.TemporaryDirectory() as folder:
            one = measured(write(Path(folder), form, args.samples), args.runs)
        sys.stdout.write(
            f"| {form} | {one['outcome']} | {one['wall']:.2f} | {one['best']:.2f} | {one['cpu']:.2f} | "
            f"{one['import']:.2f} | {one['memory']:.0f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
