"""How a reproduction is told: sources, artifacts, what differs here, and one sentence at the end."""

from __future__ import annotations

from flows import say
from flows.reproduce.compared import Artifact
from flows.reproduce.rebuild import Reproduction


def show(found: Reproduction) -> None:
    """A line for each thing that was compared or differs."""
    count = len(found.sources)
    say.line(f"sources    {count} as released, every file read and compared by SHA-256")
    for artifact in found.artifacts:
        say.line(f"{artifact.name:<10} {_artifact(artifact)}")
        for fault in artifact.differing:
            say.line(f"{'':10} {fault}")
    for name, pair in found.surroundings.items():
        say.line(f"here       {name} {pair['here']}; recorded {pair['recorded']}")
    for note in found.notes:
        say.line(f"note       {note}")
    if found.kept:
        say.line(f"kept       {found.kept}")
    say.line(_sentence(found))


def _artifact(artifact: Artifact) -> str:
    if artifact.state == "not rebuilt":
        return f"not rebuilt: {artifact.why}"
    if artifact.state == "identical":
        return f"identical: {artifact.files} files, recorded digest {artifact.recorded}"
    weights = "; the weights are identical" if artifact.weights_identical else ""
    return f"differs from the recorded digest {artifact.recorded}{weights}"


def _sentence(found: Reproduction) -> str:
    what = " and ".join(a.name for a in found.artifacts)
    if found.identical:
        return f"{found.release}: reproduced. {what.capitalize()}: the released bytes."
    if found.exit_code == 2:
        return (
            f"{found.release}: not reproduced. Versions and hardware are those of the record as far "
            "as it names them, and what was rebuilt differs."
        )
    if any(a.state == "differs" for a in found.artifacts):
        return (
            f"{found.release}: cannot be told. What was rebuilt differs, on other versions or other "
            "hardware than the record's; repeat it on those (see «here»)."
        )
    return f"{found.release}: reproduced in part; see what was not rebuilt."
