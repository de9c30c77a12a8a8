"""What is seen of an evaluation while it runs: how many requests it makes, and how many are answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from time import monotonic
from typing import Any

from pipeline.evaluate.tasks import SkillTask
from pipeline.progress import Meter, meter

Say = Callable[[str], None]  # takes a line without its end


@contextmanager
def watched(lm: Any, variant: str, requests: Mapping[str, int | None]) -> Iterator[Meter]:
    """A meter that counts finished requests of `lm` while the block runs.

    Args:
        lm: An lm-eval backend; it reports each request to its cache hook.
        variant: The name of what is evaluated.
        requests: How many there will be, by skill; None where that is not known.
    """
    from lm_eval.api.model import CacheHook

    counts = [count for count in requests.values() if count is not None]
    total = sum(counts) if len(counts) == len(requests) else None
    with meter(f"evaluate {variant}", total, "samples") as advance:

        class Counter(CacheHook):  # lm-eval is imported only here
            def add_partial(self, attr: str, req: Any, res: Any) -> None:
                advance()

        lm.set_cache_hook(Counter(None))
        yield advance


@contextmanager
def announced(say: Say, variant: str, skill: str, requests: int | None) -> Iterator[None]:
    """A line as a skill begins, and one as it ends."""
    counted = "samples" if requests is None else f"{requests:,} samples"
    say(f"{variant}: {skill}: evaluating {counted}.")
    began = monotonic()
    yield
    say(f"{variant}: {skill}: {counted} in {monotonic() - began:,.0f} s.")


def count_requests(task: SkillTask, limit: int | None) -> int | None:
    """How many requests a skill makes, `limit` documents of each part at most; None where its own code decides."""
    try:
        return sum(_of_part(part, limit) for part in task.parts.values())
    except Exception:  # the code is the task's: what is wrong with it is reported where it is run
        return None


def _of_part(part: Any, limit: int | None) -> int:
    repeats = part.get_config("repeats") or 1
    if part.OUTPUT_TYPE != "multiple_choice":
        return repeats * len(range(len(part.eval_docs))[:limit])
    # With mutual information each choice is scored without its question as well.
    times = 2 if "acc_mutual_info" in part._metric_fn_list else 1
    # A copy: a task's code may change its documents.
    choices = (len(part.doc_to_choice(deepcopy(doc))) for doc in islice(part.eval_docs, limit))
    return repeats * times * sum(choices)
