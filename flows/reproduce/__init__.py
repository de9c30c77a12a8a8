"""A release made again from its record alone, and compared byte for byte with what was released.

Each module has one part: what the record says (`recorded`), its sources opened at their pinned
revisions (`sources`), the merge and the quantization (`rebuild`), the comparison (`compared`), where
versions and hardware differ (`surroundings`), and how it is told (`words`).

Promises: no byte of a source is used that is not the one released, every one of them is read; the
release folder and the workspace stay as they are. Importing this package imports neither torch nor
MLflow.
"""

from flows.reproduce.compared import Artifact
from flows.reproduce.rebuild import Reproduction, reproduce
from flows.reproduce.recorded import Recorded, locate, read_recorded
from flows.reproduce.words import show

__all__ = [
    "Artifact",
    "Recorded",
    "Reproduction",
    "locate",
    "read_recorded",
    "reproduce",
    "show",
]
