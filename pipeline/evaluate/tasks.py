"""Skills as lm-eval tasks: a task YAML of ours over a golden set, or a task that lm-eval ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import EnvironmentFault, InputError
from pipeline.evaluate.golden import read_golden
from pipeline.facts import digest_file, digest_of
from pipeline.strict import nearest


@dataclass(frozen=True)
class SkillSpec:
    """What scores one skill."""

    task: str  # path of a task YAML, or a task or group name of lm-eval's own
    golden: Path | None  # the JSONL that replaces the YAML's data; None for lm-eval's own tasks
    # Per-sample metrics to keep; «NAME,FILTER» where a task has several filters.
    metrics: tuple[str, ...]
    attributes: tuple[str, ...] = ()  # fields of the golden rows to record with each score


@dataclass(frozen=True)
class SkillTask:
    """A skill ready to run. `parts` are lm-eval Task objects by a name that is unique in the run."""

    skill: str
    name: str
    digest: str
    golden_digest: str
    rows: tuple[dict[str, Any], ...]  # of the golden set; () for lm-eval's own data
    parts: Mapping[str, Any]


class _Rows(list[dict[str, Any]]):
    """Rows with the one attribute of a `datasets.Dataset` that lm-eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """The keys of all rows; lm-eval asks for their names alone."""
        return dict.fromkeys(key for row in self for key in row)


def load_skills(skills: Mapping[str, SkillSpec], max_new_tokens: int) -> list[SkillTask]:
    """Every skill as a task, in the order given. Raises InputError that lists the faults of all skills."""
    if not skills:
        raise InputError("params.yaml: evaluate.skills is empty. Name at least one skill.")
    loaded: list[SkillTask] = []
    faults: list[str] = []
    for skill, spec in skills.items():
        try:
            loaded.append(_load(skill, spec, max_new_tokens))
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError.of(faults)
    return loaded


def _load(skill: str, spec: SkillSpec, max_new_tokens: int) -> SkillTask:
    if not spec.metrics:
        raise InputError(f"params.yaml: evaluate.skills.{skill}.metrics is empty. Name one metric.")
    if spec.golden is not None:
        return _own(skill, spec, spec.golden, max_new_tokens)
    return _shipped(skill, spec)


def _own(skill: str, spec: SkillSpec, golden: Path, max_new_tokens: int) -> SkillTask:
    """A task YAML of the workspace, with the golden set in place of the data that it names."""
    path, rows = Path(spec.task), read_golden(golden)
    name, config, manager = _index(path)
    if (config.get("num_fewshot") or 0) > 0:
        raise InputError(
            f"{path}: num_fewshot is {config['num_fewshot']}; "
            "it must be 0, for the shots would come from the golden set itself. "
            "Put worked examples into `description`."
        )
    overrides = {"task": name, **_over_golden(rows, config, max_new_tokens)}
    task = _build(manager, {"group": skill, "task": [overrides]}, path)
    if len(task.eval_docs) != len(rows):
        raise InputError(
            f"{path}: process_docs keeps {len(task.eval_docs)} of the {len(rows)} rows of "
            f"{golden}; all must be scored. Remove the rows from the golden set instead."
        )
    if scorer := task.config.process_results:
        task.config.process_results = _named(scorer, path)
    return SkillTask(skill, name, _task_digest(path), digest_file(golden), rows, {skill: task})


def _build(manager: Any, group: dict[str, Any], path: Path) -> Any:
    """lm-eval's Task. A group of one, for only a group's members can be overridden."""
    try:
        (task,) = manager.load(group)["tasks"].values()
    except Exception as error:
        # The YAML and its Python code are the user's: any fault there is input.
        fault = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: lm-eval cannot load it: {fault}") from error
    return task


def _index(path: Path) -> tuple[str, dict[str, Any], Any]:
    """Task name, plain configuration and lm-eval's manager for one YAML file."""
    from lm_eval.tasks import TaskManager

    if not path.is_file():
        raise InputError(
            f"{path}: no such task file. Correct the task in params.yaml: evaluate.skills."
        )
    # Without lm-eval's own 14,000 tasks, whose index takes 15 s.
    manager = TaskManager(include_path=str(path.resolve().parent), include_defaults=False)
    for name, entry in manager.task_index.items():
        if entry.yaml_path == path.resolve() and name in manager.all_subtasks:
            return name, entry.cfg, manager
    raise InputError(
        f"{path}: not an lm-eval task. "
        "It must be YAML with a key `task`, whose name no other file of its folder has."
    )


def _over_golden(
    rows: tuple[dict[str, Any], ...], config: Mapping[str, Any], max_new_tokens: int
) -> dict[str, Any]:
    """Configuration that replaces the YAML's: the golden set is the test split, and the only one."""
    splits = dict.fromkeys(("training_split", "validation_split", "fewshot_split"))
    return {
        **splits,
        "test_split": "test",
        "dataset_kwargs": None,
        # A copy: metric code may change its documents, and digests are of the rows as they were.
        "custom_dataset": lambda **_: {"test": _Rows(deepcopy(rows))},
        # lm-eval would otherwise cut each answer at its first blank line.
        "generation_kwargs": {
            "until": [],
            "do_sample": False,
            "max_gen_toks": max_new_tokens,
            **(config.get("generation_kwargs") or {}),
        },
    }


def _named(scorer: Callable[..., Any], path: Path) -> Callable[..., Any]:
    """`scorer`, whose failures name the task file and the sample."""

    def score(doc: Mapping[str, Any], results: Any) -> Any:
        try:
            return scorer(doc, results)
        except Exception as error:
            raise InputError(
                f"{path}: process_results failed on sample {doc['id']}: {type(error).__name__}: "
                f"{error}. A metric must score every answer, however malformed."
            ) from error

    return score


def _task_digest(path: Path) -> str:
    """SHA-256 over the YAML, the YAML files that it includes, and the Python files of its folder, by name."""
    files = {*_with_includes(path.resolve()), *path.resolve().parent.glob("*.py")}
    return digest_of(sorted((file.name, digest_file(file)) for file in files))


def output_type(path: Path) -> str:
    """The output_type of a task YAML, from what it includes where it has none itself; "" where it does not read."""
    try:
        return _output_type(path, frozenset()) or "generate_until"
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
        return ""  # lm-eval says what is wrong with it


def _output_type(path: Path, above: frozenset[Path]) -> str:
    # Composed, not constructed: the nodes of a YAML file may carry lm-eval's tag !function.
    top = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    pairs = {key.value: node.value for key, node in top.value} if top else {}
    if "output_type" in pairs or path in above:
        return str(pairs.get("output_type", ""))
    included = pairs.get("include", [])
    names = [included] if isinstance(included, str) else [node.value for node in included]
    found = [_output_type((path.parent / name).resolve(), above | {path}) for name in names]
    return next(filter(None, reversed(found)), "")  # of two that are included, the last one counts


def _with_includes(path: Path) -> set[Path]:
    """The file and all that it includes. lm-eval has refused cycles before."""
    # Composed, not constructed: the nodes of a YAML file may carry lm-eval's tag !function.
    top = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    pairs = {key.value: node.value for key, node in top.value} if top else {}
    included = pairs.get("include", [])
    names = [included] if isinstance(included, str) else [node.value for node in included]
    return {path}.union(*(_with_includes((path.parent / name).resolve()) for name in names))


def _shipped(skill: str, spec: SkillSpec) -> SkillTask:
    """A task or group of lm-eval's own, over the data that it names (from the hub, or its cache)."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    if spec.task not in manager.task_index:
        raise InputError(
            f"params.yaml: evaluate.skills.{skill}.task is {spec.task!r}, "
            f"which lm-eval does not have.{_near(spec.task, manager.all_tasks)} "
            "For a task of your own give the path of its YAML file."
        )
    try:
        found = manager.load([spec.task])["tasks"]
    except OSError as error:  # what the hub's clients raise for any failed or forbidden download
        raise EnvironmentFault(
            f"params.yaml: evaluate.skills.{skill}.task: "
            f"the data of lm-eval's {spec.task} cannot be loaded ({error}). "
            "Check the network, or fill the cache of `datasets` where there is one."
        ) from error
    digest = digest_of(
        {
            "lm-eval": version("lm-eval"),
            "tasks": {name: str(task.VERSION) for name, task in found.items()},
        }
    )
    parts = {f"{skill}/{name}": found[name] for name in sorted(found)}
    return SkillTask(skill, spec.task, digest, "", (), parts)


def _near(word: str, choices: list[str]) -> str:
    """The nearest name only: the list of all of lm-eval's would fill the screen."""
    hint = nearest(word, choices)
    return hint if "Did you mean" in hint else ""
