"""Average the weights of two networks of one training.

python -m utils.training.average FIRST SECOND OUTPUT.safetensors [--share 0.5]

Where one training was weighed for likeness and the next, which went on with its network, for clean pictures, what lies
between them may serve both. Networks of separate trainings have nothing between them.
Source: model soups, Wortsman et al., ICML 2022.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from utils.command import carried_out
from utils.errors import OptionError
from utils.options import Parser
from utils.training.export import write_half
from utils.weights_file import fitting, read_card, read_state, write_card


def average(first: Path, second: Path, output: Path, share: float) -> None:
    """Write `output`, float16, with the second's JSON.

    share: of the second, 0 to 1. Raises OptionError, OutputError, and WeightsError for networks that differ.
    """
    if output.suffix != ".safetensors":
        raise OptionError(f"{output}: give a name that ends in .safetensors")
    if output.resolve() in (first.resolve(), second.resolve()):
        raise OptionError(f"{output} would be overwritten by the mean of itself and another; give another output")
    if not 0 <= share <= 1:
        raise OptionError(f"--share must be from 0 to 1, not {share:g}")
    one, other, card = read_state(first), read_state(second), read_card(second)
    one = fitting(other, one, first, f"a network like that in {second}")
    mixed = {name: one[name].lerp(tensor, share) if tensor.is_floating_point() else tensor
             for name, tensor in other.items()}
    sha256 = write_half(output, mixed)
    write_card(output.with_suffix(".json"), card | {"name": output.stem, "sha256": sha256})


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, average, report; returns the exit code."""
    parser = Parser(prog="-m utils.training.average", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path, metavar="FIRST", help="weights to begin with: .pth or .safetensors")
    parser.add_argument("second", type=Path, metavar="SECOND", help="weights that the training went on to")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="where to write the mean: .safetensors")
    parser.add_argument("--share", type=float, default=0.5, metavar="X", help="of the second, 0 to 1 (default: 0.5)")

    def work() -> None:
        options = parser.parse_args(argv)
        average(options.first, options.second, options.output, options.share)
        print(f"{options.output}: {options.share:g} of {options.second}, {1 - options.share:g} of {options.first}")

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
