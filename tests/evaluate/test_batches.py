"""Requests asked batch by batch are computed in the very batches that lm-eval makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.evaluate import batches
from pipeline.evaluate.backend import load_backend
from pipeline.evaluate.batches import generation_batches, in_batches
from pipeline.evaluate.kept import KeptAnswers

WORDS = ("order", "ticket", "refund", "ship", "late", "warm", "cold", "yes", "no", "queue")
KINDS = ("generate_until", "loglikelihood", "loglikelihood_rolling")


@pytest.fixture(scope="module")
def loaded(model: Path) -> Callable[[int | str], Any]:
    """lm-eval's backend of `model` by batch size, made once each."""
    made: dict[int | str, Any] = {}

    def load(batch_size: int | str) -> Any:
        if batch_size not in made:
            made[batch_size] = load_backend(
                "hf",
                {"device": "cpu", "dtype": "float32"},
                variant="base",
                model=str(model),
                adapter=None,
                batch_size=batch_size,
            )
        return made[batch_size]

    return load


def tried_out(loaded: Callable[[int | str], Any]) -> Any:
    """As on an accelerator: lm-eval itself looks for the largest batch, up to 4."""
    lm = loaded(7)
    lm.batch_size_per_gpu, lm.max_batch_size, lm.batch_schedule = "auto", 4, 1
    return lm


def texts(draw: random.Random, most: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


def requests(kind: str, seed: int) -> list[Any]:
    """25 requests, some of them the same; of two ways to generate, or several continuations of one text."""
    draw = random.Random(seed)
    made: list[tuple[Any, ...]] = []
    while len(made) < 25:
        text = texts(draw, 12)
        if kind == "generate_until":
            made.append((text, {"until": [draw.choice(("yes", "no"))], "max_gen_toks": 5}))
        elif kind == "loglikelihood":
            made += [(text, " " + texts(draw, 2)) for _ in range(draw.randint(1, 4))]
        else:
            made.append((texts(draw, 200),))  # some longer than the model
    return [SimpleNamespace(args=args, task_name="t") for args in [*made, made[0], made[3]]]


@contextmanager
def recorded(lm: Any) -> Iterator[list[Any]]:
    """The tokens of every batch that the model computes."""
    seen: list[Any] = []
    call, generate = lm._model_call, lm._model_generate

    def calls(tokens: Any, *rest: Any, **options: Any) -> Any:
        seen.append(tokens.tolist())
        return call(tokens, *rest, **options)

    def generates(context: Any, **options: Any) -> Any:
        seen.append((context.tolist(), options["attention_mask"].tolist(), options["stop"]))
        return generate(context=context, **options)

    lm._model_call, lm._model_generate = calls, generates
    try:
        yield seen
    finally:
        del lm._model_call, lm._model_generate


def kept_in(folder: Path) -> KeptAnswers:
    return KeptAnswers(folder / "samples.jsonl", "key", [], 1 << 30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 3, 4, 64, "auto", "tried out"])
def test_the_batches_and_the_answers_are_those_of_lm_eval(
    loaded: Any, kind: str, size: int | str, tmp_path: Path
) -> None:
    lm = tried_out(loaded) if size == "tried out" else loaded(size)
    asked = requests(kind, seed=len(str(size)))
    with recorded(lm) as plain:
        expected = getattr(lm, kind)(asked)
    kept, skipped = kept_in(tmp_path), [0]
    with recorded(lm) as ours, in_batches(lm, kept, lambda n: skipped.__setitem__(0, n)):
        assert getattr(lm, kind)(asked) == expected
    assert ours == plain
    assert skipped == [0]
    kept.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_what_was_kept_is_not_computed_again_and_the_answers_are_the_same(
    loaded: Any, kind: str, seed: int, tmp_path: Path
) -> None:
    lm, asked, skipped = loaded(3), requests(kind, seed), []
    kept = kept_in(tmp_path)
    with recorded(lm) as first, in_batches(lm, kept, skipped.append):
        expected = getattr(lm, kind)(asked)
    kept.close()
    path = tmp_path / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    left = sorted(random.Random(seed).sample(range(len(lines)), len(lines) // 2))
    path.write_bytes(b"".join(lines[i] for i in left))
    kept = kept_in(tmp_path)
    with recorded(lm) as second, in_batches(lm, kept, skipped.append):
        assert getattr(lm, kind)(asked) == expected
    kept.close()
    lost = [batch for i, batch in enumerate(first) if i not in left]
    assert second == lost
    if kind != "loglikelihood_rolling":  # whose windows are no requests
        assert sum(skipped) == kept.resumed > 0


def test_the_model_is_as_it_was_after_the_block(loaded: Any, tmp_path: Path) -> None:
    for size in (3, "auto"):
        lm = loaded(size)
        before = dict(vars(lm))
        with in_batches(lm, kept_in(tmp_path), lambda _: None):
            assert vars(lm) != before
        assert vars(lm) == before


def test_drawn_answers_are_not_kept_in_parts(loaded: Any, tmp_path: Path) -> None:
    import torch

    lm, asked = loaded(3), requests("generate_until", 1)
    for request in asked:
        request.args[1].update(do_sample=True, temperature=0.9)
    torch.manual_seed(1)
    expected = lm.generate_until(asked)
    torch.manual_seed(1)
    with in_batches(lm, kept_in(tmp_path), lambda _: None):
        assert lm.generate_until(asked) == expected
    assert not list(tmp_path.iterdir())


def test_requests_that_are_no_json_are_asked_all_at_once(loaded: Any, tmp_path: Path) -> None:
    lm = loaded(3)
    asked = [SimpleNamespace(args=("yes", {"max_gen_toks": 2, "stops": {1}}), task_name="t")]
    seen: list[Any] = []
    lm.generate_until = lambda requests, **_: seen.append(requests) or ["no"]
    try:
        with in_batches(lm, kept_in(tmp_path), lambda _: None):
            assert lm.generate_until(asked) == ["no"]
    finally:
        del lm.generate_until
    assert seen == [asked]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "expected"), [(2, [[2, 0], [1]]), ("auto", [[2, 0], [1]])])
def test_an_engine_that_mixes_settings_gets_the_longest_prompts_first(
    size: int | str, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "UNSIZED", 2)
    engine = SimpleNamespace(batch_size=size, tok_encode=str.split)
    prompts: Any = [("b b", {"until": ["x"]}), ("c", {}), ("a a a", {})]
    assert generation_batches(engine, prompts) == expected


def test_a_server_gets_prompts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SERVED", 2)
    prompts: Any = [("a", {}), ("b b", {}), ("c", {})]
    assert generation_batches(SimpleNamespace(), prompts) == [[0, 1], [2]]
