"""Convert weights between PyTorch's .pth and safetensors: `python convert_weights.py --help`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.errors import GhostError
from utils.options import Parser

DESCRIPTION = """Convert published weights (.pth) to safetensors, which load faster and can run nothing, and back.
The formats follow from the endings; a .safetensors gets a JSON of the same name, which says how to build its network.
Prints the largest difference that the conversion makes to the network's output on a fixed input."""


def parser() -> Parser:
    """The command line."""
    result = Parser(prog="convert_weights.py", description=DESCRIPTION, allow_abbrev=False)
    result.add_argument("source", type=Path, metavar="INPUT", help="weights to read: .pth or .safetensors")
    result.add_argument("output", type=Path, metavar="OUTPUT", help="where to write them: .pth or .safetensors")
    result.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="precision in the file; networks compute in float32 all the same (default: float32)")
    result.add_argument("--json", action="store_true", help="print one JSON object with the result on standard output")
    return result


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    before, after = (result[key] / 1e6 for key in ("source_bytes", "output_bytes"))
    return (f"{result['output']}: {result['architecture']}, {result['dtype']}, {after:.1f} MB (was {before:.1f} MB)\n"
            f"largest difference of the output: {result['largest_difference']:.2e}, "
            f"{result['relative_difference']:.2e} of the largest value")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, convert, report; returns the exit code."""
    try:
        options = parser().parse_args(argv)
        from utils.convert import convert  # not before --help was answered

        result = convert(options.source, options.output, options.dtype)
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result, indent=1) if options.json else describe(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
