"""The fuzz target itself: it finds nothing in the reader, and finds what is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz_header import Fuzzer, fuzz

from pipeline.sources.tensors import TensorInfo, read_header


def unguarded(file: Path) -> tuple[TensorInfo, ...]:
    """The reader, had it forgotten that an entry may be anything."""
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert all(entry["dtype"] for entry in header.values())
    return read_header(file)


def careless(file: Path) -> tuple[TensorInfo, ...]:
    """The reader, had it forgotten the last tensor."""
    return read_header(file)[:-1]


def test_a_short_run_finds_nothing_and_sees_most_kinds_of_outcome(tmp_path: Path) -> None:
    fuzzer = Fuzzer(0, tmp_path)
    assert [wrong for _ in range(2000) if (wrong := fuzzer.step())] == []
    assert fuzzer.accepted > 100
    assert len(fuzzer.kinds) > 20


@pytest.mark.parametrize(
    ("reader", "words"), [(unguarded, "the reader raises"), (careless, "bytes over")]
)
def test_a_planted_fault_is_found_and_its_input_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: object, words: str
) -> None:
    (save := tmp_path / "save").mkdir()
    assert fuzz(Fuzzer(0, tmp_path, reader), 30.0, save) == 1  # type: ignore[arg-type]
    assert words in capsys.readouterr().out
    assert len(list(save.iterdir())) == 1


def test_the_same_seed_makes_the_same_inputs(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (folder := tmp_path / name).mkdir()
        fuzzer = Fuzzer(3, folder)
        made.append([fuzzer.step() or fuzzer.input for _ in range(100)])
    assert made[0] == made[1]
