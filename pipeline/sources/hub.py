"""Models of the Hugging Face hub, at a commit: from the hub, or from its cache on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError

ID = re.compile(r"[\w-][\w.-]{0,95}(/[\w-][\w.-]{0,95})?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Weights, configuration, tokenizer, licence. No pickles, no Python, no subfolders (they repeat
# weights in other formats).
_WANTED = (
    "*.safetensors",
    "*.json",
    "*.txt",
    "*.model",
    "*.jinja",
    "README.md",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "USE_POLICY*",
)
_UNWANTED = ("*/*", "consolidated*.safetensors")


def is_named(text: object) -> bool:
    """Whether a value is a hub id with its owner, OWNER/NAME; a name without one is likelier a folder's."""
    return isinstance(text, str) and "/" in text and ID.fullmatch(text) is not None


def fetch(repository: str, revision: str | None) -> tuple[Path, str]:
    """The snapshot of a hub repository and its commit; `revision` None stands for main.

    Without a connection the hub's own cache is used, at the commit that it last saw. Raises
    InputError where the hub knows no such thing, EnvironmentFault where it cannot be reached.
    """
    commit, reached = _commit(repository, revision or "main")
    return _snapshot(repository, commit, local=not reached)


def _commit(repository: str, revision: str) -> tuple[str, bool]:
    """The commit that `revision` stands for, and whether the hub is to be asked for its files."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if _COMMIT.fullmatch(revision):
        return revision, True
    try:
        return str(HfApi().model_info(repository, revision=revision).sha), True
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"{repository}@{revision}: neither a folder here nor a revision on the hub. "
            "Check the name; for a private or gated model log in with `hf auth login`."
        ) from error
    except _unreachable():
        return revision, False


def _snapshot(repository: str, revision: str, *, local: bool) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(_WANTED),
            ignore_patterns=list(_UNWANTED),
            local_files_only=local,
        )
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(f"{repository}@{revision}: the hub has no such commit.") from error
    except _unreachable() as error:
        raise EnvironmentFault(
            f"{repository}@{revision}: no such folder here, the hub cannot be reached, "
            "and its cache on this machine has no copy. Check the path, or connect and try again."
        ) from error
    return Path(folder), Path(folder).name


def _unreachable() -> tuple[type[Exception], ...]:
    """What is raised where the hub, the network or the hub's cache fails."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    # OfflineModeIsEnabled and LocalEntryNotFoundError are OSErrors.
    return HfHubHTTPError, httpx.HTTPError, OSError
