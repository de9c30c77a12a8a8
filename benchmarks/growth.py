"""How a TIES merge grows: wall clock, CPU and peak memory of whole processes over four sizes, with one thread and two.

    python benchmarks/growth.py --work bench --out docs/growth.json

Builds each family in --work where it is missing, and reads it before each run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from family import SIZES, build
from merge import EXPERTS, measured, median, recipes

GROWTH = ("0.1b", "0.3b", "0.6b", "1.1b")


def timed(size: str, threads: int, work: Path, runs: int) -> dict[str, Any]:
    """Medians over `runs` merges."""
    family = work / size
    build(family, SIZES[size], EXPERTS)
    (work / "growth.yaml").write_text(yaml.safe_dump(recipes(family)["ties"]))
    command = [sys.executable, "-m", "flows", "--quiet", "merge", "growth.yaml", "out"]
    found = []
    for _ in range(runs):
        shutil.rmtree(work / "out", ignore_errors=True)
        subprocess.run(f"cat {family}/[bf]*/*.safetensors > /dev/null", shell=True, check=True)
        found.append(measured([*command, "--threads", str(threads)], work))
    shutil.rmtree(work / "out", ignore_errors=True)
    return {
        "size": size,
        "gigabytes": sum(f.stat().st_size for f in (family / "base").glob("*.safetensors")) / 1e9,
        "threads": threads,
        **{key: median(found, key) for key in ("wall", "cpu", "memory")},
    }


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.work = args.work.resolve()
    lines = [
        "| size | GB of one model | threads | wall s | CPU s | peak MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    rows = []
    for size in GROWTH:
        for threads in (1, 2):
            row = timed(size, threads, args.work, args.runs)
            rows.append(row)
            lines.append(
                f"| {size} | {row['gigabytes']:.2f} | {threads} | {row['wall']:.1f} | "
                f"{row['cpu']:.1f} | {row['memory']:,.0f} |"
            )
            sys.stderr.write(lines[-1] + "\n")
    sys.stdout.write("\n".join(lines) + "\n")
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
