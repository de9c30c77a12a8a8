"""The strict reader of safetensors: it agrees with the format's library, and refuses what lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from source_files import entry, raw

from pipeline.errors import CorruptArtifactError
from pipeline.sources import TensorInfo, read_header, read_tensor
from pipeline.sources.tensors import DTYPES, MAX_HEADER_BYTES, read_elements


def write(folder: Path, content: bytes) -> Path:
    file = folder / "weights.safetensors"
    file.write_bytes(content)
    return file


def refusal(folder: Path, content: bytes) -> str:
    with pytest.raises(CorruptArtifactError) as caught:
        read_header(write(folder, content))
    assert "weights.safetensors" in str(caught.value)
    assert "fetch or write it again" in str(caught.value)
    return str(caught.value)


def test_every_dtype_is_read_as_the_formats_own_library_reads_it(tmp_path: Path) -> None:
    stored = {
        code: torch.arange(6, dtype=torch.uint8).to(getattr(torch, name)).reshape(2, 3)
        for code, (_, name) in DTYPES.items()
        if code != "F8_E8M0"
    }
    file = tmp_path / "weights.safetensors"
    save_file({**stored, "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}, file)
    expected = load_file(file)
    found = {info.name: read_tensor(info) for info in read_header(file)}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert (
            found[name].view(torch.uint8).tolist() == tensor.view(torch.uint8).tolist()
            if tensor.dim()
            else True
        )


def test_a_part_of_a_tensor_is_read_without_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"w": torch.arange(12.0).reshape(3, 4)}, file)
    (info,) = read_header(file)
    assert read_elements(info, 5, 3).tolist() == [5.0, 6.0, 7.0]


def test_offsets_are_bytes_from_the_start_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, raw({"a": entry([2], 0, 8)}, b"\0" * 8))
    (info,) = read_header(file)
    assert info == TensorInfo("a", "F32", (2,), file, file.stat().st_size - 8, file.stat().st_size)


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_a_file_too_short_for_a_header_is_refused(tmp_path: Path, size: int) -> None:
    assert f"has {size} bytes; a file with a header has 10 or more" in refusal(
        tmp_path, b"\0" * size
    )


@pytest.mark.parametrize("length", [10**9, 2**63, MAX_HEADER_BYTES + 1])
def test_an_absurd_header_length_is_refused_without_reading_it(tmp_path: Path, length: int) -> None:
    assert f"its header claims {length:,} bytes" in refusal(tmp_path, raw({}, b"", length))


def test_a_truncated_file_is_refused_naming_the_tensor(tmp_path: Path) -> None:
    whole = raw({"first": entry([2], 0, 8), "last": entry([4], 8, 24)}, b"\0" * 24)
    words = refusal(tmp_path, whole[:-4])
    assert "tensor 'last' has data_offsets [8, 24]" in words
    assert "first" not in words


def test_a_file_truncated_after_its_header_was_read_is_refused_on_reading(tmp_path: Path) -> None:
    file = write(tmp_path, raw({"a": entry([4], 0, 16)}, b"\0" * 16))
    (info,) = read_header(file)
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(CorruptArtifactError, match="a ends after 10 of 16 bytes"):
        read_tensor(info)


@pytest.mark.parametrize(
    ("header", "size", "words"),
    [
        (b"{not json", 0, "not valid JSON"),
        (b"[1, 2]", 0, "not a JSON object"),
        (b"[" * 100_000, 0, "not valid JSON"),
        (b'{"a": %s}' % (b"9" * 5000), 0, "not valid JSON"),
        (b'{"a": 1, "a": 2}', 0, "a name occurs twice"),
        (
            {"a": entry([2], 0, 8), "b": entry([2], 4, 12)},
            12,
            "'b' overlaps the one before it by 4",
        ),
        ({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, 8, "'b' overlaps the one before it by 8"),
        ({"a": entry([2], 4, 12)}, 12, "4 bytes before tensor 'a' belong to no tensor"),
        ({"a": entry([2], 0, 8)}, 11, "the last 3 bytes belong to no tensor"),
        ({"a": entry([2], 8, 0)}, 8, "must rise and stay within the 8 bytes"),
        ({"a": entry([2], -8, 0)}, 8, "must rise and stay within the 8 bytes"),
        ({"a": entry([3], 0, 8)}, 8, "'a' of F32 [3] needs 12 bytes; its data_offsets span 8"),
        ({"a": entry([2**40, 2**40], 0, 8)}, 8, "its data_offsets span 8"),
        ({"a": entry([1] * 99, 0, 4)}, 4, "not a short list of whole numbers"),
        ({"a": entry([True], 0, 4)}, 4, "not a short list of whole numbers"),
        ({"a": entry([2], 0, 8, "F31")}, 8, "dtype 'F31'; known are BOOL"),
        ({"a": entry([2], 0, 8, ["F32"])}, 8, "dtype ['F32']"),  # type: ignore[arg-type]
        ({"a": {"dtype": "F32", "shape": [2]}}, 8, "must have dtype, shape and data_offsets"),
        ({"a": 3}, 0, "must have dtype, shape and data_offsets"),
        ({"a\nb": entry([2], 0, 8)}, 8, "a name that cannot be printed"),
        (b'{"\\ud800": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}', 4, "printed"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, size: int, words: str) -> None:
    assert words in refusal(tmp_path, raw(header, b"\0" * size))


def test_all_faulty_tensors_are_reported_together(tmp_path: Path) -> None:
    words = refusal(tmp_path, raw({"a": entry([9], 0, 8), "b": entry([9], 8, 16)}, b"\0" * 16))
    assert "tensor 'a'" in words
    assert "tensor 'b'" in words


def test_metadata_is_not_a_tensor(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "a": entry([1], 0, 4)}
    assert [i.name for i in read_header(write(tmp_path, raw(header, b"\0" * 4)))] == ["a"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
ENTRIES = st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "x"]), JSON)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=4), ENTRIES, max_size=3), st.binary(max_size=16))
def test_no_header_brings_the_reader_down(tmp_path: Path, header: Any, data: bytes) -> None:
    file = write(tmp_path, raw(json.dumps(header).encode(), data))
    try:
        total = sum(info.end - info.start for info in read_header(file))
    except CorruptArtifactError:
        return
    assert total == len(data)
