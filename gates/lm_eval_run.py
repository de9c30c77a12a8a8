"""A run of lm-eval as it lies on disk: samples_TASK_TIME.jsonl for each task, results_TIME.json beside.

As lm-eval 0.4.13 writes them with `--log_samples --output_path FOLDER`: into a folder below FOLDER
that is named after the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.facts import canonical_json, digest_of
from pipeline.files import read_file

MAX_RESULTS = 64 * 2**20  # bytes; a run of every task of lm-eval writes a few million
_LOG = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)\.jsonl")
# Settings that change what a model is asked or how it answers. The model's own arguments are its
# identity; its seeds and batch sizes are not a matter of the examination.
_SETTINGS = (
    "system_instruction_sha",
    "fewshot_as_multiturn",
    "chat_template_sha",
)
# Of a task's configuration: where the data lies, and the model that lm-eval writes into it.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function, in a configuration that names one
_NOT_THE_TASK = ("metadata", "dataset_path", "dataset_kwargs")


@dataclass(frozen=True)
class Run:
    """What the results of a run state; all of it empty where there are no results."""

    model: str = ""
    harness: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # digest, samples
    # By task and metric: whether more is better.
    higher: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)


def task_of(log: Path) -> str:
    """The task that a log's name says, or ""."""
    found = _LOG.fullmatch(log.name)
    return found["task"] if found else ""


def find_logs(folder: Path) -> list[Path]:
    """The logs of the one run in `folder` or in its only folder with logs, by name.

    Raises InputError where there is none, or more than one run.
    """
    logs = sorted(path for path in folder.glob("samples_*.jsonl") if task_of(path))
    logs = logs or sorted(path for path in folder.glob("*/samples_*.jsonl") if task_of(path))
    if not logs:
        raise InputError(
            f"{folder}: a folder without samples_TASK_TIME.jsonl, as lm-eval writes them with "
            "--log_samples. Name a file, or the folder of a run."
        )
    runs = sorted({f"{path.parent}, {_time(path)}" for path in logs})
    if len(runs) > 1:
        raise InputError(
            f"{folder}: holds {len(runs)} runs of lm-eval ({runs[0]}; {runs[1]}"
            f"{'; …' if len(runs) > 2 else ''}). Name the log of one, or move the others away."
        )
    return logs


def read_run(logs: Sequence[Path]) -> Run:
    """What the results beside the logs state. Raises InputError where they are no results."""
    path = logs[0].with_name(f"results_{_time(logs[0])}.json")
    if not task_of(logs[0]) or not path.is_file():
        return Run()
    try:
        results = json.loads(read_file(path, MAX_RESULTS, "a file of results"))
        config = results["config"]
        return Run(
            model=str(results.get("model_name", "")),
            harness=f"lm-eval {results['lm_eval_version']}",
            settings={
                "gen_kwargs": config.get("gen_kwargs"),
                "limit": config.get("limit"),
                **{key: results.get(key) for key in _SETTINGS},
            },
            tasks={name: _task(results, name) for name in results["configs"]},
            higher={name: dict(of) for name, of in results.get("higher_is_better", {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not the results of lm-eval ({error!r:.120}), which say how the samples beside "
            "it were made. Use the file as lm-eval wrote it, or move the samples away from it."
        ) from None


def _task(results: Mapping[str, Any], name: str) -> tuple[str, int]:
    """A task's configuration as one digest, and the number of its samples."""
    config = results["configs"][name]
    kept = {key: value for key, value in config.items() if key not in _NOT_THE_TASK}
    version = results.get("versions", {}).get(name)
    counts = results.get("n-samples", {}).get(name, {})
    text = _ADDRESS.sub("", canonical_json([version, kept]))
    return digest_of(text), int(counts.get("effective") or 0)


def _time(log: Path) -> str:
    found = _LOG.fullmatch(log.name)
    return found["time"] if found else ""
