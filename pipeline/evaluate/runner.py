"""Evaluate one variant: lm-eval runs every skill on one loaded model, and each sample's score is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.backend import device_of, is_known_by_digest, load_backend
from pipeline.evaluate.batches import in_batches
from pipeline.evaluate.generation import check_decoding, ended_row_by_row
from pipeline.evaluate.reuse import Key, SkillResult, Store, skill_key
from pipeline.evaluate.runtime import memory, quiet, repeatable, surroundings
from pipeline.evaluate.scores import Samples, golden_attributes, skill_answers, skill_scores
from pipeline.evaluate.served.failures import in_words
from pipeline.evaluate.served.identity import Behind, identified
from pipeline.evaluate.tasks import SkillSpec, SkillTask, load_skills
from pipeline.evaluate.watch import Say, announced, count_requests, watched
from pipeline.facts import (
    Evaluation,
    TaskFacts,
    canonical_json,
    digest_of,
    write_evaluation,
    write_text,
)


@dataclass(frozen=True)
class Settings:
    """How every variant of a release is decoded; the same for all, or their scores cannot be compared."""

    backend: str = "hf"  # an lm-eval backend
    model_args: Mapping[str, Any] = field(default_factory=dict)  # passed through to it
    batch_size: int | str = 64  # prompts decoded together; «auto» for hf and vllm
    max_new_tokens: int = 256  # per answer, where a task YAML does not set max_gen_toks
    system: str = ""  # the system message; none where empty
    seed: int = 0
    limit: int | None = None  # the first N samples of each set: for trials, never for a release
    serve: str = ""  # the command by which mergegate starts a server for each variant


def evaluate(
    variant: str,
    model: str,
    *,
    adapter: Path | None,
    model_digest: str,
    skills: Mapping[str, SkillSpec],
    settings: Settings,
    out: Path,
    reference: str = "",
    store: Store | None = None,
    behind: Behind | None = None,
    say: Say = lambda _: None,
) -> Evaluation:
    """Score `variant`; write VARIANT.answers.jsonl, VARIANT.samples.jsonl and VARIANT.json to `out`.

    `model` and `adapter` are folders; `reference` is what the record calls them (default:
    MODEL+ADAPTER), and `model_digest` covers them. Files appear only when every skill is scored.
    A skill that `store` has is taken from there, with the bytes that evaluating it would give; where
    it has all of them, the model is not read. Every other is kept there as soon as it is scored, and batch
    by batch until then: an evaluation that was killed asks only for what is missing. `behind` says where the server of
    a served backend is, and how its weights are identified. `say` is given a line as a skill begins and as it ends.
    Raises InputError that says what is missing: a task, a metric, a field, a sample, a finite
    score, or room for a prompt.
    """
    with quiet(), repeatable(settings.seed):
        tasks = load_skills(skills, settings.max_new_tokens)
        for task in tasks:  # before the model is read
            golden_attributes(task, skills[task.skill].attributes)
        keys = _keys(tasks, skills, model_digest, settings) if store else {}
        results, served = _kept(store, keys), None
        if missing := [task for task in tasks if task.skill not in results]:
            lm = load_backend(
                settings.backend,
                settings.model_args,
                variant=variant,
                model=model,
                adapter=adapter,
                batch_size=settings.batch_size,
                endpoint=behind.endpoint if behind else None,
            )
            check_decoding(lm, settings.max_new_tokens)
            served = identified(
                lm,
                settings.backend,
                behind,
                variant=variant,
                model=Path(model),
                adapter=adapter,
                system=settings.system,
            )
            requests = {task.skill: count_requests(task, settings.limit) for task in missing}
            with watched(lm, variant, requests) as progress:
                for task in missing:
                    key = keys.get(task.skill)
                    with (
                        announced(say, variant, task.skill, requests[task.skill]),
                        _kept_samples(lm, store, key, task.skill, progress.skip),
                    ):
                        results[task.skill] = _score(lm, task, skills[task.skill], settings)
                    if store and key:
                        store.write(key, results[task.skill])
        if store:
            store.prune()
    ordered = [results[task.skill] for task in tasks]
    evaluation = Evaluation(
        variant=variant,
        model=reference or (f"{model}+{adapter}" if adapter else model),
        model_digest=model_digest,
        harness=_harness(),
        settings={**_facts(settings), "prompts_digest": _prompts_digest(ordered)},
        tasks={task.skill: results[task.skill].facts for task in tasks},
        scores=tuple(score for result in ordered for score in result.scores),
        served=served,
    )
    _write(out, evaluation, ordered)
    return evaluation


def _keys(
    tasks: list[SkillTask], skills: Mapping[str, SkillSpec], model_digest: str, settings: Settings
) -> dict[str, Key]:
    """The key of each skill all of whose inputs are known; without one it is evaluated every time."""
    if not is_known_by_digest(settings.backend, settings.model_args):
        return {}
    common = {
        "model": model_digest,
        "harness": _harness(),
        "settings": _facts(settings),
        "surroundings": surroundings(),
        "memory": memory() if settings.batch_size == "auto" else None,
    }
    keys = {task.skill: skill_key(task, skills[task.skill], common) for task in tasks}
    return {skill: key for skill, key in keys.items() if key is not None}


def _kept(store: Store | None, keys: Mapping[str, Key]) -> dict[str, SkillResult]:
    found = {skill: store.read(key) for skill, key in keys.items()} if store else {}
    return {skill: result for skill, result in found.items() if result is not None}


@contextmanager
def _kept_samples(
    lm: Any, store: Store | None, key: Key | None, skill: str, skip: Callable[[int], None]
) -> Iterator[None]:
    """Answer batch by batch, each kept in `store`, where the skill is known by a key."""
    if store is None or key is None:
        yield
        return
    with store.samples(key, skill) as kept, in_batches(lm, kept, skip):
        yield


def _write(out: Path, evaluation: Evaluation, results: list[SkillResult]) -> None:
    """The answers first: VARIANT.json says that all is there."""
    answers = [answer for result in results for answer in result.answers]
    lines = "".join(canonical_json(answer) + "\n" for answer in answers)
    write_text(out / f"{evaluation.variant}.answers.jsonl", lines)
    write_evaluation(out, evaluation)


def _score(lm: Any, task: SkillTask, spec: SkillSpec, settings: Settings) -> SkillResult:
    """One skill on the loaded model.

    By itself and with fresh generators: together with others its prompts would be padded otherwise,
    and its scores depend on which skills stand beside it.
    """
    with (
        repeatable(settings.seed),
        in_words(settings.backend, f"params.yaml: evaluate.skills.{task.skill}"),
    ):
        samples = _run(lm, task, settings)
    _check_truncation(lm, samples)
    scored = {(part, sample["doc_id"]) for part in task.parts for sample in samples[part]}
    return SkillResult(
        facts=TaskFacts(task.name, task.digest, task.golden_digest, len(scored)),
        prompts={
            part: digest_of([sample["prompt_hash"] for sample in rows])
            for part, rows in samples.items()
        },
        scores=tuple(skill_scores(task, spec.metrics, samples, settings.limit, spec.attributes)),
        answers=tuple(skill_answers(task, samples)),
    )


def _run(lm: Any, task: SkillTask, settings: Settings) -> Samples:
    """lm-eval's logged samples by part of a skill.

    `lm_eval.evaluate`, not `simple_evaluate`: the latter adds 3 s of facts about the machine.
    """
    from lm_eval.evaluator import evaluate as harness

    for part in task.parts.values():
        part.set_fewshot_seed(seed=settings.seed)
        if part.get_config("num_fewshot") is None:
            part.set_config(key="num_fewshot", value=0)
    with ended_row_by_row(lm), _silent(settings.batch_size == "auto"):
        results = harness(
            lm,
            {"tasks": dict(task.parts), "groups": {}, "group_map": {}},
            limit=settings.limit,
            bootstrap_iters=0,  # standard errors are for the gate, on pairs
            log_samples=True,
            system_instruction=settings.system or None,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
        )
    return {name: results["samples"][name] for name in task.parts}


@contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    """Without what lm-eval prints while it tries batches out; what metric code prints is to be seen otherwise."""
    with redirect_stdout(StringIO()) if wanted else nullcontext():
        yield


def _check_truncation(lm: Any, samples: Samples) -> None:
    """Refuse prompts that lm-eval would have cut from the left with no more than a log line."""
    from lm_eval.models.api_models import TemplateAPI
    from lm_eval.models.huggingface import HFLM

    if not isinstance(lm, HFLM) and not (isinstance(lm, TemplateAPI) and lm.tokenized_requests):
        return
    longest = lm.max_gen_toks if isinstance(lm, HFLM) else lm._max_gen_toks
    cut = [
        f"{part}:{sample['doc_id']} ({length} tokens)"
        for part, rows in samples.items()
        for sample in rows
        for prompt, arguments, *_ in sample["arguments"]
        if isinstance(arguments, dict)
        and (length := len(lm.tok_encode(prompt)))
        > lm.max_length - arguments.get("max_gen_toks", longest)
    ]
    if cut:
        raise InputError(
            f"{len(cut)} prompts do not fit: with max_new_tokens they exceed the model's "
            f"{lm.max_length} tokens, and would be cut. The first: {cut[0]}. "
            "Shorten them, or lower evaluate.max_new_tokens in params.yaml."
        )


def _harness() -> str:
    return f"lm-eval {version('lm-eval')}"


def _facts(settings: Settings) -> dict[str, Any]:
    """All settings that the scores depend on, as JSON values."""
    return {
        "backend": settings.backend,
        "model_args": dict(settings.model_args),
        "batch_size": settings.batch_size,
        "max_new_tokens": settings.max_new_tokens,
        "system": settings.system,
        "seed": settings.seed,
        "limit": settings.limit,
        "device": device_of(settings.backend, settings.model_args),
        **({"serve": settings.serve} if settings.serve else {}),
    }


def _prompts_digest(results: list[SkillResult]) -> str:
    """Over every prompt as the chat template renders it: a changed template shows here."""
    return digest_of({part: text for result in results for part, text in result.prompts.items()})
