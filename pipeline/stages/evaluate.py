"""Stage `evaluate`: score one variant under every skill with lm-eval, as far as it was not scored before."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import progress
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.evaluate import Settings, SkillSpec, evaluate
from pipeline.evaluate.backend import Endpoint, is_served
from pipeline.evaluate.reuse import Store
from pipeline.evaluate.served.folder import one_folder
from pipeline.evaluate.served.identity import Behind
from pipeline.evaluate.served.plan import serving_faults
from pipeline.evaluate.served.probes import probes_of
from pipeline.evaluate.served.server import started
from pipeline.facts import digest_of, read_json, write_json, write_text
from pipeline.params import Params, load_params
from pipeline.sources import Source, artifact_digest, folder_digests
from pipeline.stages.workspace import (
    BUILD,
    CHAMPION,
    EVALS,
    HASHES,
    PLAIN,
    SOURCES,
    open_pinned,
    open_reference,
)

STORE = Path(".mergegate/evaluations")
# What the registry keeps beside a model that it serves, and no part of what was judged.
_CARD, _RELEASE = "README.md", "release/"
NO_REUSE = "MERGEGATE_NO_REUSE"  # set to anything: evaluate every skill, and leave STORE alone


@dataclass(frozen=True)
class Variant:
    """What is evaluated: a folder, with an adapter or without, under a name."""

    name: str
    reference: str  # as params.yaml has it, or the folder below build/
    model: Path
    adapter: Path | None
    digest: str
    out: Path
    source: Source | None = None  # base and experts, as they were pinned


def run(kind: str, name: str = "") -> None:
    """`base`, `expert NAME`, `plain`, `champion`, `merged CANDIDATE` or `quantized CANDIDATE`."""
    params = load_params()
    if reason := _skipped(kind, name):
        _write_skipped(BUILD / name / "evals" if name else EVALS, kind, reason)
        return
    variant = _variant(params, kind, name)
    if faults := serving_faults(params.evaluate, adapters=variant.adapter is not None):
        raise InputError.of(faults)
    store = None if os.environ.get(NO_REUSE) else Store(STORE)
    with _behind(params, variant) as behind:
        evaluate(
            variant.name,
            str(variant.model),
            adapter=variant.adapter,
            model_digest=variant.digest,
            skills=skill_specs(params),
            settings=settings(params),
            out=variant.out,
            reference=variant.reference,
            store=store,
            behind=behind,
            say=_say,
        )
    if store:
        _report(variant.name, store)


@contextmanager
def _behind(params: Params, variant: Variant) -> Iterator[Behind | None]:
    """The server of a variant, started here where params.yaml says how; None where no server is asked."""
    if not is_served(params.evaluate.backend):
        yield None
        return
    probes = () if params.evaluate.trusted else probes_of(_probe_sets(params))
    merged = variant.model.with_name("merged")
    akin = ("merged", merged) if variant.name == "quantized" and probes else None
    with _server(params, variant) as endpoint:
        yield Behind(probes, params.evaluate.trusted, endpoint, akin)


@contextmanager
def _server(params: Params, variant: Variant) -> Iterator[Endpoint | None]:
    """The address of a server that ends with the block; None where the operator runs one."""
    e = params.evaluate
    if not e.serve:
        yield None
        return
    with ExitStack() as stack:
        folder = variant.model
        if variant.adapter and variant.source:
            folder = stack.enter_context(one_folder(variant.source, variant.digest, HASHES))
        yield stack.enter_context(
            started(
                e.serve,
                variant=variant.name,
                model=folder.absolute(),
                backend=e.backend,
                timeout=e.serve_timeout,
            )
        )


def _probe_sets(params: Params) -> dict[str, list[Path]]:
    """Where the prompts of probes are taken from: the tune split, which no verdict rests on, before the test split."""
    return {
        skill.name: [path for split in ("tune", "test") if (path := skill.split(split))]
        for skill in params.evaluate.skills.values()
    }


def _report(variant: str, store: Store) -> None:
    """For the stage's log: what was not evaluated, and what was wrong with the store."""
    reused = [f"{variant}: as evaluated before: {', '.join(store.reused)}."] if store.reused else []
    resumed = [
        f"{variant}: {skill}: {count:,} samples taken from an unfinished evaluation."
        for skill, count in store.resumed.items()
    ]
    sys.stderr.writelines(line + "\n" for line in [*reused, *resumed, *store.notes])


def _say(line: str) -> None:
    """For who runs the stage by hand into a file or a pipe; a terminal has a bar, the release flow its own display."""
    unseen = progress.STAGE in os.environ or progress.QUIET in os.environ
    if not unseen and not sys.stderr.isatty():
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def skill_specs(params: Params) -> dict[str, SkillSpec]:
    """The skills of params.yaml, each over its test split."""
    return {
        skill.name: SkillSpec(
            task=skill.task,
            golden=skill.split("test"),
            metrics=skill.metrics,
            attributes=skill.attributes,
        )
        for skill in params.evaluate.skills.values()
    }


def settings(params: Params) -> Settings:
    """The decoding and backend settings of params.yaml."""
    e = params.evaluate
    return Settings(
        backend=e.backend,
        model_args=e.model_args,
        batch_size=e.batch_size,
        max_new_tokens=e.max_new_tokens,
        system=e.system,
        seed=params.seed,
        limit=e.limit,
        serve=e.serve,
    )


def _variant(params: Params, kind: str, name: str) -> Variant:
    if kind == "champion":
        return _champion(params)
    if kind in ("base", "expert"):
        pins = read_json(SOURCES)["pins"]
        text = params.base if kind == "base" else params.experts[name]
        source = open_pinned(params, text, pins)
        adapter = source.adapter.folder if source.adapter else None
        digest, folder = pins[text]["digest"], source.model.folder
        return Variant(name or "base", text, folder, adapter, digest, EVALS, source)
    folder = {"plain": PLAIN / "merged", "merged": BUILD / name / "merged"}.get(
        kind, BUILD / name / "quantized"
    )
    if kind not in ("plain", "merged", "quantized"):
        raise InputError(f"{kind!r} is not base, expert, plain, champion, merged or quantized.")
    out = EVALS if kind == "plain" else BUILD / name / "evals"
    digest = artifact_digest(folder, HASHES)
    return Variant(kind, folder.as_posix(), folder, None, digest, out)


def _champion(params: Params) -> Variant:
    """The version that is served now, as it was judged: other files lie beside the model in the registry."""
    stated = read_json(CHAMPION)
    folder = open_reference(stated["reference"], params.registry_uri).model.folder
    found = folder_digests(folder, HASHES)
    shipped = {f: sha for f, sha in found.items() if f != _CARD and not f.startswith(_RELEASE)}
    if digest_of(shipped) != stated["digest"]:
        raise CorruptArtifactError(
            f"{stated['reference']}: its files are not those that were judged and registered. "
            "Roll back to a version that is whole: `mergegate rollback`."
        )
    return Variant("champion", stated["reference"], folder, None, stated["digest"], EVALS)


def _skipped(kind: str, name: str) -> str:
    """Why there is nothing to evaluate; "" where there is."""
    if kind == "champion":
        return str(read_json(CHAMPION).get("absent", ""))
    if kind == "quantized":
        return str(read_json(BUILD / name / "quantize.json").get("skipped", ""))
    return ""


def _write_skipped(out: Path, variant: str, reason: str) -> None:
    """DVC wants every output of a stage; these say that there is nothing to judge, and why."""
    write_json(out / f"{variant}.json", {"skipped": reason})
    for part in ("samples", "answers"):
        write_text(out / f"{variant}.{part}.jsonl", "")
