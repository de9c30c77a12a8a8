"""Checkpoints: opened whole or refused, and never by leaving their folder or running code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from source_files import WEIGHTS, checkpoint, safetensors, sharded

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources import Checkpoint

INDEX = "model.safetensors.index.json"


def test_a_single_file_and_its_shards_are_the_same_model(tmp_path: Path) -> None:
    one, many = (
        Checkpoint.open(checkpoint(tmp_path / "one")),
        Checkpoint.open(sharded(tmp_path / "many")),
    )
    assert list(one.tensors) == list(many.tensors) == sorted(WEIGHTS)
    for name in WEIGHTS:
        assert one.read(name).equal(many.read(name))
    assert one.parameters == 8


def test_a_tensor_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no tensor 'lm_head.weight'"):
        Checkpoint.open(checkpoint(tmp_path / "m")).read("lm_head.weight")


@pytest.mark.parametrize(
    "shard", ["../model-1.safetensors", "/etc/passwd.safetensors", "a\\b.safetensors"]
)
def test_an_index_that_leaves_the_folder_is_refused(tmp_path: Path, shard: str) -> None:
    (tmp_path / "model-1.safetensors").write_bytes(safetensors(WEIGHTS))
    with pytest.raises(CorruptArtifactError, match="Files are named without a path"):
        Checkpoint.open(sharded(tmp_path / "m", dict.fromkeys(WEIGHTS, shard)))


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({}, "has no weight_map"),
        (["a"], "has no weight_map"),
        ({"a": "model.bin"}, "shards are \\*.safetensors files"),
        ({"a": 3}, "shards are \\*.safetensors files"),
        ({"a": "absent.safetensors"}, "absent.safetensors: no such file"),
        ({"a": "model-1.safetensors"}, "'a' is not in model-1.safetensors, where it should be"),
    ],
)
def test_an_index_that_contradicts_the_shards_is_refused(
    tmp_path: Path, weight_map: dict[str, str], words: str
) -> None:
    with pytest.raises(CorruptArtifactError, match=words):
        Checkpoint.open(sharded(tmp_path / "m", weight_map))


def test_a_tensor_that_the_index_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    extra = {**{"model.norm.weight": WEIGHTS["model.norm.weight"]}, "extra": ((1,), [0.0])}
    (folder / "model-2.safetensors").write_bytes(safetensors(extra))
    with pytest.raises(
        CorruptArtifactError, match=r"'extra' in model-2.safetensors is not in the index"
    ):
        Checkpoint.open(folder)


def test_a_tensor_that_two_shards_hold_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "m")
    (folder / "model-2.safetensors").write_bytes(safetensors(WEIGHTS))
    with pytest.raises(CorruptArtifactError, match=r"'model.embed_tokens.weight' in model-2"):
        Checkpoint.open(folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(CorruptArtifactError, match="is a link that leaves its folder"):
        Checkpoint.open(folder)


def test_a_link_into_the_hubs_own_store_is_followed(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "models--acme--m" / "snapshots" / "c0ffee")
    (blobs := tmp_path / "models--acme--m" / "blobs").mkdir()
    (folder / "model.safetensors").rename(blobs / "1234")
    (folder / "model.safetensors").symlink_to(os.path.relpath(blobs / "1234", folder))
    assert len(Checkpoint.open(folder).tensors) == 2


def test_a_broken_link_is_not_taken_for_an_absent_file(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "generation_config.json").symlink_to(tmp_path / "gone")
    with pytest.raises(CorruptArtifactError, match=r"generation_config.json: no such file"):
        _ = Checkpoint.open(folder).generation_config


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_a_folder_of_pickles_is_refused_unopened(tmp_path: Path, name: str) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    assert f"its weights are pickles ({name})" in str(caught.value)
    assert "write them again with save_pretrained(OUT)" in str(caught.value)


def test_a_pickle_beside_safetensors_is_left_alone(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    assert len(Checkpoint.open(folder).tensors) == 2


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_asks_for_its_own_code_is_refused(tmp_path: Path, file: str) -> None:
    folder = checkpoint(tmp_path / "m")
    content = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps({**content, "auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(InputError) as caught:
        Checkpoint.open(folder)
    assert f"{file}: auto_map asks for code" in str(caught.value)
    assert "delete auto_map in a local copy" in str(caught.value)


def test_what_is_no_checkpoint_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "file").write_text("")
    for name, words in {
        "absent": "no such folder",
        "file": "is a file; a folder is needed",
        "empty": "has no config.json",
        "adapter": "is an adapter, not a model. Write BASE\\+",
    }.items():
        with pytest.raises(InputError, match=words):
            Checkpoint.open(tmp_path / name)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00\x01", "[" * 100_000])
def test_a_config_that_is_not_an_object_is_refused(tmp_path: Path, content: str) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "config.json").write_text(content)
    with pytest.raises(CorruptArtifactError, match=r"config.json: (not valid JSON|holds a list)"):
        Checkpoint.open(folder)


def test_a_config_without_weights_names_the_files_that_it_lacks(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=f"has neither model.safetensors nor {INDEX}"):
        Checkpoint.open(folder)


def test_the_chat_template_is_the_file_before_the_tokenizers_field(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    assert Checkpoint.open(folder).chat_template is None
    named = [{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert Checkpoint.open(folder).chat_template == "D"
    (folder / "chat_template.jinja").write_text("J")
    assert Checkpoint.open(folder).chat_template == "J"


def test_embeddings_are_tied_as_stated_or_else_where_no_head_is_stored(tmp_path: Path) -> None:
    assert Checkpoint.open(checkpoint(tmp_path / "stated")).tied
    assert not Checkpoint.open(checkpoint(tmp_path / "untied", tie_word_embeddings=False)).tied
    assert Checkpoint.open(checkpoint(tmp_path / "silent", tie_word_embeddings=None)).tied


def test_side_files_are_what_a_derivative_takes_along(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "m")
    for name in ("LICENSE.txt", "NOTICE", "README.md", "evil.py", "tokenizer.json"):
        (folder / name).write_text("x")
    (folder / "generation_config.json").write_text('{"do_sample": false}')
    model = Checkpoint.open(folder)
    assert {p.name for p in model.side_files()} == {
        "generation_config.json",
        "LICENSE.txt",
        "NOTICE",
    }
    assert [p.name for p in model.tokenizer_files] == ["tokenizer.json"]
    assert model.generation_config == {"do_sample": False}
