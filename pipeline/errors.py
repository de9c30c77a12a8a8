"""The errors a command may end with, by who must act. The front end prints them and exits with their code."""

from __future__ import annotations

import errno
from collections.abc import Iterable


class MergegateError(Exception):
    """A failure with a message written for its reader: where, what, the limit, the way out."""

    exit_code = 1


class InputError(MergegateError):
    """The user must act: a recipe, parameter, source or golden set is wrong."""

    exit_code = 2

    @classmethod
    def of(cls, faults: Iterable[str]) -> InputError:
        """One error that reports all `faults` together, in the order given."""
        return cls("\n".join(faults))


class CorruptArtifactError(MergegateError):
    """A file is not what its record says: its digest, its header or its size is wrong."""

    exit_code = 2


class EnvironmentFault(MergegateError):
    """The machine or a service failed: disk, registry, network. Trying again may help."""

    exit_code = 6

    @classmethod
    def of(cls, error: OSError) -> EnvironmentFault:
        """What the operating system refused, in words: of a write it does not always name the file."""
        what = f"{error.filename or 'A file or standard output'}: {error.strerror or error}."
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return cls(f"{what} Free space, then run the command again." if full else what)
