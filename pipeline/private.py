"""The folder .mergegate: what a workspace keeps for itself, its signing key among it, and git must not see.

It keeps itself out of git, so that it needs no line in the .gitignore of whoever's repository it lies in.
"""

from __future__ import annotations

from pathlib import Path

NAME = ".mergegate"
_IGNORE_ALL = "*\n"


def private_folder(folder: Path, mode: int = 0o777) -> Path:
    """Make `folder` and those above it; in a folder .mergegate on the way, a .gitignore that ignores all of it.

    Args:
        folder: any folder. Where it is not below a .mergegate, it is made and nothing else happens.
        mode: the rights of `folder` where it is made, less the umask.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=mode)
    root = next((p for p in (folder, *folder.parents) if p.name == NAME), None)
    if root is not None and not (ignore := root / ".gitignore").exists():
        ignore.write_text(_IGNORE_ALL, encoding="utf-8")
    return folder
