"""Calibration prompts as a file: what was written is what is read, and anything else is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from test_quantize import run

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.quantize import Calibration, hardware_class, read_calibration

PROMPTS = ("order late", "refund\u2028yes «no»", "")


@pytest.mark.parametrize("system", ["warm", ""])
@pytest.mark.parametrize("prompts", [PROMPTS, ()])
def test_a_calibration_is_read_as_it_was_written(
    tmp_path: Path, system: str, prompts: tuple[str, ...]
) -> None:
    calibration = Calibration.of("gptq", system, prompts)
    (tmp_path / "c.jsonl").write_text(calibration.text, encoding="utf-8")
    found = read_calibration(tmp_path / "c.jsonl")
    assert found.prompts == prompts
    assert found.text == calibration.text
    content = (tmp_path / "c.jsonl").read_bytes()
    assert found.digest == hashlib.sha256(content).hexdigest()


def test_a_row_is_a_conversation_as_chat_templates_take_it() -> None:
    (row,) = Calibration.of("gptq", "warm", ["late"]).text.splitlines()
    system, user = json.loads(row)["messages"]
    assert system == {"role": "system", "content": "warm"}
    assert user == {"role": "user", "content": "late"}


def test_rounding_to_nearest_depends_on_no_prompt() -> None:
    assert Calibration.of("rtn", "warm", PROMPTS).text == ""


@pytest.mark.parametrize(
    "content",
    [
        "x\n",
        "[]\n",
        '{"messages":[]}\n',
        '{"messages":[{"content":7,"role":"user"}]}\n',
        '{"messages":[{"content":"a","role":"assistant"}]}\n',
        '{"messages":[{"content":"a","role":"user"}],"more":1}\n',
        '{"messages":[{"content":"a","role":"user"}]}',
    ],
)
def test_a_file_of_anything_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(CorruptArtifactError, match="is no file of calibration prompts"):
        read_calibration(tmp_path / "c.jsonl")


def test_prompts_under_two_system_prompts_are_refused(tmp_path: Path) -> None:
    rows = Calibration.of("gptq", "a", ["x"]).text + Calibration.of("gptq", "b", ["x"]).text
    (tmp_path / "c.jsonl").write_text(rows)
    with pytest.raises(CorruptArtifactError, match="the system prompt the same in all"):
        read_calibration(tmp_path / "c.jsonl")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.jsonl: no such file"):
        read_calibration(tmp_path / "c.jsonl")


def test_the_report_has_the_digest_of_the_prompts_and_of_what_rounding_depends_on(
    merged: Path, tmp_path: Path
) -> None:
    import torch

    before = torch.get_num_threads()
    report = run(merged, tmp_path / "q", threads=2)
    prompts = Calibration.of("gptq", "warm", ("order late", "refund yes no"))
    assert report.threads == 2
    assert torch.get_num_threads() == before
    assert report.hardware == hardware_class()
    assert report.calibration_prompts != prompts.digest
    assert report.calibration_digest == _given().ids_digest(merged)
    assert report.calibration_prompts == _given().digest


def _given() -> Calibration:
    from test_quantize import PROMPTS as GIVEN

    return Calibration.of("gptq", "warm", GIVEN)
