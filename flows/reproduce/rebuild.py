"""The merge and the quantization of a record, run again in a folder of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flows.reproduce.compared import Artifact, compare_merged, compare_quantized, not_rebuilt
from flows.reproduce.recorded import Recorded, read_recorded
from flows.reproduce.sources import open_sources
from flows.reproduce.surroundings import Pair, surroundings
from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.folders import TEMPORARY, check_place
from pipeline.params import load_params
from pipeline.progress import meter
from pipeline.quantize.calibration import Calibration
from pipeline.sources import Reference, Source

PLACE = Path(".mergegate/reproduced")
_MB = 1_000_000
_BESIDE = 64 * _MB  # configuration and tokenizer of an artifact


@dataclass(frozen=True)
class Reproduction:
    """What came of rebuilding a release."""

    release: str
    candidate: str
    release_digest: str
    sources: tuple[str, ...]  # references, each as released
    artifacts: tuple[Artifact, ...]
    surroundings: Mapping[str, Pair]  # what differs from the record's
    notes: tuple[str, ...]
    kept: str | None  # the folder with what was rebuilt

    @property
    def identical(self) -> bool:
        """Whether every artifact was rebuilt, byte for byte."""
        return all(artifact.state == "identical" for artifact in self.artifacts)

    @property
    def exit_code(self) -> int:
        """0 identical; 2 something differs where nothing explains it; 4 it cannot be told here.

        Elsewhere than on the record's versions and class of hardware a difference proves nothing, and
        neither does an artifact that could not be rebuilt.
        """
        if self.identical:
            return 0
        differs = any(artifact.state == "differs" for artifact in self.artifacts)
        return 2 if differs and not self.surroundings else 4

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "identical": self.identical}


def reproduce(
    folder: Path,
    *,
    out: Path | None = None,
    keep: bool = False,
    threads: int | None = None,
    sources: Path = Path(),
    uri: str | None = None,
) -> Reproduction:
    """Rebuild the release in `folder` from its record and its sources, and compare.

    `out`: the folder to build in, which is then kept; by default one in the workspace, kept with
    `keep`. `threads` of the merge, which change no byte; quantization takes those of the record.
    `sources` and `uri` as in `open_sources`. Raises CorruptArtifactError for a broken record,
    InputError where a source is not what was released, EnvironmentFault where there is no room or
    llm-compressor is missing.
    """
    recorded = read_recorded(folder)
    if out:
        check_place(out)
    if out and (
        out.resolve().is_relative_to(folder.resolve())
        or folder.resolve().is_relative_to(out.resolve())
    ):
        raise InputError(f"{out}: holds the release, or lies in it. Name another folder.")
    if recorded.quantized:
        _require_quantization()
    place = out or PLACE / recorded.release_digest[:12]
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as scratch:
        opened = open_sources(recorded, sources, uri, Path(scratch, "hashes.json"))
        _check_room(recorded, opened, place)
        _merge(recorded, opened, place / "merged", threads, Path(scratch, "hashes.json"))
    merged, notes = compare_merged(recorded, place / "merged")
    artifacts, used = [merged], None
    if recorded.quantized:
        quantized, used, more = _quantized(recorded, merged, place)
        artifacts.append(quantized)
        notes += more
    kept = keep or out is not None
    if not kept:
        _remove(place)
    return Reproduction(
        release=str(folder),
        candidate=recorded.candidate,
        release_digest=recorded.release_digest,
        sources=tuple(sorted(map(str, opened))),
        artifacts=tuple(artifacts),
        surroundings=surroundings(recorded, threads=used),
        notes=notes + _unknown(recorded),
        kept=str(place) if kept else None,
    )


def _require_quantization() -> None:
    if find_spec("llmcompressor") is None:
        raise EnvironmentFault(
            "llm-compressor is not installed, and the release was quantized with it. "
            "Run `pip install 'mergegate[quantize]'`."
        )


def _check_room(recorded: Recorded, opened: Mapping[Reference, Source], place: Path) -> None:
    """Raise EnvironmentFault where merge and quantized artifact do not fit on the disk together."""
    from pipeline.merge import plan_merge

    steps = plan_merge(recorded.recipe, opened).steps
    needed = sum(step.spec.nbytes for step in steps) + _BESIDE
    if recorded.quantized:
        needed += int(recorded.quantization.get("weight_bytes_after", 0)) + _BESIDE
    disk = next(parent for parent in place.absolute().parents if parent.exists())
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise EnvironmentFault(
            f"{place}: rebuilding needs {needed:,} bytes, {disk} has {free:,} free. "
            "Free space, or name a folder on another disk with --out DIR."
        )


def _merge(
    recorded: Recorded,
    opened: Mapping[Reference, Source],
    out: Path,
    threads: int | None,
    hashes: Path,
) -> None:
    from pipeline.merge import merge

    with meter(f"merge {recorded.candidate} again", None, "MB") as progress:
        merge(
            recorded.recipe,
            opened,
            out,
            seed=recorded.seed,
            threads=threads,
            device=recorded.device,
            force=True,
            hashes=hashes,
            progress=progress.bytes_to,
        )


def _quantized(
    recorded: Recorded, merged: Artifact, place: Path
) -> tuple[Artifact, int | None, tuple[str, ...]]:
    """The quantized artifact made again, the threads that it took, and what to know of it."""
    assert recorded.quantized is not None
    name, said = "quantized", recorded.quantization
    if merged.state != "identical":
        why = "it is made from the merge, which differs already"
        return not_rebuilt(name, recorded.quantized, why), None, ()
    calibration, why = _calibration(recorded, place / "merged")
    if calibration is None:
        return not_rebuilt(name, recorded.quantized, why), None, ()
    from pipeline.quantize import quantize

    report = quantize(
        place / "merged",
        place / "quantized",
        scheme=said["scheme"],
        algorithm=said["algorithm"],
        group_size="auto" if said["group_size"] is None else said["group_size"],
        prompts=calibration.prompts,
        system=calibration.system,
        seed=said["seed"],
        threads=said.get("threads"),
    )
    return compare_quantized(recorded, place / "quantized"), report.threads, (why,) if why else ()


def _calibration(recorded: Recorded, merged: Path) -> tuple[Calibration | None, str]:
    """The calibration prompts and a note on them, or None and why there are none.

    A release that does not store them may find them in the workspace: those of the tune split, where
    their token ids have the digest of the record.
    """
    said = recorded.quantization
    if recorded.calibration is not None:
        return recorded.calibration, ""
    if said["algorithm"] == "rtn":
        return Calibration("", ()), ""
    stored = "this release does not store its calibration prompts"
    try:
        from pipeline.stages.latency import prompts

        params = load_params()
        given = prompts(params, "tune", said["calibration_samples"])
    except MergegateError as error:
        return None, f"{stored}, and this folder is not the workspace it was made in: {error}"
    found = Calibration(params.evaluate.system, tuple(given))
    if found.ids_digest(merged) != said["calibration_digest"]:
        return None, f"{stored}, and those of the tune split here are not the ones it was made with"
    return found, f"{stored}; those of the tune split here have the recorded digest."


def _unknown(recorded: Recorded) -> tuple[str, ...]:
    """What an older record does not say and quantization depends on."""
    if not recorded.quantized or "hardware" in recorded.quantization:
        return ()
    return (
        "The record is from before mergegate noted threads and hardware of a quantization; "
        "one thread was used here unless OMP_NUM_THREADS says otherwise.",
    )


def _remove(place: Path) -> None:
    """What was built, and the folder where nothing else is in it."""
    for name in ("merged", "quantized"):
        shutil.rmtree(place / name, ignore_errors=True)
    for folder in (place, place.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
