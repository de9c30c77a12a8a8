"""What makes two models the same kind of model: each hash covers what it says, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from source_files import WEIGHTS, checkpoint, safetensors

from pipeline.errors import CorruptArtifactError
from pipeline.sources import (
    Checkpoint,
    architecture_hash,
    chat_template_hash,
    licence,
    tokenizer_hash,
)

TOKENIZER = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},
    "added_tokens": [{"id": 3, "content": "<end>"}],
    "pre_tokenizer": {"type": "ByteLevel"},
    "padding": None,
}


def with_tokenizer(folder: Path, content: Any = TOKENIZER, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", **config}))
    return folder


@pytest.mark.parametrize(
    "incidental", [{"torch_dtype": "bfloat16"}, {"use_cache": False}, {"rope_scaling": None}]
)
def test_what_leaves_the_forward_pass_alone_is_not_architecture(
    tmp_path: Path, incidental: dict[str, Any]
) -> None:
    one = Checkpoint.open(checkpoint(tmp_path / "one"))
    other = Checkpoint.open(checkpoint(tmp_path / "other", **incidental))
    assert architecture_hash(one) == architecture_hash(other)


def test_an_unknown_field_counts_as_architecture(tmp_path: Path) -> None:
    one = Checkpoint.open(checkpoint(tmp_path / "one"))
    other = Checkpoint.open(checkpoint(tmp_path / "other", a_field_of_tomorrow=1))
    assert architecture_hash(one) != architecture_hash(other)


def test_the_architecture_hash_covers_names_and_shapes_but_not_values(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    before = architecture_hash(Checkpoint.open(folder))
    norm = "model.norm.weight"
    for weights, same in (
        ({**WEIGHTS, norm: ((2,), [9.0, 9.0])}, True),
        ({**WEIGHTS, norm: ((1, 2), [1.0, 1.0])}, False),
        ({**WEIGHTS, "extra": ((1,), [1.0])}, False),
    ):
        (folder / "model.safetensors").write_bytes(safetensors(weights))
        assert (architecture_hash(Checkpoint.open(folder)) == before) is same


@pytest.mark.parametrize(
    "changed",
    [
        {"model": {**TOKENIZER["model"], "vocab": {"a": 1, "b": 0, "ab": 2}}},  # type: ignore[dict-item]
        {"model": {**TOKENIZER["model"], "merges": []}},  # type: ignore[dict-item]
        {"added_tokens": []},
        {"pre_tokenizer": {"type": "Whitespace"}},
    ],
)
def test_the_tokenizer_hash_covers_all_that_decides_ids(tmp_path: Path, changed: Any) -> None:
    before = tokenizer_hash(with_tokenizer(tmp_path / "one"))
    assert tokenizer_hash(with_tokenizer(tmp_path / "other", {**TOKENIZER, **changed})) != before


def test_the_tokenizer_hash_covers_special_tokens(tmp_path: Path) -> None:
    before = tokenizer_hash(with_tokenizer(tmp_path / "one"))
    assert tokenizer_hash(with_tokenizer(tmp_path / "other", eos_token="b")) != before
    written_out = {"content": "<end>", "lstrip": False}
    assert tokenizer_hash(with_tokenizer(tmp_path / "same", eos_token=written_out)) == before


def test_spelling_of_merges_and_padding_do_not_matter_to_the_tokenizer_hash(tmp_path: Path) -> None:
    model = {**TOKENIZER["model"], "merges": [["a", "b"]]}  # type: ignore[dict-item]
    other = with_tokenizer(tmp_path / "b", {**TOKENIZER, "model": model, "padding": {"length": 8}})
    assert tokenizer_hash(with_tokenizer(tmp_path / "a")) == tokenizer_hash(other)


def test_a_tokenizer_without_json_is_known_by_its_files(tmp_path: Path) -> None:
    assert tokenizer_hash(tmp_path) is None
    (tmp_path / "tokenizer.model").write_bytes(b"1")
    before = tokenizer_hash(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"2")
    assert before is not None
    assert tokenizer_hash(tmp_path) != before


@pytest.mark.parametrize(
    "content",
    [{}, {"model": 3}, {"model": {"vocab": 3}}, {"model": {"vocab": {"a": "x", "b": []}}}],
)
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CorruptArtifactError, match=r"tokenizer.json: is not a tokenizer"):
        tokenizer_hash(with_tokenizer(tmp_path / "t", content))


def test_the_chat_template_hash_is_of_its_text_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "chat_template.jinja").write_text("{{ x }}")
    field = with_tokenizer(tmp_path / "field", chat_template="{{ x }}")
    assert chat_template_hash(tmp_path / "file") == chat_template_hash(field)
    assert chat_template_hash(with_tokenizer(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlicense: Apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: acme-internal\n---\n", "acme-internal"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit and apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("# Model\n\nlicense: mit", None),
        ("---\nlicense: !!python/object/apply:os.system [id]\n---\n", None),
        ("---\n{[\n---\n", None),
        ("---\n- a\n---\n", None),
        ("---\na: &a [x, x]\nlicense: &b [*a, *a]\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_model_card(
    tmp_path: Path, readme: str, expected: str | None
) -> None:
    (tmp_path / "README.md").write_text(readme)
    assert licence(tmp_path) == expected


def test_a_licence_is_known_by_its_text_where_no_card_states_it(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("   Apache License\n   Version 2.0, January 2004\n")
    assert licence(tmp_path) == "apache-2.0"
    (tmp_path / "config.json").write_text('{"license": "MIT"}')
    assert licence(tmp_path) == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: gemma\n---\n")
    assert licence(tmp_path) == "gemma"
