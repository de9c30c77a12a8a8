"""Times merges: mergegate against mergekit and against copying the same bytes, in turn, in one go.

    python benchmarks/merge.py --size 1.1b --work bench --runs 3 --out docs/performance.json

Every figure is of a whole process: wall clock, CPU of the process and its children, peak resident memory. The
family is built in --work first (once), and what a recipe reads is read before each run, so that all find it in the
page cache. Needs the extra
`test` (it has mergekit).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
from family import SIZES, build

EXPERTS = 3
# Seconds before each process. A virtual machine gives freed memory back to its host after a moment, and to get it again
# costs up to 1.6 s a gigabyte: without a pause only those who start quickly would find it still there.
PAUSE = 5
# The merges that make the compiled loops ready; the others do not wait for them.
LOOPED = ("dare_ties", "ties", "ties_adapters")
_DELTA_WEIGHTS = (0.5, 0.3, 0.4)


def recipes(family: Path) -> dict[str, dict[str, Any]]:
    """The recipes that are timed, by name; paths absolute, so that both tools read the same file."""
    base, experts = str(family / "base"), [str(family / f"ft{i}") for i in range(EXPERTS)]
    adapted = [f"{base}+{family / f'lora{i}'}" for i in range(EXPERTS)]

    def of(method: str, models: Sequence[str], **parameters: Any) -> dict[str, Any]:
        listed = [
            {"model": model, "parameters": {"weight": weight, **parameters}}
            for model, weight in zip(models, _DELTA_WEIGHTS, strict=True)
        ]
        recipe: dict[str, Any] = {"merge_method": method, "models": listed, "dtype": "bfloat16"}
        return recipe if method == "linear" else {**recipe, "base_model": base}

    return {
        "linear": of("linear", experts),
        "task_arithmetic": of("task_arithmetic", experts),
        "slerp": {
            "merge_method": "slerp",
            "base_model": base,
            "models": [{"model": base}, {"model": experts[0]}],
            "parameters": {"t": 0.4},
            "dtype": "bfloat16",
        },
        "dare_ties": of("dare_ties", experts, density=0.5),
        "ties": of("ties", experts, density=0.5),
        "ties_adapters": of("ties", adapted, density=0.5),
    }


def measured(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> dict[str, float]:
    """One process: seconds of wall clock and of CPU, peak resident memory in MB. Raises where it fails."""
    with (folder / "last.log").open("w") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
    if status:
        raise SystemExit(
            f"{' '.join(command)}: failed\n{(folder / 'last.log').read_text()[-2000:]}"
        )
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1000}


def contenders(path: Path, family: Path, device: str, tools: Sequence[str]) -> dict[str, list[str]]:
    """The commands of one round, by name."""
    cuda = ["--cuda"] if device == "cuda" else []
    files = _files(path)
    first = f"{family}/base/*.safetensors"
    commands = {
        "copy": ["sh", "-c", f"cat {files} > /dev/null && mkdir -p out && cp {first} out/"],
        "mergegate": [
            sys.executable,
            "-m",
            "flows",
            "--quiet",
            "merge",
            str(path),
            "out",
            "--device",
            device,
        ],
        "mergekit": [
            sys.executable,
            "-m",
            "mergekit.scripts.run_yaml",
            str(path),
            "out",
            *cuda,
            "--lora-merge-cache",
            "lora-cache",
        ],
    }
    return {name: command for name, command in commands.items() if name in (*tools, "copy")}


def _files(recipe: Path) -> str:
    """Every safetensors file of the recipe's sources, as words of a shell."""
    stated = yaml.safe_load(recipe.read_text())
    named = {model["model"] for model in stated["models"]} | {stated.get("base_model", "")}
    folders = sorted({part for name in named for part in name.split("+") if part})
    return " ".join(f"{folder}/*.safetensors" for folder in folders)


def rounds(
    name: str, recipe: dict[str, Any], family: Path, work: Path, args: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """`runs` rounds of every contender in turn."""
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(args.runs):
        for tool, command in contenders(path, family, args.device, args.tools).items():
            for left in ("out", "lora-cache"):
                shutil.rmtree(work / left, ignore_errors=True)
            os.sync()
            subprocess.run(f"cat {_files(path)} > /dev/null", shell=True, check=True)
            time.sleep(PAUSE)
            figures = measured(command, work)
            found.setdefault(tool, []).append(figures)
            _say(f"{name:>16} {turn + 1}/{args.runs} {tool:>10} {_words(figures)}")
    for left in ("out", "lora-cache"):
        shutil.rmtree(work / left, ignore_errors=True)
    return found


def start_up(work: Path, runs: int) -> dict[str, list[dict[str, float]]]:
    """The same command on a model of a few thousand weights: what a merge costs before it begins.

    `small`: as it is; `large`: with the compiled loops that a large merge uses; `first`: with an empty cache of them,
    as on a machine that has never made a large merge.
    """
    tiny = work / "tiny"
    build(tiny, SIZES["tiny"], EXPERTS)
    (work / "tiny.yaml").write_text(yaml.safe_dump(recipes(tiny)["ties"]))
    arguments = ["--quiet", "merge", "tiny.yaml", "out"]
    loops = (
        "import pipeline.merge.fused as f; f.WORTH_ELEMENTS = 0; from flows.cli import main; main()"
    )
    small, large = ["-m", "flows", *arguments], ["-c", loops, *arguments]
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(runs):
        for name, command in (("small", small), ("first", large), ("large", large)):
            shutil.rmtree(work / "out", ignore_errors=True)
            with tempfile.TemporaryDirectory() as empty:
                extra = {"NUMBA_CACHE_DIR": empty} if name == "first" else {}
                figures = measured([sys.executable, *command], work, extra)
            found.setdefault(name, []).append(figures)
            _say(f"{'start-up':>16} {name:>14} {_words(figures)}")
    shutil.rmtree(work / "out", ignore_errors=True)
    return found


def added(before: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The rounds of both; of one machine, size and device."""
    for key in ("machine", "size", "device"):
        if before[key] != result[key]:
            raise SystemExit(f"--append: {key} was {before[key]}, is {result[key]}")
    for part in ("start_up", *result["merges"]):
        into, new = (
            (r["start_up"] if part == "start_up" else r["merges"].setdefault(part, {}))
            for r in (before, result)
        )
        for name, figures in new.items():
            into.setdefault(name, []).extend(figures)
    return {**before, "command": f"{before['command']}; {result['command']}"}


def median(figures: Sequence[dict[str, float]], key: str) -> float:
    """The median of one figure."""
    return statistics.median(figure[key] for figure in figures)


def report(result: dict[str, Any]) -> str:
    """The result as a table in Markdown."""
    lines = [
        "| merge | tool | wall s (spread) | CPU s | peak MB | mergekit / it: wall | CPU | without start-up / copying |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, tools in result["merges"].items():
        begin = median(result["start_up"]["large" if name in LOOPED else "small"], "wall")
        copy = median(tools["copy"], "wall")
        for tool, figures in tools.items():
            wall, cpu = median(figures, "wall"), median(figures, "cpu")
            walls = [figure["wall"] for figure in figures]
            ratios = ["", ""]
            if "mergekit" in tools and tool == "mergegate":
                theirs = tools["mergekit"]
                ratios = [
                    f"{median(theirs, key) / median(figures, key):.1f}" for key in ("wall", "cpu")
                ]
            rest = f"{(wall - begin) / copy:.2f}" if tool == "mergegate" else ""
            lines.append(
                f"| {name} | {tool} | {wall:.1f}{_spread(walls)} | {cpu:.1f} | "
                f"{median(figures, 'memory'):,.0f} | {ratios[0]} | {ratios[1]} | {rest} |"
            )
    words = {
        "large": "a large merge",
        "small": "a small one",
        "first": "the first large one on a machine, with compilation",
    }
    said = [
        f"{words[name]} {median(figures, 'wall'):.1f} s wall, {median(figures, 'cpu'):.1f} s CPU"
        for name, figures in sorted(
            result["start_up"].items(), key=lambda i: list(words).index(i[0])
        )
    ]
    lines.append(f"\nStart-up of mergegate: {'; '.join(said)}.")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""


def plot(result: dict[str, Any], path: Path) -> None:
    """Wall clock by merge and tool, with the spread of the runs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    names = list(result["merges"])
    for offset, (tool, colour) in enumerate(
        (("copy", "#9a9a9a"), ("mergegate", "#1b6ca8"), ("mergekit", "#d1803b"))
    ):
        rows = [
            (i, result["merges"][name][tool])
            for i, name in enumerate(names)
            if tool in result["merges"][name]
        ]
        places = [i + (offset - 1) * 0.26 for i, _ in rows]
        walls = [median(figures, "wall") for _, figures in rows]
        spread = [
            [
                wall - min(f["wall"] for f in figures)
                for wall, (_, figures) in zip(walls, rows, strict=True)
            ],
            [
                max(f["wall"] for f in figures) - wall
                for wall, (_, figures) in zip(walls, rows, strict=True)
            ],
        ]
        bars = axes.bar(places, walls, 0.24, yerr=spread, label=tool, color=colour, capsize=2)
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("seconds, whole process (log)")
    axes.set_title(f"Merging {result['size']} parameters, {result['machine']}")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def _machine(device: str) -> str:
    processor = platform.processor() or platform.machine()
    for line in (
        Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    ):
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    if device == "cuda":
        import torch

        processor += f", {torch.cuda.get_device_name()}"
    return f"{os.cpu_count()} cores of {processor}"


def _words(figures: dict[str, float]) -> str:
    return f"{figures['wall']:7.1f} s wall {figures['cpu']:7.1f} s CPU {figures['memory']:8,.0f} MB"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main() -> None:
    """Build, time, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=[s for s in SIZES if s != "tiny"], default="1.1b")
    parser.add_argument("--merges", nargs="*", default=[], help="names of recipes; all by default")
    parser.add_argument("--tools", nargs="*", default=["mergegate", "mergekit"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", type=Path, required=True, help="a folder for models and outputs")
    parser.add_argument(
        "--out", type=Path, help="write the figures here as JSON, a plot beside it as PNG"
    )
    parser.add_argument(
        "--append", action="store_true", help="add the rounds to those that --out holds already"
    )
    args = parser.parse_args()
    args.work = args.work.resolve()
    family = args.work / args.size
    build(family, SIZES[args.size], EXPERTS)
    subprocess.run(f"cat {family}/*/*.safetensors > /dev/null", shell=True, check=True)
    wanted = {n: r for n, r in recipes(family).items() if not args.merges or n in args.merges}
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": _machine(args.device),
        "command": " ".join(["python", *sys.argv]),
        "size": args.size,
        "device": args.device,
        "start_up": start_up(args.work, args.runs),
        "merges": {
            name: rounds(name, recipe, family, args.work, args) for name, recipe in wanted.items()
        },
    }
    if args.append:
        result = added(json.loads(args.out.read_text()), result)
    sys.stdout.write(report(result) + "\n")
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
        plot(result, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
