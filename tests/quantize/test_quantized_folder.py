"""What a quantized model may take the place of: its own kind, or the note that there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.folders import check_replaceable
from pipeline.quantize.oneshot import QUANTIZED


def folder_with(tmp_path: Path, name: str, content: str = "") -> Path:
    (tmp_path / "quantized").mkdir()
    (tmp_path / "quantized" / name).write_text(content)
    return tmp_path / "quantized"


def test_an_older_quantized_model_is_replaced(tmp_path: Path) -> None:
    out = folder_with(tmp_path, "config.json", '{"quantization_config": {}}')
    check_replaceable(out, QUANTIZED)


def test_the_note_of_a_skipped_stage_is_replaced(tmp_path: Path) -> None:
    check_replaceable(folder_with(tmp_path, "SKIPPED.md"), QUANTIZED)


@pytest.mark.parametrize("name", ["thesis.tex", "config.json"])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, name: str) -> None:
    out = folder_with(tmp_path, name, "{}")
    with pytest.raises(InputError, match="exists and is not a quantized model"):
        check_replaceable(out, QUANTIZED)


def test_a_note_beside_files_of_the_users_is_never_replaced(tmp_path: Path) -> None:
    out = folder_with(tmp_path, "SKIPPED.md")
    (out / "thesis.tex").touch()
    with pytest.raises(InputError, match="exists and is not a quantized model"):
        check_replaceable(out, QUANTIZED)
