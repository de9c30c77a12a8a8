"""Evaluate one variant: lm-eval runs every skill on one loaded model, and each sample's score is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.backend import device_of, load_backend
from pipeline.evaluate.runtime import quiet, repeatable
from pipeline.evaluate.scores import Samples, golden_attributes, skill_answers, skill_scores
from pipeline.evaluate.tasks import SkillSpec, SkillTask, load_skills
from pipeline.facts import (
    Evaluation,
    Score,
    TaskFacts,
    canonical_json,
    digest_of,
    write_evaluation,
    write_text,
)
from pipeline.progress import bars


@dataclass(frozen=True)
class Settings:
    """How every variant of a release is decoded; the same for all, or their scores cannot be compared."""

    backend: str = "hf"  # an lm-eval backend
    model_args: Mapping[str, Any] = field(default_factory=dict)  # passed through to it
    batch_size: int = 64  # prompts decoded together
    max_new_tokens: int = 256  # per answer, where a task YAML does not set max_gen_toks
    system: str = ""  # the system message; none where empty
    seed: int = 0
    limit: int | None = None  # the first N samples of each set: for trials, never for a release


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
) -> Evaluation:
    """Score `variant`; write VARIANT.answers.jsonl, VARIANT.samples.jsonl and VARIANT.json to `out`.

    `model` and `adapter` are folders; `reference` is what the record calls them (default:
    MODEL+ADAPTER), and `model_digest` covers them. Files appear only when every skill is scored.
    Raises InputError that says what is missing: a task, a metric, a field, a sample, a finite
    score, or room for a prompt.
    """
    with quiet(), repeatable(settings.seed):
        tasks = load_skills(skills, settings.max_new_tokens)
        for task in tasks:  # before the model is read
            golden_attributes(task, skills[task.skill].attributes)
        lm = load_backend(
            settings.backend,
            settings.model_args,
            variant=variant,
            model=model,
            adapter=adapter,
            batch_size=settings.batch_size,
        )
        _check_decoding(lm, settings.max_new_tokens)
        samples = _run(lm, variant, tasks, settings)
        _check_truncation(lm, samples)
    evaluation = Evaluation(
        variant=variant,
        model=reference or (f"{model}+{adapter}" if adapter else model),
        model_digest=model_digest,
        harness=f"lm-eval {version('lm-eval')}",
        settings=_facts(settings, samples),
        tasks={task.skill: _task_facts(task, samples) for task in tasks},
        scores=_scores(tasks, skills, samples, settings.limit),
    )
    _write(out, evaluation, tasks, samples)
    return evaluation


def _scores(
    tasks: list[SkillTask], skills: Mapping[str, SkillSpec], samples: Samples, limit: int | None
) -> tuple[Score, ...]:
    specs = ((task, skills[task.skill]) for task in tasks)
    by_skill = (
        skill_scores(task, spec.metrics, samples, limit, spec.attributes) for task, spec in specs
    )
    return tuple(score for scores in by_skill for score in scores)


def _write(out: Path, evaluation: Evaluation, tasks: list[SkillTask], samples: Samples) -> None:
    """The answers first: VARIANT.json says that all is there."""
    answers = [answer for task in tasks for answer in skill_answers(task, samples)]
    lines = "".join(canonical_json(answer) + "\n" for answer in answers)
    write_text(out / f"{evaluation.variant}.answers.jsonl", lines)
    write_evaluation(out, evaluation)


def _run(lm: Any, variant: str, tasks: list[SkillTask], settings: Settings) -> Samples:
    """lm-eval's logged samples by part of a skill.

    `lm_eval.evaluate`, not `simple_evaluate`: the latter adds 3 s of facts about the machine.
    """
    from lm_eval.evaluator import evaluate as harness

    parts = {name: part for task in tasks for name, part in task.parts.items()}
    for part in parts.values():
        part.set_fewshot_seed(seed=settings.seed)
        if part.get_config("num_fewshot") is None:
            part.set_config(key="num_fewshot", value=0)
    with _progress(lm, variant, _requests(parts, settings.limit)):
        results = harness(
            lm,
            {"tasks": parts, "groups": {}, "group_map": {}},
            limit=settings.limit,
            bootstrap_iters=0,  # standard errors are for the gate, on pairs
            log_samples=True,
            system_instruction=settings.system or None,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
        )
    return {name: results["samples"][name] for name in parts}


def _requests(parts: Mapping[str, Any], limit: int | None) -> int | None:
    """How many requests will be made; None where a part asks several of one document."""
    if any(part.OUTPUT_TYPE != "generate_until" for part in parts.values()):
        return None
    return sum(len(range(len(part.eval_docs))[:limit]) for part in parts.values())


@contextmanager
def _progress(lm: Any, variant: str, total: int | None) -> Iterator[None]:
    """A bar that counts finished requests: lm-eval's backends report each one to their cache hook."""
    from lm_eval.api.model import CacheHook

    class Counter(CacheHook):  # lm-eval is imported only here
        def add_partial(self, attr: str, req: Any, res: Any) -> None:
            progress.advance(bar)

    with bars() as progress:
        bar = progress.add_task(f"evaluate {variant}", total=total)
        lm.set_cache_hook(Counter(None))
        yield


def _check_decoding(lm: Any, max_new_tokens: int) -> None:
    """Refuse a Hugging Face model whose answers cannot end, or are longer than the model itself."""
    from lm_eval.models.huggingface import HFLM

    if not isinstance(lm, HFLM):
        return
    if lm.model.generation_config.eos_token_id is None:
        raise InputError(
            f"{lm.pretrained}: neither config.json nor generation_config.json has an eos_token_id, "
            "so no answer would end before max_new_tokens. "
            "Add the token that ends an assistant's turn."
        )
    if max_new_tokens >= lm.max_length:
        raise InputError(
            f"params.yaml: evaluate.max_new_tokens is {max_new_tokens}; "
            f"it must be below {lm.max_length}, the model's longest sequence, "
            "to leave room for the prompt."
        )


def _check_truncation(lm: Any, samples: Samples) -> None:
    """Refuse prompts that the Hugging Face backend would have cut from the left with no more than a log line."""
    from lm_eval.models.huggingface import HFLM

    if not isinstance(lm, HFLM):
        return
    cut = [
        f"{part}:{sample['doc_id']} ({length} tokens)"
        for part, rows in samples.items()
        for sample in rows
        for prompt, arguments, *_ in sample["arguments"]
        if isinstance(arguments, dict)
        and (length := len(lm.tok_encode(prompt))) > lm.max_length - arguments["max_gen_toks"]
    ]
    if cut:
        raise InputError(
            f"{len(cut)} prompts do not fit: with max_new_tokens they exceed the model's "
            f"{lm.max_length} tokens, and would be cut. The first: {cut[0]}. "
            "Shorten them, or lower evaluate.max_new_tokens in params.yaml."
        )


def _facts(settings: Settings, samples: Samples) -> dict[str, Any]:
    """All besides model and tasks that the scores depend on, as JSON values."""
    return {
        "backend": settings.backend,
        "model_args": dict(settings.model_args),
        "batch_size": settings.batch_size,
        "max_new_tokens": settings.max_new_tokens,
        "system": settings.system,
        "seed": settings.seed,
        "limit": settings.limit,
        "device": device_of(settings.backend, settings.model_args),
        # Over every prompt as the chat template renders it: a changed template shows here.
        "prompts_digest": digest_of(
            {part: [sample["prompt_hash"] for sample in rows] for part, rows in samples.items()}
        ),
    }


def _task_facts(task: SkillTask, samples: Samples) -> TaskFacts:
    scored = {(part, sample["doc_id"]) for part in task.parts for sample in samples[part]}
    return TaskFacts(task.name, task.digest, task.golden_digest, len(scored))
