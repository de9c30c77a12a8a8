"""The journal: appended to, chained, and never the victim of a killed writer."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.facts import digest_of
from pipeline.release import journal_file as module
from pipeline.release.journal import Journal


@pytest.fixture
def book(tmp_path: Path) -> Journal:
    """A journal of three entries."""
    made = Journal(tmp_path / "shared" / "harbor.jsonl")
    for number in (1, 2, 3):
        made.append({"number": number, "name": "harbor", "who": f"person {number}"})
    return made


def test_an_entry_is_given_the_digest_of_the_one_before(book: Journal) -> None:
    first, second, _ = book.entries()
    assert first["prior"] == ""
    assert second["prior"] == first["digest"]


def test_a_journal_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none.jsonl").entries() == []
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("line", [1, 2, 3])
def test_an_altered_entry_is_found_and_named_and_nothing_is_added_after_it(
    book: Journal, line: int
) -> None:
    book.path.write_text(book.path.read_text().replace(f"person {line}", "nobody"))
    with pytest.raises(CorruptArtifactError, match=rf"line {line}: altered .* by nobody"):
        book.entries()
    before = book.path.read_bytes()
    with pytest.raises(CorruptArtifactError):
        book.append({"number": 4, "name": "harbor", "who": "x"})
    assert book.path.read_bytes() == before


def test_an_entry_taken_out_of_the_middle_is_missed(book: Journal) -> None:
    lines = book.path.read_text().splitlines(keepends=True)
    book.path.write_text(lines[0] + lines[2])
    with pytest.raises(CorruptArtifactError, match=r"line 2: what was before it \(change 3"):
        book.entries()


def test_entries_that_changed_places_are_found(book: Journal) -> None:
    lines = book.path.read_text().splitlines(keepends=True)
    book.path.write_text(lines[1] + lines[0] + lines[2])
    with pytest.raises(CorruptArtifactError, match="line 1"):
        book.entries()


def test_a_line_that_is_no_entry_is_named_and_the_next_is_not_blamed(book: Journal) -> None:
    lines = book.path.read_text().splitlines(keepends=True)
    book.path.write_text(lines[0] + "{}\n" + lines[2])
    with pytest.raises(CorruptArtifactError) as caught:
        book.entries()
    assert "line 2" in str(caught.value)
    assert "line 3" not in str(caught.value)


def test_every_torn_last_line_is_left_out_and_replaced_by_the_next_entry(book: Journal) -> None:
    whole = book.path.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    for end in range(start + 1, len(whole)):
        book.path.write_bytes(whole[:end])
        assert book.torn()
        assert [e["number"] for e in book.entries()] == [1, 2]
        book.append({"number": 3, "name": "harbor", "who": "person 3"})
        assert book.path.read_bytes() == whole


def test_cutting_a_torn_line_leaves_the_whole_ones(book: Journal) -> None:
    whole = book.path.read_bytes()
    book.path.write_bytes(whole + b'{"number": 4')
    book.cut_torn()
    assert book.path.read_bytes() == whole


def test_a_second_writer_waits_and_is_told_when_it_takes_too_long(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with (
        book.locked(),
        pytest.raises(EnvironmentFault, match="another process has been changing the champion"),
    ):
        Journal(book.path).append({"number": 4, "name": "harbor", "who": "x"})


def test_a_disk_that_is_full_says_that_the_change_is_not_in_the_journal(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "write", full)
        with pytest.raises(EnvironmentFault, match=r"No space left .*not in the journal"):
            book.append({"number": 4, "name": "harbor", "who": "x"})
    assert len(book.entries()) == 3


def test_a_journal_whose_path_is_a_folder_is_said_to_be_one_with_the_way_out(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "harbor.jsonl"
    folder.mkdir()
    for use in (Journal(folder).entries, Journal(folder).torn, lambda: Journal(folder).append({})):
        with pytest.raises(
            InputError, match=r"harbor\.jsonl: .* it is a folder\. Move .*params\.yaml"
        ):
            use()


@pytest.mark.parametrize("use", ["entries", "torn", "append"])
def test_a_named_pipe_in_the_place_of_the_journal_is_told_at_once_and_never_waited_for(
    tmp_path: Path, use: str
) -> None:
    book = Journal(tmp_path / "harbor.jsonl")
    os.mkfifo(book.path)
    uses = {"entries": book.entries, "torn": book.torn, "append": lambda: book.append({})}
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            uses[use]()
        except InputError as error:
            caught.append(error)

    waiting = threading.Thread(target=attempt, daemon=True)  # one that hangs ends with the tests
    waiting.start()
    waiting.join(5)
    assert not waiting.is_alive()
    assert "it is a named pipe. Move it away, or name another folder" in str(caught[0])


def test_a_device_and_a_socket_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "device").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        monkeypatch.setattr(module.os, "open", None)
        for what in ("device", "socket"):
            with pytest.raises(InputError, match=f"it is a {what}"):
                Journal(Path(what)).append({})


def test_a_journal_below_a_file_is_said_to_have_no_folder(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("")
    with pytest.raises(InputError, match=r"/journal or what is above it is a file\. Move the file"):
        Journal(tmp_path / "journal" / "harbor.jsonl").append({})


def test_a_journal_that_may_not_be_read_or_written_says_whose_rights_to_look_at(
    book: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", refused)
        with pytest.raises(InputError, match="read and written by this account, and may not be"):
            book.entries()
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "open", refused)
        with pytest.raises(InputError, match=r"`ls -l .*shared` shows who has it"):
            book.append({})


def test_an_entry_without_its_number_is_named_even_where_its_digest_was_made_anew(
    book: Journal,
) -> None:
    lines = book.path.read_text().splitlines(keepends=True)
    entry = {"name": "harbor", "prior": json.loads(lines[-1])["digest"]}
    book.path.write_text("".join(lines) + json.dumps({**entry, "digest": digest_of(entry)}) + "\n")
    with pytest.raises(CorruptArtifactError, match="line 4: altered"):
        book.entries()


def test_lines_are_json_that_other_tools_read(book: Journal) -> None:
    rows = [json.loads(line) for line in book.path.read_text().splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3]


def test_a_change_that_is_entered_already_is_not_entered_twice(book: Journal) -> None:
    change = {"number": 4, "name": "harbor", "claim": "c", "who": "ada"}
    first = book.append(change)
    assert book.append({**change, "observed": True}) == first
    assert len(book.entries()) == 4
