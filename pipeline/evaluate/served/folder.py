"""An adapter over its base as one folder that any server can serve, for as long as it is evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.merge import merge
from pipeline.recipe import parse_recipe
from pipeline.sources import Source

SERVED = Path(".mergegate/served")


@contextmanager
def one_folder(source: Source, digest: str, hashes: Path) -> Iterator[Path]:
    """`source`, base and adapter, merged into a folder below SERVED that `digest` names; removed at the end.

    What a killed evaluation left there is written anew. `hashes` is the cache of known file digests.
    """
    folder = SERVED / digest[:32]
    recipe = parse_recipe(
        {"merge_method": "passthrough", "models": [{"model": str(source.reference)}]},
        f"{source.reference} as one folder",
    )
    try:
        merge(recipe, {source.reference: source}, folder, force=True, hashes=hashes)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
