"""The examples of a candidate from the workspace: scores, answers and golden sets as the stages left them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.evaluate.golden import read_golden
from pipeline.facts import Evaluation, read_evaluation, read_json
from pipeline.params import Params
from pipeline.report.examples import failed_examples
from pipeline.report.lenient import entries, words
from pipeline.stages.workspace import BUILD, EVALS

_ARTIFACTS = ("merged", "quantized")


def examples_of(params: Params, candidate: str) -> dict[str, Any]:
    """`failed_examples` of build/CANDIDATE/, at most 5 of each check and artifact, texts cut at 2,000 characters.

    Answers that were not kept and tasks without a golden set of ours leave texts out. Raises
    InputError or CorruptArtifactError where the verdict, scores, answers or a golden set do not read.
    """
    verdict = read_json(BUILD / candidate / "verdict.json")
    named = [(words(row, "artifact"), words(row, "reference")) for row in entries(verdict, "rows")]
    heads = {
        name: _folder(name, candidate) / f"{name}.json"
        for name in dict.fromkeys(name for pair in named for name in pair if name)
    }
    evaluations = {
        name: evaluation
        for name, path in heads.items()
        if (evaluation := _evaluation(path)) is not None
    }
    answers = {
        name: dict(_answers(heads[name].with_name(f"{name}.answers.jsonl"))) for name in evaluations
    }
    checks = {words(row, "check") for row in entries(verdict, "rows")}
    golden = {
        name: {row["id"]: row for row in read_golden(path)}
        for name, skill in params.evaluate.skills.items()
        if name in checks and (path := skill.split("test")) is not None and path.is_file()
    }
    return failed_examples(evaluations, answers, golden, verdict)


def _folder(variant: str, candidate: str) -> Path:
    return BUILD / candidate / "evals" if variant in _ARTIFACTS else EVALS


def _evaluation(path: Path) -> Evaluation | None:
    """None where the variant was skipped or is not there; a row that names it cannot have figures."""
    if not path.is_file() or "skipped" in read_json(path):
        return None
    return read_evaluation(path)


def _answers(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """((skill, sample id), answer) of each line."""
    if not path.is_file():
        return
    # Not splitlines(): U+2028 and its like may stand inside a JSON string.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line:
            yield _answer(line, f"{path}:{number}")


def _answer(line: str, where: str) -> tuple[tuple[str, str], str]:
    try:
        row: Mapping[str, str] = json.loads(line)
        return (row["skill"], row["sample_id"]), str(row["answer"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{where}: not an answer ({error!r}). Evaluate the variant again: "
            "delete the file and run `mergegate release`."
        ) from None
