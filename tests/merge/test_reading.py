"""Views of stored tensors: the values of the file wherever they lie, and words where the file has become shorter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from pipeline.errors import CorruptArtifactError
from pipeline.merge import reading
from pipeline.merge.reading import Reader
from pipeline.sources.tensors import TensorInfo

ROWS, COLUMNS = 1000, 48


@pytest.mark.parametrize("start", [0, 2, 7, 4096, 4099])
@pytest.mark.parametrize("window", [1, 1 << 12, 1 << 23])
def test_a_view_has_the_values_of_the_file_for_any_place_and_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int, window: int
) -> None:
    monkeypatch.setattr(reading, "WINDOW_BYTES", window)
    info, values = _stored(tmp_path, start)
    with Reader() as reader:
        for span in (range(0, 7), range(500, 900), range(0, 7), range(993, ROWS), range(0, ROWS)):
            view = reader.view(info, span.start * COLUMNS, (len(span), COLUMNS), "slot")
            assert torch.equal(view, values[span.start : span.stop])


def test_views_in_two_slots_are_valid_together(tmp_path: Path) -> None:
    info, values = _stored(tmp_path, 8)
    with Reader() as reader:
        one = reader.view(info, 0, (10, COLUMNS), "one")
        other = reader.view(info, 900 * COLUMNS, (10, COLUMNS), "other")
        assert torch.equal(one, values[:10])
        assert torch.equal(other, values[900:910])


def test_a_file_that_has_become_shorter_is_named(tmp_path: Path) -> None:
    info, _ = _stored(tmp_path, 8)
    os.truncate(info.file, info.end - 6)
    with (
        Reader() as reader,
        pytest.raises(CorruptArtifactError, match=r"data: weight ends 6 bytes early\. The file"),
    ):
        reader.view(info, 0, (ROWS, COLUMNS), "slot")


def _stored(folder: Path, start: int) -> tuple[TensorInfo, torch.Tensor]:
    values = torch.randn((ROWS, COLUMNS), generator=torch.Generator().manual_seed(0)).bfloat16()
    data = values.view(torch.uint8).numpy().tobytes()
    file = folder / "data"
    file.write_bytes(b"x" * start + data + b"y" * 11)
    return TensorInfo("weight", "BF16", (ROWS, COLUMNS), file, start, start + len(data)), values
