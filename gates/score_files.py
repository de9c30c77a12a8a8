"""The per-sample scores of one variant from files: rows of any harness, lm-eval's logs, ours.

    FILE.jsonl            general rows (`score_rows`), mergegate's own VARIANT.samples.jsonl too
    samples_T_TIME.jsonl  lm-eval's log of task T; `lm_eval_run` reads harness and settings beside it
    FOLDER                the logs of one lm-eval run
    VARIANT.json          an evaluation as mergegate stores it, samples beside it

What a file does not state, such as the harness, is "" here. It can then not be compared, and who
judges says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gates.lm_eval_run import Run, find_logs, read_run, task_of
from gates.score_columns import general_scores
from gates.score_lines import Block, read_blocks
from gates.score_rows import Asked, RowError, general_score, logged_score
from gates.side import Side, counted, of_evaluation
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import TaskFacts, digest_file, read_evaluation
from pipeline.files import open_file

if TYPE_CHECKING:
    from hashlib import _Hash

Rows = Iterable[tuple[int, dict[str, Any]]]


def read_scores(path: Path, asked: Asked) -> Side:
    """The scores below `path`. Raises InputError naming file and line."""
    if path.is_dir():
        return _run(path.name, find_logs(path), asked)
    if path.suffix == ".json":
        return _stored(path)
    side, seen = Side(path.name), hashlib.sha256()
    blocks = _filled(path, read_blocks(path, seen))
    first = next(iter(blocks))
    if "doc_id" in first[1][0] and ("filter" in first[1][0] or "doc_hash" in first[1][0]):
        return _run(path.name, [path], asked)
    for numbers, rows in chain([first], blocks):
        if (scores := general_scores(rows, asked, side.kinds)) is not None:
            side.scores += scores
        else:
            _general(side, path, zip(numbers, rows, strict=True), asked)
    side.digest = seen.hexdigest()
    return counted(side, asked)


def _general(side: Side, path: Path, rows: Rows, asked: Asked) -> None:
    kinds = side.kinds
    for number, row in rows:
        try:
            skill, kind, score = general_score(row, asked)
        except RowError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if kinds.setdefault(skill, kind) != kind:
            raise InputError(
                f"{path}, line {number}: {_has(kind)}, while the rows of {skill} before it have "
                f"{_has(kinds[skill])}. Write a digest, or the prompt, in all rows or in none."
            )
        if score is not None:
            side.scores.append(score)


def _run(name: str, logs: list[Path], asked: Asked) -> Side:
    """The logs of one run of lm-eval, each of one task."""
    run = read_run(logs)
    side = Side(name, harness=run.harness, settings=run.settings)
    seen, tasks = hashlib.sha256(), dict[str, list[str]]()
    for path in logs:
        task = task_of(path)
        skill = asked.skill_of(task)
        if skill not in asked.metrics and len(logs) == 1 and task not in asked.tasks:
            skill = asked.skill or skill
        if not skill:
            raise InputError(
                f"{path}: its name does not say the task, as samples_TASK_TIME.jsonl does. "
                "Name the skill: --skill NAME."
            )
        _check_direction(path, run, task, skill, asked)
        tasks.setdefault(skill, []).append(task or skill)
        side.kinds[skill] = "hashes"
        _log(side, path, tasks[skill][-1], skill, asked, seen)
    side.digest = seen.hexdigest()
    return _with_facts(counted(side, asked), tasks, run)


def _check_direction(path: Path, run: Run, task: str, skill: str, asked: Asked) -> None:
    """Raise InputError where the policy takes for better what the task calls worse."""
    metric = asked.metrics.get(skill, "").partition(",")[0]
    higher = run.higher.get(task, {}).get(metric)
    stated = asked.directions.get(skill)
    if stated and higher is not None and higher is not (stated == "higher"):
        wanted = "higher" if higher else "lower"
        raise InputError(
            f"{path}: lm-eval says that {'more' if higher else 'less'} of {metric} is better, and the policy "
            f"the contrary of {skill}. Write `direction: {wanted}` there."
        )


def _log(side: Side, path: Path, task: str, skill: str, asked: Asked, seen: _Hash) -> None:
    filters = set()
    blocks = _filled(path, read_blocks(path, seen))
    for number, row in chain.from_iterable(zip(*block, strict=True) for block in blocks):
        filters.add(str(row.get("filter", "")))
        try:
            score = logged_score(row, task, skill, asked)
        except RowError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        if score is not None:
            side.scores.append(score)
    name, _, chosen = asked.metrics.get(skill, "").partition(",")
    if name and ((chosen and chosen not in filters) or (not chosen and len(filters) > 1)):
        choices = " or ".join(f"{name},{one}" for one in sorted(filters))
        raise InputError(
            f"{path}: the policy asks {asked.metrics[skill]!r} of {skill}, which names no single "
            f"filter of this log. Write the metric as {choices}."
        )


def _with_facts(side: Side, logged: Mapping[str, list[str]], run: Run) -> Side:
    """The side with what the run's results say of the tasks of each skill, their samples among it."""
    for skill, tasks in logged.items():
        facts = [run.tasks[task] for task in tasks if task in run.tasks]
        known = len(facts) == len(tasks)
        counts = [samples for _, samples in facts]
        side.tasks[skill] = TaskFacts(
            task=" and ".join(sorted(tasks)) if known else "",
            task_digest=" ".join(sorted(digest for digest, _ in facts)) if known else "",
            golden_digest="",
            samples=sum(counts) if known and all(counts) else side.tasks[skill].samples,
        )
    return side


def _stored(path: Path) -> Side:
    open_file(path).close()  # has the words for whatever is no file
    try:
        return of_evaluation(read_evaluation(path), path.name, digest_file(path))
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CorruptArtifactError(
            f"{path}: not an evaluation as mergegate stores it ({error!r:.120}). "
            "Scores of another harness are JSON Lines: name the file *.jsonl."
        ) from None


def _filled(path: Path, blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks that have rows. Raises InputError where there is none."""
    filled = (block for block in blocks if block[1])
    first = next(filled, None)
    if first is None:
        raise InputError(f"{path}: empty. Write one object with id and score on each line.")
    return chain([first], filled)


def _has(kind: str) -> str:
    return {"digests": "a digest", "prompts": "the prompt"}.get(kind, "neither digest nor prompt")
