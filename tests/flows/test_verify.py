"""`mergegate verify`: whatever is changed in a release folder, file and field are named."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tarfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from stored_workspace import POLICY, judged_before, load, rescore, write_workspace

from flows.verify import MOST, find_release, show, verify
from pipeline.code import code_digest
from pipeline.errors import InputError
from pipeline.facts import digest_file, write_json
from pipeline.release.record import with_digests
from pipeline.stages import card, gate, judge


def run_stages(folder: Path) -> Path:
    """Judge the candidate as a release does; its release folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in (judge, gate, card):
            stage.run("tuned")
    return folder / "build" / "tuned" / "release"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose candidate is promoted, with its release folder."""
    folder = tmp_path_factory.mktemp("workspace")
    write_workspace(folder)
    run_stages(folder)
    return folder


code_digest_once = functools.cache(code_digest)


@pytest.fixture(autouse=True)
def auditors_desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A current folder that trusts no key, whatever lies in the checkout."""
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.delenv("MERGEGATE_SIGNING_KEY", raising=False)
    # Reading all of our code once is enough for a hundred tests.
    monkeypatch.setattr("flows.verify.judged.code_digest", code_digest_once)


@pytest.fixture
def release(workspace: Path, tmp_path: Path) -> Path:
    """A copy of the release folder, away from its workspace."""
    return Path(shutil.copytree(workspace / "build" / "tuned" / "release", tmp_path / "release"))


FILES = (
    *("README.md", "recipe.yaml", "policy.json", "latency.json", "ledger.json", "verdict.json"),
    *("plain.verdict.json", "comparison.csv", "compat.json", "diagnosis.json", "heatmap.png"),
    *("quantize.json", "merge.json", "calibration.jsonl", "report.html", "bom.cdx.json"),
    *("signing.pub", "model.sig", "provenance.intoto.json"),
    *(
        f"evals/{variant}{end}"
        for variant in ("base", "tone", "json", "plain", "merged", "quantized")
        for end in (".json", ".samples.jsonl")
    ),
)
FIELDS = (
    *("schema", "name", "candidate", "release_digest", "identity", "method", "verdict"),
    *("comparison", "merged_files", "quantized_files", "quantization", "latency", "domains"),
    *("rollback", "refused", "tasks", "environment", "signing", "files", "digests"),
)


def public_key(path: Path) -> Path:
    """The public key of a pair that nobody signed with."""
    info = PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, info)
    )
    return path


def edit_record(folder: Path, change: dict[str, Any], *, hide: bool = False) -> None:
    """Replace fields of release.json; `hide` by one who computes its digests again."""
    record = {**load(folder / "release.json"), **change}
    write_json(folder / "release.json", with_digests(record) if hide else record)


def hide(folder: Path, name: str) -> None:
    """Make release.json fit a file that was changed."""
    files = load(folder / "release.json")["files"]
    edit_record(folder, {"files": {**files, name: digest_file(folder / name)}}, hide=True)


def hidden_edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    hide(folder, name)


def test_a_release_as_it_was_written_is_sound(release: Path) -> None:
    found = verify(release)
    assert (found.faults, found.outcome, found.exit_code) == ((), "promote", 0)
    assert {path.relative_to(release).as_posix() for path in release.rglob("*.*")} == {
        *FILES,
        "release.json",
    }
    assert set(load(release / "release.json")) == set(FIELDS)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found_and_its_file_named(release: Path, name: str) -> None:
    content = bytearray((release / name).read_bytes() or b"\0")  # an empty file gets a byte
    content[len(content) // 2] ^= 1
    (release / name).write_bytes(content)
    found = verify(release)
    assert found.exit_code == 2
    assert any(fault.startswith(f"{name}: ") for fault in found.faults), found.faults


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", ["edited", None, {}, [], 1, ...])
def test_every_altered_field_of_the_record_is_found_and_named(
    release: Path, field: str, value: Any
) -> None:
    record = load(release / "release.json")
    assert value != record[field]
    record[field] = value
    if value is ...:
        del record[field]
    write_json(release / "release.json", record)
    found = verify(release)
    assert found.exit_code == 2
    assert any(fault.startswith("release.json: ") and field in fault for fault in found.faults)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_found_and_named(release: Path, name: str) -> None:
    (release / name).unlink()
    assert f"{name}: is missing" in verify(release).faults


@pytest.mark.parametrize("name", ["extra.txt", "evals/other.json", ".hidden", "sub/deep/file"])
def test_an_added_file_is_found_and_named(release: Path, name: str) -> None:
    (release / name).parent.mkdir(parents=True, exist_ok=True)
    (release / name).write_text("new")
    assert f"{name}: is no part of the release" in verify(release).faults


def test_a_link_to_a_folder_is_no_part_of_a_release(release: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (release / "more").symlink_to(tmp_path / "elsewhere")
    assert "more: is no part of the release" in verify(release).faults


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("policy.json", '"margin": 0.1', '"margin": 0.3', "verdict.json: rows[0].margin"),
        ("policy.json", '"p95"', '"p50"', "verdict.json: policy_digest"),
        ("policy.json", "2999-12-31", "2026-01-01", "verdict.json: outcome"),
        ("latency.json", '"p95": 30.0', '"p95": 31.0', "verdict.json: inputs.merged.latency"),
        ("ledger.json", ": 3", ": 21", "verdict.json: inputs.merged.uses.json"),
        ("verdict.json", '"promote"', '"reject"', "verdict.json: "),
        ("verdict.json", '"lower": -', '"lower": ', "verdict.json: rows[0].lower"),
        ("plain.verdict.json", "json: ", "json- ", "plain.verdict.json: reasons"),
        ("comparison.csv", "base,0.1", "base,0.2", "comparison.csv: line 2"),
        ("recipe.yaml", "weight: 1.0", "weight: 0.9", "release.json: identity.recipe.digest"),
        ("quantize.json", "W4A16", "W8A8", "release.json: quantization.scheme"),
        ("evals/merged.json", '"lm-eval 0.4.13"', '"lm-eval 0.4.12"', "verdict.json: outcome"),
        ("evals/json.json", '"model_digest": "', '"model_digest": "0', "release.json: identity.so"),
    ],
)
def test_a_change_that_is_hidden_from_the_digests_shows_in_the_verdict_or_the_record(
    release: Path, name: str, old: str, new: str, told: str
) -> None:
    hidden_edit(release, name, old, new)
    faults = verify(release).faults
    assert any(fault.startswith(told) for fault in faults), faults


def test_a_hidden_change_of_a_score_shows(release: Path) -> None:
    samples = "evals/merged.samples.jsonl"
    hidden_edit(release, samples, '"score":0.0', '"score":1.0')
    assert any(
        "merged.samples.jsonl: missing, or changed since" in f for f in verify(release).faults
    )
    head = load(release / "evals" / "merged.json")
    head["samples"]["sha256"] = digest_file(release / samples)
    write_json(release / "evals" / "merged.json", head)
    hide(release, "evals/merged.json")
    faults = verify(release).faults
    assert any(f.startswith("verdict.json: inputs.merged.evaluations.merged: ") for f in faults)
    assert any(f.startswith("release.json: identity.samples.merged: ") for f in faults)


def test_at_most_twenty_differences_of_a_document_are_told(release: Path) -> None:
    rows = [{**row, "n": 0, "alpha": 0.9} for row in load(release / "verdict.json")["rows"]]
    rows = [{**row, "margin": 9, "floor": 9, "lower": 9, "upper": 9} for row in rows]
    verdict = {**load(release / "verdict.json"), "rows": rows}
    write_json(release / "verdict.json", verdict)
    told = [f for f in verify(release).faults if f.startswith("verdict.json: ")]
    assert len(told) == 1 + MOST + 1  # the file, the fields, and how many more
    assert told[-1].endswith(" more")


def test_a_record_cannot_send_the_reader_out_of_the_folder(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release / "evals", tmp_path / "evals")
    comparison = load(release / "release.json")["comparison"]
    comparison["rows"][0][0] = "../../evals/base"
    files = load(release / "release.json")["files"] | {"evals/../../evals/base.json": "0" * 64}
    edit_record(release, {"comparison": comparison, "files": files}, hide=True)
    faults = verify(release).faults
    assert "evals/../../evals/base.json: leaves the folder" in faults
    assert any("has no row of base" in fault for fault in faults)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "NaN", "[" * 100_000, '{"schema": 2}'])
def test_what_is_no_record_is_told_so_and_never_ends_in_a_traceback(
    release: Path, content: str
) -> None:
    (release / "release.json").write_text(content)
    found = verify(release)
    assert found.exit_code == 2
    assert any(fault.startswith("release.json: ") for fault in found.faults)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".json", ".jsonl"))])
@pytest.mark.parametrize("content", ["[]", '{"a": NaN}', "7"])
def test_files_of_another_shape_are_told_and_never_end_in_a_traceback(
    release: Path, name: str, content: str
) -> None:
    (release / name).write_text(content)
    hide(release, name)
    found = verify(release)
    if name not in ("compat.json", "diagnosis.json", "merge.json"):  # evidence beside the verdict
        assert found.exit_code == 2, found


RELEASES = Path(__file__).parents[1] / "fixtures" / "releases"


def stored_release(schema: int, folder: Path) -> Path:
    """A release that an earlier version of mergegate wrote, unpacked into `folder`."""
    with tarfile.open(RELEASES / f"schema-{schema}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_a_release_of_the_first_schema_verifies_and_says_what_cannot_be_computed(
    tmp_path: Path,
) -> None:
    found = verify(stored_release(1, tmp_path))
    assert (found.faults, found.outcome, found.exit_code) == ((), "", 0)
    assert any("keeps no policy: the verdict cannot be computed again" in n for n in found.notes)
    assert any(note.startswith("Schema 1 is not signed") for note in found.notes)


def test_a_release_of_the_second_schema_verifies_with_its_verdict(tmp_path: Path) -> None:
    found = verify(stored_release(2, tmp_path))
    assert (found.faults, found.outcome, found.exit_code) == ((), "promote", 0)
    assert any(note.startswith("Schema 2 is not signed") for note in found.notes)


@pytest.mark.parametrize("schema", [1, 2])
def test_every_file_of_an_earlier_release_is_covered(schema: int, tmp_path: Path) -> None:
    folder = stored_release(schema, tmp_path)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        before, name = path.read_bytes(), path.relative_to(folder).as_posix()
        path.write_bytes(before[:-2] + bytes([before[-2] ^ 1]) + before[-1:])
        assert any(fault.startswith(f"{name}: ") for fault in verify(folder).faults), name
        path.unlink()
        if name != "release.json":
            assert f"{name}: is missing" in verify(folder).faults
        path.write_bytes(before)
    assert verify(folder).faults == ()


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("evals/json.json", '"model_digest": "', '"model_digest": "0', "identity.sources"),
        ("verdict.json", '"lower": -', '"lower": ', "verdict.rows[0].lower"),
        ("recipe.yaml", "weight: 1.0", "weight: 0.9", "identity.recipe.digest"),
        ("quantize.json", "W4A16", "W8A8", "quantization.scheme"),
    ],
)
def test_of_the_first_schema_too_what_is_said_twice_is_compared(
    tmp_path: Path, name: str, old: str, new: str, told: str
) -> None:
    folder = stored_release(1, tmp_path)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    record = load(folder / "release.json")
    record["files"][name] = digest_file(folder / name)
    write_json(folder / "release.json", record)
    faults = verify(folder).faults
    assert any(fault.startswith(f"release.json: {told}") for fault in faults), faults


@pytest.mark.parametrize("schema", [1, 2])
def test_what_is_not_signed_does_not_pass_where_a_key_is_trusted(
    schema: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stored_release(schema, tmp_path / "release")
    (tmp_path / ".mergegate/signing/trusted").mkdir(parents=True)
    public = public_key(tmp_path / ".mergegate" / "signing" / "trusted" / "auditor.pem")
    (fault,) = verify(folder, key=public).faults
    assert fault.startswith(f"release.json: schema: {schema} is not signed, so not by a key that")
    assert fault.endswith("passes with --unsigned")
    monkeypatch.chdir(tmp_path)  # a workspace that trusts the key
    assert verify(folder).faults == (fault,)
    assert verify(folder, unsigned=True).faults == ()


def test_line_breaks_in_the_name_of_a_file_do_not_look_like_lines_of_ours(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / "x\nrelease: sound.").write_text("x")
    show(verify(release))
    assert "differs  x\\nrelease: sound.: is no part of the release" in capsys.readouterr().out


def test_waivers_hold_as_on_the_day_of_the_verdict_and_those_expired_since_are_named(
    release: Path,
) -> None:
    day = load(release / "verdict.json")["judged_on"]
    found = verify(release, today=date(3000, 1, 1))
    assert found.exit_code == 0
    assert f"Waivers hold as on {day}, the day of the verdict." in found.notes
    assert any(n.startswith("The waiver of latency has expired since") for n in found.notes)
    assert not any("expired" in note for note in verify(release).notes)


def test_a_verdict_on_a_policy_with_waivers_must_state_its_day(release: Path) -> None:
    verdict = load(release / "verdict.json")
    write_json(release / "verdict.json", {**verdict, "judged_on": ""})
    assert any("judged_on is ''" in fault for fault in verify(release).faults)


def test_a_release_of_another_version_of_the_code_says_so(release: Path) -> None:
    identity = load(release / "release.json")["identity"]
    identity["versions"]["code"] = "0" * 64
    edit_record(release, {"identity": identity}, hide=True)
    assert any(note.startswith("Made by another version") for note in verify(release).notes)


# What the stages put into the folder


def test_the_stored_policy_is_the_one_of_params_yaml(workspace: Path) -> None:
    from gates import Policy

    stored = load(workspace / "build" / "tuned" / "release" / "policy.json")
    assert Policy.parse(stored).digest == Policy.parse(POLICY).digest
    assert list(stored["skills"]) == ["tone", "json"]


def test_an_earlier_refusal_of_the_same_weights_by_another_policy_is_told_everywhere(
    workspace: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(workspace, tmp_path / "again"))
    judged_before(folder)
    release = run_stages(folder)
    words = "These weights were judged before, under another policy: reject on 2026-11-20"
    assert any(note.startswith(words) for note in load(release / "verdict.json")["notes"])
    assert words in (release / "README.md").read_text(encoding="utf-8")
    found = verify(release)
    assert found.exit_code == 0
    assert any(note.startswith(words) for note in found.notes)


def test_a_merge_that_is_not_the_one_evaluated_cannot_be_judged(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(workspace, tmp_path / "other"))
    (folder / "build" / "tuned" / "merged" / "model.safetensors").write_text("other weights")
    monkeypatch.chdir(folder)
    judge.run("tuned")
    verdict = load(folder / "build" / "tuned" / "merged.verdict.json")
    assert verdict["outcome"] == "cannot judge"
    assert any("scores are of other weights" in reason["text"] for reason in verdict["reasons"])


def test_a_refused_merge_has_a_release_that_verifies(workspace: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(workspace, tmp_path / "refused"))
    rescore(folder, "merged", 0.3)
    write_json(folder / "build" / "tuned" / "quantize.json", {"skipped": "refused"})
    (folder / "build" / "tuned" / "calibration.jsonl").write_text("")
    found = verify(run_stages(folder))
    assert (found.faults, found.outcome) == ((), "reject")


@pytest.mark.parametrize(
    ("stated", "outcome"),
    [({"absent": "there is no champion yet"}, "promote"), (None, "cannot judge")],
)
def test_a_champion_that_is_absent_is_passed_over_only_where_that_is_stated(
    tmp_path: Path, stated: dict[str, str] | None, outcome: str
) -> None:
    skills = {**POLICY["skills"]}
    skills["json"] = {**skills["json"], "also": {"champion": {"margin": 0.1}}}
    write_workspace(tmp_path, {**POLICY, "skills": skills})
    if stated:
        write_json(tmp_path / "build" / "champion.json", stated)
    found = verify(run_stages(tmp_path))
    assert (found.faults, found.outcome) == ((), outcome)


# The command


def mergegate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
    )


def test_the_command_takes_a_folder_or_a_candidate(workspace: Path, release: Path) -> None:
    by_name = mergegate("verify", "tuned", cwd=workspace)
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout.splitlines()[-1] == (
        "build/tuned/release: sound. The verdict computed again is the one stored: promote."
    )
    (release / "README.md").write_text("other words")
    changed = mergegate("verify", str(release), "--json", cwd=workspace)
    assert changed.returncode == 2
    report = json.loads(changed.stdout)
    assert (report["sound"], report["faults"]) == (False, ["README.md: changed"])


def test_what_is_no_release_folder_is_refused_with_the_places_looked_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no release folder; looked for .*release\.json"):
        find_release(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match=r"build/nothing/release/release\.json"):
        find_release("nothing")


def test_of_a_candidates_build_folder_the_release_is_meant(workspace: Path) -> None:
    built = workspace / "build" / "tuned"
    (built / "merged").mkdir(exist_ok=True)
    assert find_release(str(built)) == built / "release"


def test_verifying_loads_neither_torch_nor_a_registry() -> None:
    heavy = {"torch", "transformers", "mlflow", "prefect", "lm_eval", "great_expectations"}
    code = f"import flows.verify, sys; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
