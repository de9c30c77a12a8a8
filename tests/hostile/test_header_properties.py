"""Headers in general: what is whole is read as the format's own library reads it, all else is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import CorruptArtifactError
from pipeline.sources import TensorInfo, read_header
from pipeline.sources.tensors import DTYPES

deterministic = settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)
# What no header has in its place.
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(-9, 9), max_size=3),
    st.just([2**40, 2**40]),
    st.just({"shape": [1]}),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """A good header and its data: tensors of any dtype in any order, JSON written in any manner."""
    header: dict[str, Any] = {}
    data = b""
    for name in draw(st.lists(NAMES, max_size=5, unique=True)):
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        count = DTYPES[dtype][0]
        for side in shape:
            count *= side
        offsets = [len(data), len(data) + count]
        data += draw(st.binary(min_size=count, max_size=count))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
    keys = draw(st.permutations(sorted(header)))
    return {key: header[key] for key in keys}, data


def written(folder: Path, header: Any, data: bytes, **manner: Any) -> Path:
    file = folder / "model.safetensors"
    text = header if isinstance(header, bytes) else json.dumps(header, **manner).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def read(file: Path) -> tuple[TensorInfo, ...] | None:
    """What the reader finds; None where it refuses, which it must do in words about this file."""
    try:
        found = read_header(file)
    except CorruptArtifactError as error:
        words = str(error)
    else:
        words = ""
    if words:
        assert words.startswith(f"{file}: ")
        assert len(words) < 10_000
        return None
    spans = [(info.start, info.end) for info in found]
    content = file.read_bytes()
    begin = 8 + struct.unpack("<Q", content[:8])[0]
    ends = [begin, *(end for _, end in spans)]
    assert [start for start, _ in spans] == ends[:-1]  # each begins where the one before it ends
    assert ends[-1] == len(content)
    for info in found:
        assert info.end - info.start == info.elements * DTYPES[info.dtype][0]
    return found


@deterministic
@given(files(), st.sampled_from([None, 1]), st.booleans())
def test_every_good_file_is_read_as_the_formats_own_library_reads_it(
    tmp_path: Path, content: tuple[dict[str, Any], bytes], indent: int | None, ascii_only: bool
) -> None:
    header, data = content
    file = written(tmp_path, header, data, indent=indent, ensure_ascii=ascii_only)
    found = read(file)
    assert found is not None
    begin = file.stat().st_size - len(data)
    theirs = dict(safetensors.deserialize(file.read_bytes()))
    assert {info.name for info in found} == set(theirs)
    for info in found:
        assert info.dtype == header[info.name]["dtype"]
        assert list(info.shape) == theirs[info.name]["shape"]
        assert data[info.start - begin : info.end - begin] == theirs[info.name]["data"]


@deterministic
@given(files(), st.data())
def test_a_good_file_with_one_value_changed_is_refused_or_still_whole(
    tmp_path: Path, content: tuple[dict[str, Any], bytes], drawn: st.DataObject
) -> None:
    header, data = content
    places = list(_places(header, ()))
    if places:
        *path, last = drawn.draw(st.sampled_from(places))
        holder: Any = header
        for key in path:
            holder = holder[key]
        if isinstance(last, str) and drawn.draw(st.booleans()):
            value = holder.pop(last)
            holder[last + "x"] = value
        else:
            holder[last] = drawn.draw(ODD)
    file = written(tmp_path, header, data)
    if (found := read(file)) is not None and "__metadata__" not in header:
        theirs = dict(safetensors.deserialize(file.read_bytes()))
        assert {info.name for info in found} == set(theirs)


@deterministic
@given(files(), st.data())
def test_a_good_file_with_one_byte_changed_or_cut_is_refused_or_still_whole(
    tmp_path: Path, content: tuple[dict[str, Any], bytes], drawn: st.DataObject
) -> None:
    file = written(tmp_path, *content)
    whole = file.read_bytes()
    at = drawn.draw(st.integers(0, len(whole) - 1))
    if drawn.draw(st.booleans()):
        file.write_bytes(whole[:at])
        assert read(file) is None
    else:
        other = drawn.draw(st.integers(0, 255))
        file.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
        read(file)


@deterministic
@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode), st.binary(max_size=8))
def test_no_bytes_bring_the_reader_down(tmp_path: Path, header: bytes, data: bytes) -> None:
    read(written(tmp_path, header, data))


@pytest.mark.parametrize("space", [" ", "\n"])
def test_a_header_does_not_begin_with_space_but_may_end_with_it(tmp_path: Path, space: str) -> None:
    assert read(written(tmp_path, f"{{}}{space}".encode(), b"")) == ()
    assert read(written(tmp_path, f"{space}{{}}".encode(), b"")) is None


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The path of each value within, but for those of the metadata."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        if key != "__metadata__":
            yield (*path, key)
            if isinstance(value[key], (dict, list)):
                yield from _places(value[key], (*path, key))
