"""Patterns of adapters: they match what Python's `re` matches as PEFT calls it, but in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.sources.patterns import matcher

ATOMS = ["a", "b", ".", r"\.", r"\d", "0", "[ab]", "[^a.]", r"\w", "^", "$"]
PATTERNS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map(lambda p: f"({p})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{1,}", "{,2}"])).map(
            lambda p: f"(?:{p[0]}){p[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(PATTERNS, st.lists(st.text("ab.0", max_size=6), min_size=1, max_size=5))
def test_a_pattern_matches_the_end_of_a_path_as_in_peft(pattern: str, paths: list[str]) -> None:
    assume(len(pattern) <= 200)
    test = matcher(pattern)
    for path in paths:
        expected = re.match(rf"(.*\.)?({pattern})$", path) is not None
        assert test(path) == expected, (pattern, path)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a*)*b", "a?" * 60 + "a" * 60, "(.*)*(.*)*(.*)*b", "((a+)+)+b"],
)
def test_a_pattern_that_would_take_for_ever_is_matched_at_once(pattern: str) -> None:
    assert not matcher(pattern)("x." + "a" * 400 + "c")


REFUSED = {
    r"(a)\1": "not supported",
    "(?=a)": "not supported",
    "(?i)a": "not supported",
    "(?P<n>a)": "not supported",
    r"\ba": "not supported",
    "a*+": "not supported",
    "a{1000}{1000}": "multiple repeat",
    "(((a{99}){99}){99})": "its counted repeats are too many",
    "((){9999}){9999}a{2001}": "its counted repeats are too many",
    "(" * 30 + "a" + ")" * 30: "nested more than 20 deep",
    "a" * 201: "longer than 200",
    "(": "missing",
    "[": "unterminated",
    "*": "nothing to repeat",
    "a{2,1}": "min repeat greater",
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_is_none_or_goes_beyond_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=REFUSED[pattern]):
        matcher(pattern)
