"""Convert weights between PyTorch's .pth and safetensors, or to ONNX: `python convert_weights.py --help`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.command import carried_out
from utils.errors import NOTHING_WRITTEN
from utils.options import Parser

PROGRAMS = ("facefusion", "visomaster")
DESCRIPTION = """Convert published weights (.pth) to safetensors, which load faster and can run nothing, and back, or
write either as ONNX, for ONNX Runtime and programs that swap faces with it. The formats follow from the endings; a
.safetensors gets a JSON of the same name, which says how to build its network. A generator's ONNX has the inputs
`target`, RGB crops from -1 to 1, and `source`, raw embeddings of one person or of one per crop; the enhancer's has
`input`, RGB crops from 0 to 1, which it treats one by one, as --use_sr does; clamp its output to that range. Prints the
largest difference that the conversion makes to the network's output on a fixed input."""


def parser() -> Parser:
    """The command line."""
    result = Parser(prog="convert_weights.py", description=DESCRIPTION)
    result.add_argument("source", type=Path, metavar="INPUT", help="weights to read: .pth or .safetensors")
    result.add_argument("output", type=Path, metavar="OUTPUT", help="where to write them: .pth, .safetensors or .onnx")
    result.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="precision in the file; networks compute in float32 all the same, but for those in ONNX, "
                             "whose inputs and output alone do (default: float32)")
    result.add_argument("--onnx_for", choices=PROGRAMS, default=PROGRAMS[0],
                        help="program whose names and files a generator's ONNX gets: FaceFusion's, with the checksum "
                             "it asks for as .hash, or VisoMaster-Fusion's (default: facefusion)")
    result.add_argument("--json", action="store_true", help="print one JSON object with the result on standard output")
    return result


def describe(result: dict[str, Any]) -> str:
    """The result in words."""
    before, after = (result[key] / 1e6 for key in ("source_bytes", "output_bytes"))
    return (f"{result['output']}: {result['architecture']}, {result['dtype']}, {after:.1f} MB (was {before:.1f} MB)\n"
            f"largest difference of the output: {result['largest_difference']:.2e}, "
            f"{result['relative_difference']:.2e} of the largest value"
            + (f"\n{result['advice']}" if result["advice"] else ""))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, convert, report; returns the exit code."""

    def work() -> None:
        options = parser().parse_args(argv)
        from utils.convert import convert  # not before --help was answered

        result = convert(options.source, options.output, options.dtype, options.onnx_for)
        print(json.dumps(result, indent=1) if options.json else describe(result))

    return carried_out(work, f"interrupted; {NOTHING_WRITTEN}")


if __name__ == "__main__":
    sys.exit(main())
