"""The requests of a skill in the batches that lm-eval would make of them, each answered once.

lm-eval sorts the requests of a skill by length and answers them batch by batch, all in one call. Here the same
batches are made first, and each is a call of its own: padding, and with it every answer, is the same, and
each finished batch can be kept. A batch that was kept is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.evaluate.generation import Fitted
from pipeline.evaluate.kept import KeptAnswers
from pipeline.facts import digest_of

# Requests of a call to an engine that schedules them itself: enough that it seldom waits for the last of them.
UNSIZED = 1024
SERVED = 256  # requests of a call to a server; of several at a time, few are open at its end

Batches = list[list[int]]  # numbers of requests


@contextmanager
def in_batches(lm: Any, kept: KeptAnswers, skip: Callable[[int], None]) -> Iterator[None]:
    """Let `lm` answer batch by batch while the block runs.

    Args:
        lm: A backend of lm-eval.
        kept: Where answers are taken from, and finished ones added to.
        skip: Told of every number of requests that need not be asked.
    """
    ask, batched = _Ask(kept, skip), {"generate_until": _generation}
    if hasattr(lm, "_loglikelihood_tokens"):  # below both ways of scoring a text
        batched["_loglikelihood_tokens"] = _likelihoods
    before = {name: vars(lm).get(name) for name in batched}
    for name, wrap in batched.items():
        setattr(lm, name, wrap(lm, getattr(lm, name), ask))
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                delattr(lm, name)
            else:
                setattr(lm, name, own)


class _Ask:
    """Answers requests from what is kept, and from the model where that does not have them."""

    def __init__(self, kept: KeptAnswers, skip: Callable[[int], None]) -> None:
        self._kept, self._skip = kept, skip
        self._before = 0  # requests of earlier calls: the same text may be asked for again

    def __call__(
        self,
        requests: Sequence[Any],
        digests: Sequence[str],
        batches: Batches,
        method: Callable[[list[Any]], list[Any]],
        skip: bool = True,
    ) -> list[Any]:
        """The answers in the order of `requests`; `digests` are theirs, `batches` a partition of their numbers."""
        found: list[Any] = [None] * len(requests)
        for batch in batches:
            name = digest_of([[self._before + i, digests[i]] for i in batch])
            answers = self._kept.get(name, len(batch))
            if answers is None:
                answers = method([requests[i] for i in batch])
                self._kept.add(name, answers)
            elif skip:
                self._skip(len(batch))
            for i, answer in zip(batch, answers, strict=True):
                found[i] = answer
        self._before += len(requests)
        return found


def _generation(lm: Any, method: Callable[..., Any], ask: _Ask) -> Callable[..., Any]:
    def generate_until(requests: Sequence[Any], **options: Any) -> Any:
        digests = _digests([request.args for request in requests])
        # A drawn answer depends on all that were drawn before it.
        if digests is None or any(_draws(request.args[1]) for request in requests):
            return method(requests, **options)
        answer = method
        if isinstance(method, Fitted):  # to all requests, not to a batch of them
            method.fit(requests)
            answer = method.method
        with _one_size(lm):
            batches = generation_batches(lm, [request.args for request in requests])
            return ask(requests, digests, batches, lambda batch: answer(batch, **options))

    return generate_until


def _likelihoods(lm: Any, method: Callable[..., Any], ask: _Ask) -> Callable[..., Any]:
    def loglikelihood_tokens(requests: Sequence[Any], *rest: Any, **options: Any) -> Any:
        digests = _digests(requests)
        if not digests:
            return method(requests, *rest, **options)

        def answer(batch: list[Any]) -> Any:
            return method(batch, *rest, **options)

        if requests[0][0] is None:  # windows of longer texts, which come batch by batch already
            found = ask(requests, digests, [list(range(len(requests)))], answer, skip=False)
        else:
            with _one_size(lm, requests):
                found = ask(requests, digests, likelihood_batches(lm, requests), answer)
        return [(float(likelihood), bool(greedy)) for likelihood, greedy in found]

    return loglikelihood_tokens


def generation_batches(lm: Any, arguments: Sequence[tuple[str, Mapping[str, Any]]]) -> Batches:
    """The batches in which `lm` answers prompts: longest first, each prompt (text, generation settings).

    Those of one batch of the Hugging Face backend share their settings. An engine that sizes its batches itself gets
    UNSIZED prompts in a call, a server SERVED in their order.
    """
    from lm_eval.models.huggingface import HFLM
    from lm_eval.models.utils import Collator

    if not _in_process(lm):
        return _in_order(len(arguments))
    numbered: Any = [(*argument[:2], number) for number, argument in enumerate(arguments)]
    together = Collator(
        numbered,
        sort_fn=lambda one: (-len(lm.tok_encode(one[0])), one[0]),
        group_fn=lambda one: one[1],
        group_by="gen_kwargs" if isinstance(lm, HFLM) else None,
    )
    made: Any = together.get_batched(n=_size(lm))
    return [[number for *_, number in batch] for batch in made]


def likelihood_batches(lm: Any, requests: Sequence[Any]) -> Batches:
    """The batches in which `lm` scores texts, each (names, tokens before, tokens to score).

    The Hugging Face backend computes texts that differ in their last token alone, as the choices of a question, once.
    """
    if not _in_process(lm):
        return _in_order(len(requests))
    shared = getattr(lm, "logits_cache", False) and lm.backend == "causal"
    groups: dict[Any, list[int]] = {}
    for number, (_, before, scored) in enumerate(requests):
        groups.setdefault(tuple(before + scored[:-1]) if shared else number, []).append(number)

    def longest_first(group: list[int]) -> tuple[int, list[int]]:
        _, before, scored = requests[max(group, key=lambda number: len(requests[number][2]))]
        return -len(before + scored), before + scored

    ordered, size = sorted(groups.values(), key=longest_first), _size(lm)
    return [
        [number for group in ordered[start : start + size] for number in group]
        for start in range(0, len(ordered), size)
    ]


def _in_process(lm: Any) -> bool:
    """Whether `lm` computes what it is given itself, in batches, rather than asks a server for it."""
    from lm_eval.models.api_models import TemplateAPI

    has_batches = hasattr(lm, "batch_size") and hasattr(lm, "tok_encode")
    return has_batches and not isinstance(lm, TemplateAPI)


def _size(lm: Any) -> int:
    return UNSIZED if lm.batch_size == "auto" else int(lm.batch_size)


def _in_order(count: int) -> Batches:
    return [list(range(start, min(start + SERVED, count))) for start in range(0, count, SERVED)]


@contextmanager
def _one_size(lm: Any, texts: Sequence[Any] = ()) -> Iterator[None]:
    """Let the Hugging Face backend try out its largest batch once, where it is "auto", rather than at each call.

    With the longest of `texts` to score; without any, with the longest that the model takes.
    """
    from lm_eval.models.huggingface import HFLM

    if not isinstance(lm, HFLM) or lm.batch_size != "auto":
        yield
        return
    longest = max(texts, key=lambda text: len(text[1]) + len(text[2]), default=None)
    lm.batch_size_per_gpu = lm._detect_batch_size([longest] if longest else None)
    try:
        yield
    finally:
        lm.batch_size_per_gpu = "auto"


def _draws(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("do_sample") or settings.get("temperature"))


def _digests(requests: Sequence[Any]) -> list[str] | None:
    """A digest of each request; None where one is not JSON, as an image."""
    try:
        return [digest_of(list(request)) for request in requests]
    except (TypeError, ValueError):
        return None
