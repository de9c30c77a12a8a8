"""Whether a database answers, told in seconds. MLflow tries ten times, for over a minute, and shows each try."""

from __future__ import annotations

import threading

from pipeline.errors import EnvironmentFault
from pipeline.redaction import redacted

PATIENCE_S = (
    10.0  # a name that does not resolve, or a packet that is dropped, has no limit of its own
)
_DATABASES = ("postgresql", "mysql", "mssql")

_answered: set[str] = set()  # MLflow keeps its connections, so one look for a process is enough


def check_database(uri: str) -> None:
    """Connect once to the database at `uri`; nothing is done where it is a file, or a server of MLflow's.

    Raises SQLAlchemyError as the driver words it, ModuleNotFoundError where there is none, EnvironmentFault
    where no answer comes within PATIENCE_S.
    """
    if uri.partition("://")[0].partition("+")[0] not in _DATABASES or uri in _answered:
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    failed: list[Exception] = []

    def connect() -> None:
        try:
            engine.connect().close()
        except Exception as error:  # raised again below, by the thread that waits
            failed.append(error)

    # A thread, since not every driver has a limit; one that hangs ends with the process.
    trial = threading.Thread(target=connect, daemon=True)
    trial.start()
    trial.join(PATIENCE_S)
    if trial.is_alive():
        raise EnvironmentFault(
            f"{redacted(uri)}: the registry's database did not answer within {PATIENCE_S:g} seconds. Check "
            "registry.uri in params.yaml, the network and that the database runs, then run the command again: "
            "it goes on where it was."
        )
    if failed:
        raise failed[0]
    _answered.add(uri)
