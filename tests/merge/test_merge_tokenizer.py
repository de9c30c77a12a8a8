"""Vocabularies and chat templates: which rows the output has, whose they are, and which files say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import HIDDEN, TEMPLATE, contents, merged, run
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.chat_templates import NAMED

Write = Callable[..., dict[str, Tensor]]
NAME = "model.embed_tokens.weight"
BASE = ["w0", "<s>", "</s>", "w1", "w2"]
OTHER = ["</s>", "w2", "w0", "<s>", "w1", "<tool>"]  # the base's in another order, and one more


def linear(*models: str, **more: Any) -> dict[str, Any]:
    return {
        "merge_method": "linear",
        "models": list(models),
        "parameters": {"weight": 1},
        **more,
    }


@pytest.fixture
def pair(model: Write) -> tuple[Tensor, Tensor]:
    """Embeddings of `base` (a padding row at the end) and of `other`."""
    base = model("base", tokens=BASE, rows=6)[NAME]
    return base, model("other", 1, tokens=OTHER, rows=6)[NAME]


def test_base_vocabulary_takes_rows_by_token_and_not_by_place(pair: tuple[Tensor, Tensor]) -> None:
    base, other = pair
    found = merged(**linear("base", "other", base_model="base", tokenizer_source="base"))[NAME]
    assert found.shape == (6, HIDDEN)
    for row, token in enumerate(BASE):
        torch.testing.assert_close(found[row], (base[row] + other[OTHER.index(token)]) / 2)


def test_padding_rows_are_kept(pair: tuple[Tensor, Tensor]) -> None:
    base, _ = pair
    found = merged(**linear("base", "other", base_model="base", tokenizer_source="base"))[NAME]
    assert torch.equal(found[5], base[5])  # row 5 has no token in the base; in the other it has one


def test_union_appends_new_tokens_with_their_sole_owners_row(pair: tuple[Tensor, Tensor]) -> None:
    _, other = pair
    found = merged(**linear("base", "other", base_model="base", tokenizer_source="union"))[NAME]
    assert torch.equal(found[5], other[5])
    tokenizer = json.loads(Path("out/tokenizer.json").read_text())
    assert tokenizer["added_tokens"][-1] == {
        "id": 5,
        "content": "<tool>",
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def test_union_grows_the_table_where_no_padding_is_left(model: Write) -> None:
    model("base", tokens=BASE, rows=5), model("other", 1, tokens=OTHER, rows=6)
    found = merged(**linear("base", "other", tokenizer_source="union"))[NAME]
    assert found.shape == (6, HIDDEN)
    assert json.loads(Path("out/config.json").read_text())["vocab_size"] == 6


def test_transformers_reads_the_union_and_finds_the_new_token(pair: tuple[Tensor, Tensor]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(**linear("base", "other", base_model="base", tokenizer_source="union"))
    tokenizer = AutoTokenizer.from_pretrained("out")
    assert tokenizer("w1 <tool> w2")["input_ids"] == [3, 5, 4]
    assert AutoModelForCausalLM.from_pretrained("out").config.vocab_size == 6


def test_a_missing_token_takes_the_bases_row_so_that_its_delta_is_zero(model: Write) -> None:
    base = model("base", tokens=BASE, rows=5)[NAME]
    model("small", 1, tokens=BASE[:4], rows=4)
    found = merged(
        merge_method="task_arithmetic",
        base_model="base",
        models=["small"],
        parameters={"weight": 1},
        tokenizer_source="base",
    )[NAME]
    assert torch.equal(found[4], base[4])


def test_a_token_of_several_models_but_not_of_the_base_defaults_to_their_mean(model: Write) -> None:
    model("base", tokens=BASE, rows=5)
    x = model("x", 1, tokens=[*BASE, "<t>"], rows=6)[NAME]
    y = model("y", 2, tokens=[*BASE, "<t>"], rows=6)[NAME]
    found = merged(
        merge_method="task_arithmetic",
        base_model="base",
        models=["x", "y"],
        parameters={"weight": 0.5},
        tokenizer_source="union",
    )[NAME]
    torch.testing.assert_close(found[5], (x[5] + y[5]) / 2)


def test_the_tokenizer_of_another_model_brings_its_order_and_its_ids(
    pair: tuple[Tensor, Tensor],
) -> None:
    base, other = pair
    found = merged(**linear("base", "other", base_model="base", tokenizer_source="other"))[NAME]
    torch.testing.assert_close(found[0], (base[2] + other[0]) / 2)
    assert (Path("out/tokenizer.json")).read_bytes() == Path("other/tokenizer.json").read_bytes()
    config = json.loads(Path("out/config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (3, 0)
    generation = json.loads(Path("out/generation_config.json").read_text())
    assert generation == {"eos_token_id": 0, "max_length": 40}


def test_an_equal_vocabulary_moves_nothing_and_copies_bytes(model: Write) -> None:
    model("base", tokens=BASE, rows=5), model("x", 1, tokens=BASE, rows=5)
    run("with", **linear("base", "x", base_model="base", tokenizer_source="union"))
    run("without", **linear("base", "x", base_model="base"))
    one, other = contents("with"), contents("without")
    assert {name for name in one if one[name] != other[name]} == {"merge.json"}


def test_the_table_is_padded_to_a_multiple(pair: tuple[Tensor, Tensor]) -> None:
    settings = {"source": "union", "pad_to_multiple_of": 8}
    found = merged(**linear("base", "other", base_model="base", tokenizer=settings))[NAME]
    assert found.shape == (8, HIDDEN)
    assert not found[6:].any()


@pytest.mark.parametrize("force", [False, True])
def test_a_rule_names_the_row_of_a_token(pair: tuple[Tensor, Tensor], force: bool) -> None:
    _, other = pair
    source = {"kind": "model_token", "model": "other", "token": "w2"}
    settings = {"source": "union", "tokens": {"<tool>": {"source": source, "force": force}}}
    found = merged(**linear("base", "other", base_model="base", tokenizer=settings))[NAME]
    own = other[OTHER.index("w2")] if force else other[5]
    torch.testing.assert_close(found[5], (other[OTHER.index("w2")] + own) / 2)


def test_a_rule_can_add_a_token_of_zeros(pair: tuple[Tensor, Tensor]) -> None:
    settings = {"source": "base", "tokens": {"<new>": {"source": {"kind": "zero"}}}}
    found = merged(**linear("base", "other", base_model="base", tokenizer=settings))[NAME]
    assert not found[5].any()
    assert (
        json.loads(Path("out/tokenizer.json").read_text())["added_tokens"][-1]["content"] == "<new>"
    )


def test_the_head_is_remapped_with_the_embeddings(model: Write) -> None:
    base = model("base", tokens=BASE, rows=6, tied=False)["lm_head.weight"]
    other = model("other", 1, tokens=OTHER, rows=6, tied=False)["lm_head.weight"]
    found = merged(**linear("base", "other", base_model="base", tokenizer_source="base"))
    torch.testing.assert_close(found["lm_head.weight"][0], (base[0] + other[2]) / 2)


@pytest.mark.usefixtures("pair")
def test_a_rule_for_a_token_that_its_model_lacks_is_refused() -> None:
    settings = {"source": "union", "tokens": {"<tool>": {"source": "base"}}}
    with pytest.raises(InputError, match=r"takes the row of '<tool>' from base, which has no such"):
        run(**linear("base", "other", tokenizer=settings))


@pytest.mark.usefixtures("pair")
def test_a_model_without_tokenizer_json_is_refused_where_rows_must_move() -> None:
    Path("other/tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"other: has no tokenizer\.json"):
        run(**linear("base", "other", tokenizer_source="union"))


@pytest.mark.usefixtures("pair")
def test_the_template_of_the_donor_is_kept_when_the_recipe_says_nothing() -> None:
    run(**linear("base", "base"))
    assert Path("out/chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.usefixtures("pair")
def test_auto_takes_the_template_that_most_models_have(model: Write) -> None:
    model("third", 2, tokens=BASE, rows=6)
    Path("base/chat_template.jinja").write_text("{{ 'another' }}")
    run(**linear("base", "other", "third", chat_template="auto"))
    assert Path("out/chat_template.jinja").read_text() == TEMPLATE


@pytest.mark.usefixtures("pair")
def test_a_template_in_the_recipe_replaces_every_other() -> None:
    Path("base/chat_template.jinja").unlink()
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ 'old' }}"}
    Path("base/tokenizer_config.json").write_text(json.dumps(config))
    run(**linear("base", "base", chat_template="{{ 'new' }}"))
    assert Path("out/chat_template.jinja").read_text() == "{{ 'new' }}"
    assert "chat_template" not in json.loads(Path("out/tokenizer_config.json").read_text())


@pytest.mark.usefixtures("pair")
def test_an_unknown_template_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe\.chat_template is 'chatmk'.*Did you mean chatml"):
        run(**linear("base", "base", chat_template="chatmk"))


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Bye"},
]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "chatml",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        ("mistral", "<s>[INST] Be brief.\n\nHi [/INST] Hello.</s>[INST] Bye [/INST]"),
        (
            "alpaca",
            "Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello.</s>\n\n"
            "### Instruction:\nBye\n\n### Response:\n",
        ),
        (
            "exaone",
            "[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello.[|endofturn|]\n"
            "[|user|]Bye\n[|assistant|]",
        ),
    ],
)
def test_a_named_template_renders_the_format_of_its_family(name: str, text: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        NAMED[name]
    )
    rendered = template.render(
        messages=CONVERSATION, add_generation_prompt=True, bos_token="<s>", eos_token="</s>"
    )
    assert rendered == text


def test_every_grammar_name_of_a_template_is_known() -> None:
    assert set(NAMED) == {"alpaca", "chatml", "exaone", "llama3", "mistral"}
