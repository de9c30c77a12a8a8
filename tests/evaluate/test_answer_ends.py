"""Where an answer ends, and how many answers are made together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate import Settings, SkillSpec, evaluate, generation, runner
from pipeline.evaluate.backend import load_backend
from pipeline.evaluate.generation import LARGEST_BATCH, batch_that_fits, ended_row_by_row

PROMPTS = ("late refund order", "warm", "queue yes no ticket", "ship cold late")


@pytest.fixture
def loaded(model: Path) -> Callable[..., Any]:
    """lm-eval's backend over `model`."""

    def loaded(folder: Path = model, batch_size: int | str = 4, **arguments: Any) -> Any:
        return load_backend(
            "hf", arguments, variant="x", model=str(folder), adapter=None, batch_size=batch_size
        )

    return loaded


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """[rows, tokens] of every forward pass of a Llama."""
    from transformers import LlamaForCausalLM

    passes: list[tuple[int, int]] = []
    forward = LlamaForCausalLM.forward

    def counted(self: Any, input_ids: Any = None, **rest: Any) -> Any:
        passes.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    return passes


def answers(lm: Any, until: list[str], tokens: int = 24) -> list[str]:
    from lm_eval.api.instance import Instance

    arguments = {"until": until, "do_sample": False, "max_gen_toks": tokens}
    requests = [
        Instance("generate_until", {}, (prompt, {**arguments, "until": [*until]}), 0)
        for prompt in PROMPTS
    ]
    return list(lm.generate_until(requests, disable_tqdm=True))


def test_a_batch_ends_with_its_last_answer(loaded: Any, steps: list[Any]) -> None:
    lm = loaded()
    lm.model.generation_config.eos_token_id = [*range(len(lm.tokenizer))]
    with ended_row_by_row(lm):
        answers(lm, [])
    assert len(steps) == 1


def test_an_end_token_is_not_looked_for_in_decoded_text(
    loaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = loaded()
    expected = answers(lm, [])

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded at a step")

    monkeypatch.setattr(type(lm.tokenizer), "batch_decode", refused)
    with ended_row_by_row(lm):
        assert answers(lm, []) == expected
    with pytest.raises(AssertionError, match="decoded at a step"):
        answers(lm, [])


@pytest.mark.parametrize("until", [["late"], ["order", "cold"], ["yes no", "queue", "warm"]])
def test_stop_texts_cut_as_lm_eval_cuts_in_no_more_steps(
    loaded: Any, steps: list[Any], until: list[str]
) -> None:
    lm = loaded()
    expected, needed = answers(lm, until), len(steps)
    del steps[:]
    with ended_row_by_row(lm):
        assert answers(lm, until) == expected
    assert len(steps) <= needed


def test_rows_that_end_by_different_texts_end_their_batch(loaded: Any, steps: list[Any]) -> None:
    lm = loaded()
    begun = answers(lm, [], 4)
    until = sorted({answer.split()[0] for answer in begun})  # fails where an answer has no word yet
    assert len(until) > 1
    del steps[:]
    with ended_row_by_row(lm):
        ended = answers(lm, until)
    assert len(steps) <= 4
    assert not any(text in answer for answer in ended for text in until)
    assert answers(lm, until) == ended
    assert len(steps) > 8  # lm-eval goes on until one of the texts stands in every row


def test_lm_eval_is_left_as_it_was(loaded: Any) -> None:
    from lm_eval.models import huggingface

    lm, before = loaded(), huggingface.stop_sequences_criteria
    with ended_row_by_row(lm):
        assert huggingface.stop_sequences_criteria is not before
    assert huggingface.stop_sequences_criteria is before
    with pytest.raises(RuntimeError), ended_row_by_row(lm):
        raise RuntimeError
    assert huggingface.stop_sequences_criteria is before


def test_the_answers_of_a_model_that_thinks_are_left_to_lm_eval(loaded: Any) -> None:
    from lm_eval.models import huggingface

    before = huggingface.stop_sequences_criteria
    with ended_row_by_row(loaded(think_end_token="cold")):
        assert huggingface.stop_sequences_criteria is before


@pytest.fixture
def unclosed(model: Path, tmp_path: Path) -> Path:
    """`model`, whose chat template ends an answer with <end> and whose answers end with <pad>."""
    from transformers import AutoTokenizer

    folder = shutil.copytree(model, tmp_path / "unclosed")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.eos_token = "<pad>"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.save_pretrained(folder)
    _set_ends(folder, [tokenizer.pad_token_id])
    return folder


def _set_ends(folder: Path, ends: list[int]) -> None:
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": ends}))


def test_a_template_whose_end_does_not_end_an_answer_is_refused(
    loaded: Any, unclosed: Path
) -> None:
    with pytest.raises(InputError, match=r"ends an answer with '<end>' \(token 4\).*\(\[0\]\)"):
        generation.check_decoding(loaded(unclosed), 6)


def test_the_end_of_the_template_may_be_one_of_several(loaded: Any, unclosed: Path) -> None:
    _set_ends(unclosed, [0, 4])
    generation.check_decoding(loaded(unclosed), 6)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }} {% endfor %}",
        "{{ raise_exception('no assistant') }}",
        "{% for m in messages %}<user> {{ m.content }} order {% endfor %}",
    ],
)
def test_a_template_that_marks_no_end_is_allowed(
    loaded: Any, unclosed: Path, template: str
) -> None:
    (unclosed / "chat_template.jinja").write_text(template)
    generation.check_decoding(loaded(unclosed), 6)


def config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    sizes = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
        "intermediate_size": 96,
        "vocab_size": 1000,
    }
    return LlamaConfig(**{**sizes, **changes})


def test_a_batch_fills_an_eighth_of_the_memory() -> None:
    # Per token 2 * 2 layers * 2 heads * 16 * 4 bytes of keys and values, and (4 * 64 + 2 * 96) * 4 between
    # layers: 2,304; 100 tokens and one row of 1,000 logits of 4 bytes make 234,400 bytes a sequence.
    assert batch_that_fits(config(), 4, 100, 8 * 16 * 234_400, every_token=False) == 16
    assert batch_that_fits(config(), 4, 100, 8 * 16 * 234_400 - 1, every_token=False) == 8
    # Scoring given text makes logits for each token, twice: 230,400 + 100 * 8,000.
    assert batch_that_fits(config(), 4, 100, 8 * 4 * 1_030_400, every_token=True) == 4


@pytest.mark.parametrize(("free", "expected"), [(0, 1), (1, 1), (2**60, LARGEST_BATCH)])
def test_a_batch_has_one_sequence_at_least_and_a_largest_size(free: int, expected: int) -> None:
    assert batch_that_fits(config(), 4, 100, free, every_token=False) == expected


def test_auto_sizes_the_batches_of_a_skill_by_its_longest_request(
    loaded: Any, steps: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipeline.evaluate.backend as backend

    monkeypatch.setattr(backend, "device", lambda: "cpu")
    lm = loaded(batch_size="auto")
    longest = max(len(lm.tok_encode(prompt)) for prompt in PROMPTS)
    asked: list[int] = []

    def two(_: Any, __: int, tokens: int, ___: int, *, every_token: bool) -> int:
        asked.append(tokens)
        assert not every_token
        return 2

    monkeypatch.setattr(generation, "batch_that_fits", two)
    answers(lm, [])
    assert asked == [longest + 24]
    assert {rows for rows, _ in steps} == {2}


def test_auto_scores_as_a_number_does_and_is_on_record(
    model: Path, task: Path, golden: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = []
    for batch_size in (64, "auto"):
        out = tmp_path / str(batch_size)
        evaluation = evaluate(
            "base",
            str(model),
            adapter=None,
            model_digest="digest",
            skills={"words": SkillSpec(str(task), golden, ("length",))},
            settings=Settings(batch_size=batch_size, max_new_tokens=6),
            out=out,
        )
        assert evaluation.settings["batch_size"] == batch_size
        files.append((out / "base.samples.jsonl").read_bytes())
    assert files[0] == files[1]
    assert capfd.readouterr() == ("", "")


def test_the_memory_decides_the_key_of_auto_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.evaluate.tasks import SkillTask

    task = SkillTask("s", "name", "digest", "golden", ({"id": "a"},), {})
    specs = {"s": SkillSpec("task", None, ("exact",))}
    for batch_size, distinct in ((8, 1), ("auto", 2)):
        names = set()
        for free in (2**30, 2**31):
            monkeypatch.setattr(runner, "memory", lambda free=free: free)
            settings = Settings(batch_size=batch_size)
            names.add(runner._keys([task], specs, "digest", settings)["s"].name)
        assert len(names) == distinct


@pytest.mark.parametrize("backend", ["sglang", "local-chat-completions"])
def test_auto_is_refused_where_the_backend_does_not_have_it(backend: str) -> None:
    with pytest.raises(InputError, match=f"batch_size is auto, which {backend} does not have"):
        load_backend(backend, {}, variant="x", model="x", adapter=None, batch_size="auto")


@pytest.mark.parametrize("size", ["all", "auto:4", None])
def test_any_other_word_for_a_batch_is_refused(size: Any) -> None:
    with pytest.raises(InputError, match="must be a whole number"):
        load_backend("hf", {}, variant="x", model="x", adapter=None, batch_size=size)


def test_memory_is_what_this_machine_or_group_allows() -> None:
    from pipeline.evaluate.runtime import memory

    assert 2**20 < memory() < 2**50
