"""Notices when a training has failed: values that are NaN or infinite, a collapsed generator or discriminator."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from utils.errors import DivergedError

_ONE_PICTURE = 0.02  # swaps that differ this little among each other, against targets, are all the same picture
_D_WON = 1e-4  # L_D at which no gradient reaches G any more


class Watch:
    """Looks at the metrics of single steps."""

    def __init__(self, patience: int, ignore_gradients: bool = False) -> None:
        """patience: steps of collapse that are borne, 0 for any number. ignore_gradients: float16 overflows now and
        then."""
        self._patience, self._ignored = patience, ("grad",) if ignore_gradients else ()
        self._since: dict[str, int] = {}

    def look(self, step: int, values: dict[str, float], last_good: Path | None) -> None:
        """Raises DivergedError that says what happened and which checkpoint is the last good one."""
        wrong = [
            name for name, value in values.items() if not math.isfinite(value) and not name.startswith(self._ignored)
        ]
        if wrong:
            raise DivergedError(f"step {step}: {', '.join(wrong)} became NaN or infinite; {_advice(last_good)}")
        alike = values.get("spread", 1.0) < _ONE_PICTURE
        self._bear("G", alike, step, "the generator gives the same picture for every input", last_good)
        self._bear("D", values.get("D", 1.0) < _D_WON, step, "the discriminator always wins (L_D near 0)", last_good)

    def look_at(self, step: int, networks: dict[str, dict[str, Tensor]], last_good: Path | None) -> None:
        """Raises DivergedError where weights, by the letters of their files, are wrong, which losses may tell later."""
        wrong = [letter for letter, state in networks.items()
                 if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values())]
        if wrong:
            raise DivergedError(
                f"step {step}: weights of {' and '.join(wrong)} became NaN or infinite; {_advice(last_good)}"
            )

    def _bear(self, name: str, collapsed: bool, step: int, what: str, last_good: Path | None) -> None:
        if not collapsed:
            self._since.pop(name, None)
            return
        start = self._since.setdefault(name, step)
        if self._patience and step - start >= self._patience:
            raise DivergedError(f"step {step}: since step {start} {what}; {_advice(last_good)}")


def _advice(last_good: Path | None) -> str:
    change = "lower --lr_G and --lr_D, add --warmup or --grad_clip"
    if last_good is None:
        return f"there is no checkpoint before it: start again, and {change}"
    return (
        f"the last good checkpoint is {last_good}. With the same options it may come to the same end: {change}, "
        "and go on from it by --resume and its name"
    )
