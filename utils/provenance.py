"""Say what a photo or a video tells of its making: python -m utils.provenance FILE [--json]."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command import carried_out
from utils.options import Parser, boolean

if TYPE_CHECKING:
    from utils.io.provenance import Provenance, Signed

_SOURCES = {
    "compositeWithTrainedAlgorithmicMedia": "edited with generative AI",
    "trainedAlgorithmicMedia": "made by generative AI",
    "digitalCapture": "taken with a camera",
}
_ACTIONS = {
    "c2pa.created": "it was made", "c2pa.opened": "a file was opened", "c2pa.edited": "it was edited",
    "c2pa.redacted": "a part of an earlier file's manifest was removed",
}
_STATES = {
    "Valid": "the file is as it was when it was signed; nobody vouches for the signer",
    "Trusted": "the file is as it was when it was signed, by a signer who is vouched for",
}
_CHANGED = "does not fit: file or manifest were changed after it was signed"


def in_words(found: Provenance) -> Iterator[str]:
    """What was found, line by line."""
    if said := found.statement:
        yield f"{said.place}: {_source(said.source_type)}; written by {said.tool or 'a program that gives no name'}"
    else:
        yield "XMP or comment: nothing"
    yield from _signed(found.manifest) if found.manifest else ["C2PA manifest: none"]
    yield from found.notes
    if found.statement or found.manifest:
        yield "Anybody can write such marks, and remove them: they tell what a program says, and not who used it."


def _source(term: str | None) -> str:
    if term is None:
        return "does not say how it came to be"
    name = term.rpartition("/")[2]
    return f"{_SOURCES[name]} ({name})" if name in _SOURCES else name


def _signed(manifest: Signed) -> Iterator[str]:
    problems = f" ({', '.join(manifest.problems)})" * bool(manifest.problems)
    yield f"C2PA manifest: {_STATES.get(manifest.state, _CHANGED)}{problems}"
    yield f"  written by {manifest.tool or 'a program that gives no name'}; signed by {manifest.signer or 'nobody'}"
    for entry in manifest.actions:
        action, term = entry["action"], entry.get("source_type")
        yield f"  {_ACTIONS.get(action, action)}{f': {_source(term)}' if term else ''}"
    if manifest.earlier:
        yield f"  with {manifest.earlier} manifest(s) of what it was made from"


def main(argv: Sequence[str] | None = None) -> int:
    """Look at a file and print what it says; returns the exit code."""
    parser = Parser(prog="-m utils.provenance", description="Say what a photo or a video tells of its making.")
    parser.add_argument("file", type=Path, metavar="FILE", help="photo or video, of any origin")
    parser.add_argument("--json", nargs="?", const=True, default=False, type=boolean, metavar="True|False",
                        help="print one JSON object")

    def work() -> None:
        options = parser.parse_args(argv)
        from utils.io.provenance import look  # --help must not wait for it

        found = look(options.file)
        if options.json:
            print(json.dumps({"file": str(options.file), **asdict(found)}, indent=1))
        else:
            print("\n".join(in_words(found)))

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
