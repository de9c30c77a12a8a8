"""Golden sets are read as they are written, and every fault is reported with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluate.golden import read_golden

Write = Callable[[Path, list[Any]], Path]


def test_rows_keep_their_own_keys_and_order(tmp_path: Path, write_rows: Write) -> None:
    rows = [{"id": "b", "target": {"x": 1}}, {"id": "a", "target": {"y": [2]}}]
    assert read_golden(write_rows(tmp_path / "g.jsonl", rows)) == tuple(rows)


def test_a_line_separator_inside_a_string_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text('{"id": "a", "prompt": "one\u2028two"}\n', encoding="utf-8")
    assert read_golden(path)[0]["prompt"] == "one\u2028two"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("[1]\n", "g.jsonl:1: is a list"),
        ('{"id": "a"}\n{"id": 7}\n', "g.jsonl:2: id is 7; it must be a non-empty string"),
        ('{"prompt": "p"}\n', "id is None"),
        ('{"id": "a"}\n\n{"id": "b"}\n', "g.jsonl:2: not JSON"),
        ('{"id": "a", "x": NaN}\n', "NaN is not JSON"),
        ('{"id": "a"}\n{"id": "a"}\n', "id 'a' occurs more than once"),
    ],
)
def test_a_faulty_golden_set_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_golden(path)


def test_all_faults_are_reported_together_but_only_the_first_ten(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    path.write_text("nonsense\n" * 12, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read_golden(path)
    assert str(raised.value).count("not JSON") == 10
    assert "and 2 more" in str(raised.value)


def test_a_missing_or_undecodable_file_is_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such golden set"):
        read_golden(tmp_path / "g.jsonl")
    (tmp_path / "g.jsonl").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(InputError, match="not UTF-8 at byte 8"):
        read_golden(tmp_path / "g.jsonl")
