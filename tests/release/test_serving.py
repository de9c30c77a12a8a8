"""Serving: the exact command, of a version that is whole; and one answer as proof."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from mlflow import MlflowClient
from release_family import register_all, register_target

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_of, read_json, write_json
from pipeline.release import rollback
from pipeline.release.proof import prove
from pipeline.release.serving import RANKS, serving
from pipeline.sources import artifact_digest, folder_digests

Bundle = Callable[..., Path]


def test_a_merge_is_served_from_the_store_under_the_models_name(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    report = serving(uri, "harbor")
    folder = _folder(uri, 2)
    assert report.commands == (
        (
            *("vllm", "serve", str(folder), "--served-model-name", "harbor", "--port", "8000"),
            *("--chat-template", str(folder / "chat_template.jinja")),
        ),
    )
    assert (folder / "config.json").is_file()
    assert (folder / "chat_template.jinja").is_file()


def test_a_chat_template_within_the_tokenizers_configuration_needs_no_option(
    uri: str, bundle: Bundle
) -> None:
    config = Path("shipped/tokenizer_config.json")
    template = Path("shipped/chat_template.jinja")
    write_json(config, {**read_json(config), "chat_template": template.read_text(encoding="utf-8")})
    template.unlink()
    register_all(uri, bundle(quantized_files=folder_digests(Path("shipped"))))
    assert "--chat-template" not in serving(uri, "harbor").commands[0]
    assert serving(uri, "harbor").notes == ()


def test_the_unmerged_set_is_served_as_the_base_with_a_module_for_each_adapter(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    report = serving(uri, "harbor", unmerged=True, port=9000)
    (command,) = report.commands
    base, adapters = Path("models/base").absolute(), _folder(uri, 1) / "adapters"
    assert (report.version, report.kind) == (1, "unmerged")
    assert command[:3] == ("vllm", "serve", str(base))
    modules = command.index("--lora-modules")
    assert command[modules + 1 : modules + 3] == (
        f"json={adapters}/json",
        f"tone={adapters}/tone",
    )
    options = dict(pairwise(command))
    assert options["--served-model-name"] == "harbor-base"
    assert (options["--port"], options["--max-loras"]) == ("9000", "2")
    assert options["--max-lora-rank"] == "8"  # the adapters have rank 4; 8 is vLLM's least
    assert "--enable-lora" in command


@pytest.mark.parametrize(("rank", "expected"), [(8, "8"), (9, "16"), (257, "320"), (512, "512")])
def test_the_rank_is_the_least_that_vllm_takes_and_that_holds_all(
    uri: str, bundle: Bundle, rank: int, expected: str
) -> None:
    from pipeline.release.serving import _rank

    config = Path("models/tone/adapter_config.json")
    write_json(config, {**read_json(config), "r": rank})
    folders = {name: Path("models") / name for name in ("tone", "json")}
    assert str(_rank(folders)) == expected
    assert int(expected) in RANKS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_dora": True}, "tone: uses use_dora"),
        ({"modules_to_save": ["lm_head"]}, "tone: uses modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "tone: uses rank_pattern"),
        ({"bias": "all"}, "tone: uses bias"),
        ({"r": 513}, "its rank is 513, and vLLM takes 512"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3', not LORA"),
    ],
)
def test_an_adapter_that_vllm_would_refuse_or_serve_wrongly_is_named(
    workspace: Path, changes: dict[str, object], words: str
) -> None:
    from pipeline.release.serving import _rank

    config = Path("models/tone/adapter_config.json")
    write_json(config, {**read_json(config), **changes})
    with pytest.raises(InputError, match=words):
        _rank({"tone": config.parent})


def test_a_full_fine_tune_is_served_in_a_process_of_its_own(
    uri: str, bundle: Bundle, pins: dict[str, object]
) -> None:
    from pipeline.release.serving import _unmerged

    manifest = read_json(_registered_target(uri, bundle()) / "unmerged.json")
    manifest["experts"]["json"] = {**manifest["base"], "kind": "model"}
    commands, notes = _unmerged(_folder(uri, 1), manifest, "harbor", 8000, (None, None))
    assert [c[c.index("--port") + 1] for c in commands] == ["8000", "8001"]
    assert commands[1][c_index(commands[1], "--served-model-name")] == "json"
    assert "json is a full fine-tune" in notes[1]


def test_a_base_of_the_hub_is_served_at_its_commit(uri: str, bundle: Bundle) -> None:
    from pipeline.release.serving import _served

    member = {"reference": "acme/base@main", "revision": "c" * 40, "kind": "model"}
    command = _served("base", member, "harbor-base", 8000, (None, None))
    assert command[:3] == ["vllm", "serve", "acme/base"]
    assert command[command.index("--revision") + 1] == "c" * 40
    assert command[command.index("--tokenizer-revision") + 1] == "c" * 40


def test_the_command_is_quoted_for_a_shell(uri: str, bundle: Bundle, tmp_path: Path) -> None:
    register_all(uri, bundle())
    report = serving(uri, "harbor", download=tmp_path / "a b; rm $HOME")
    said = report.to_json()
    assert shlex.split(said["shell"][0]) == list(report.commands[0])
    assert "'" in said["shell"][0]
    json.dumps(said)


@pytest.mark.parametrize("lost", ["model.safetensors", "release/release.json", "config.json"])
def test_a_champion_that_is_not_whole_is_refused(uri: str, bundle: Bundle, lost: str) -> None:
    register_all(uri, bundle())
    (_folder(uri, 2) / lost).unlink()
    with pytest.raises(CorruptArtifactError, match=rf"version 2 is not whole:\n.*{lost}.*missing"):
        serving(uri, "harbor")


def test_a_fetched_version_is_read_wholly_and_taken_again_where_it_changed(
    uri: str, bundle: Bundle, tmp_path: Path
) -> None:
    register_all(uri, bundle())
    serving(uri, "harbor", download=tmp_path)
    weights = tmp_path / "harbor-2" / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    serving(uri, "harbor", download=tmp_path)
    assert weights.read_bytes() == right


def test_a_fetched_version_that_is_wrong_in_the_store_is_refused_and_does_not_stay(
    uri: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.release.wholeness.SMALL", 10_000)
    register_all(uri, bundle())
    weights = _folder(uri, 2) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # of the same size: a look does not find it, reading it does
    weights.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=r"model\.safetensors changed"):
        serving(uri, "harbor", download=tmp_path)
    assert list(tmp_path.glob("harbor*")) == []


def test_the_merge_answers_one_prompt_with_the_digest_of_what_answered(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    proof = prove(uri, "harbor", prompt="hello", max_new_tokens=4)
    assert (proof.version, proof.kind, proof.expert) == (2, "merge", "")
    assert proof.digests == {"model": digest_of(folder_digests(Path("shipped")))}
    assert proof.answer


def test_an_expert_of_the_unmerged_set_answers_as_when_it_was_registered(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    probe = read_json(_folder(uri, 1) / "unmerged.json")["probe"]
    for expert in ("tone", "json"):
        proof = prove(uri, "harbor", unmerged=True, expert=expert, max_new_tokens=4)
        assert (proof.prompt, proof.answer) == (probe["prompts"][expert], probe["answers"][expert])
        assert proof.digests == {
            "base": artifact_digest(Path("models/base")),
            expert: artifact_digest(Path("models") / expert),
        }


def test_an_unknown_expert_is_named_with_those_there_are(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    with pytest.raises(InputError, match=r"'jso'.*Did you mean json\?.*It has json, tone"):
        prove(uri, "harbor", unmerged=True, expert="jso")


def test_a_changed_byte_answers_nothing(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    weights = _folder(uri, 2) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=r"model\.safetensors changed"):
        prove(uri, "harbor", prompt="hello")


def test_after_a_rollback_the_unmerged_set_is_what_is_served(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "why")
    assert serving(uri, "harbor").kind == "unmerged"
    assert serving(uri, "harbor", 2).kind == "merge"


def test_nothing_is_served_without_a_champion(uri: str, bundle: Bundle) -> None:
    register_target(uri, bundle())
    with pytest.raises(InputError, match="has no champion"):
        serving(uri, "harbor")
    assert serving(uri, "harbor", 1).kind == "unmerged"


def test_a_number_that_no_version_can_have_is_one_that_there_is_not(
    uri: str, bundle: Bundle
) -> None:
    register_target(uri, bundle())
    with pytest.raises(InputError, match=r"has no version 9{20}; there is 1\. `mergegate status"):
        serving(uri, "harbor", 10**20 - 1)


def test_a_version_that_there_is_not_is_named_with_those_there_are(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    with pytest.raises(InputError, match=r"has no version 7; there is 1, 2\."):
        serving(uri, "harbor", 7)


def c_index(command: list[str], option: str) -> int:
    return command.index(option) + 1


def _registered_target(uri: str, release: Path) -> Path:
    register_target(uri, release)
    return _folder(uri, 1)


def _folder(uri: str, version: int) -> Path:
    return Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", str(version)))
