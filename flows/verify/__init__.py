"""A release checked against itself: what was written, by whose key, and the verdict computed again.

Each module has one part: the files and the record (`folder`), the verdict (`judged`), signature,
provenance and bill of materials (`attested`), what other files say as well (`consistent`,
`found_sources`), what people read (`rendered`), the weights (`weights`), what a registry says of a
version (`registry`), and how all of that is told (`words`). Every part reads and changes nothing.

Promises: whatever is wrong with the content is a fault with the file and the field, never a
traceback; a folder is checked without network, registry or model. Importing this package imports
neither MLflow nor torch.
"""

from flows.verify.folder import find_release, verify
from flows.verify.registry import verify_version
from flows.verify.result import MOST, Verification
from flows.verify.words import show

__all__ = ["MOST", "Verification", "find_release", "show", "verify", "verify_version"]
