"""References: one grammar, one text form, and refusals that say what would be right."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.sources import Reference

NAMES = st.text("abcXYZ019._-/", min_size=1, max_size=20)
REVISIONS = st.none() | st.text("abcXYZ019-", min_size=1, max_size=12).filter(lambda t: t[0] != "-")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models/base", Reference("models/base")),
        ("acme/base@v1", Reference("acme/base", "v1")),
        ("acme/base@refs/pr/7", Reference("acme/base", "refs/pr/7")),
        ("base+tone", Reference("base", None, "tone")),
        ("acme/base@v1+acme/tone@v2", Reference("acme/base", "v1", "acme/tone", "v2")),
        ("models:/support/3", Reference("models:/support/3")),
        ("models:/support@champion", Reference("models:/support@champion")),
        ("models:/a@x+models:/b/2", Reference("models:/a@x", None, "models:/b/2")),
        ("  base  ", Reference("base")),
    ],
)
def test_text_is_read_by_the_grammar(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@given(NAMES, REVISIONS, st.none() | NAMES, REVISIONS)
def test_the_text_of_a_reference_parses_to_that_reference(
    model: str, revision: str | None, adapter: str | None, adapter_revision: str | None
) -> None:
    given_ = Reference(model, revision, adapter, adapter_revision if adapter else None)
    assert Reference.parse(str(given_)) == given_


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"model": {"path": "acme/base", "revision": "v1"}}, "acme/base@v1"),
        ({"model": {"path": "base"}, "lora": {"path": "tone"}}, "base+tone"),
        ({"model": "base@v1", "lora": {"path": "tone", "revision": "v2"}}, "base@v1+tone@v2"),
        ({"model": {"path": "models:/support@champion"}, "lora": None}, "models:/support@champion"),
        ({"model": "base", "lora": ["tone@v2", {"path": "json"}]}, "base+tone@v2+json"),
    ],
)
def test_a_mapping_means_the_same_as_its_text(mapping: dict[str, Any], text: str) -> None:
    assert Reference.parse(mapping) == Reference.parse(text)


@pytest.mark.parametrize(
    ("nonsense", "words"),
    [
        ("", "lacks a folder or hub id"),
        ("+tone", "lacks a folder or hub id"),
        ("base+", "lacks a folder or hub id"),
        ("base@", "'' is not a revision"),
        ("base@a@b", "'a@b' is not a revision"),
        ("base@../x", "is not a revision"),
        ("base@$(id)", "is not a revision"),
        ("base+tone+json+tone", "names the adapter tone twice"),
        ("models:/support", "Write models:/NAME/VERSION or models:/NAME@ALIAS"),
        ("models:/support/3/4", "Write models:/NAME/VERSION"),
        ("ba\0se", "lacks a folder or hub id"),
        (7, "must be text or a mapping"),
        (["base"], "must be text or a mapping"),
        ({}, "its key `model` is missing"),
        ({"modle": "base"}, "Did you mean model?"),
        ({"model": {"path": "b", "revison": "v1"}}, "Did you mean revision?"),
        ({"model": {"path": "a+b"}}, "rename the folder"),
        ({"model": {"path": "models:/a/1", "revision": "v1"}}, "leave revision out"),
        ({"model": 3}, "must be text, or a mapping of path and revision"),
        (
            {"model": {"path": "a", "revision": 3}},
            "model.revision is 3; it must be text. Put it in quotes.",
        ),
    ],
)
def test_nonsense_is_refused_with_the_way_out(nonsense: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Reference.parse(nonsense)
    assert words in str(caught.value)


def test_references_are_ordered_by_their_text() -> None:
    texts = ["b", "a+z", "a@v2", "a", "models:/m/1"]
    assert [str(r) for r in sorted(map(Reference.parse, texts))] == sorted(texts)


def test_a_reference_knows_what_lies_under_its_adapter() -> None:
    assert Reference.parse("base@v1+tone").base == Reference("base", "v1")


def test_several_adapters_are_kept_in_order() -> None:
    reference = Reference.parse("base@v1+tone@v2+json+models:/policy/3")
    assert str(reference) == "base@v1+tone@v2+json+models:/policy/3"
    assert [str(one) for one in reference.each()] == [
        "base@v1+tone@v2",
        "base@v1+json",
        "base@v1+models:/policy/3",
    ]


def test_a_reference_with_one_adapter_or_none_is_each_of_itself() -> None:
    for text in ("base", "base@v1+tone@v2"):
        assert Reference.parse(text).each() == (Reference.parse(text),)
