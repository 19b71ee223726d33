"""Files of weights: read without running anything that they hold, and checked before anything is built from them;
and what is written of them."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import WeightsError
from utils.io.atomic import atomic_path
from utils.paths import is_file, sha256_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.overrides import TorchFunctionMode

_MOST_NUMBERS = 2**31
_SHOWN = 3  # names listed in a message
_OF_SEVERAL_CARDS = "module."
_COUNT = "num_batches_tracked"  # of batches that a batch norm has seen
# What PyTorch was seen to raise on files that are cut short, damaged or of another kind.
_GARBAGE = (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError,
            struct.error)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file, floating point as float32.

    Raises WeightsError for missing, truncated, foreign and unsafe files.
    """
    if not is_file(path):
        raise WeightsError(f"weights not found: {path}; check the name; download_models.sh has the published ones")
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} is an ONNX file, which is for other programs and is not read here; give the "
                           ".safetensors or .pth that it was made from")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty; download it again")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    count = sum(tensor.numel() for tensor in state.values())
    if count > _MOST_NUMBERS:  # a file may name one number a billion times
        raise WeightsError(f"{path} claims to hold {count:,} values, more than any network here; it was not read")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _broken(path, "a safetensors file") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # guesses about damaged files; the error says it better
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            raise WeightsError(f"{path} holds more than tensors (Python code or objects) so it was not loaded; "
                               "expected a state_dict of tensors. Do not use files from untrusted places") from error
        raise _broken(path, "a PyTorch file") from error
    except _GARBAGE as error:
        raise _broken(path, "a PyTorch file") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if isinstance(content, dict) and {"format", "task", "progress"} <= content.keys():
        raise WeightsError(f"{path} is the state of a whole training; its networks are in the folder above it, such as "
                           "G_latest.pth")
    for beside in ("state_dict", "model"):  # some trainers save it beside the epoch and the like
        if isinstance(content, dict) and isinstance(content.get(beside), dict):
            content = content[beside]
    if not isinstance(content, dict) or not content or not all(map(_is_whole, content.keys(), content.values())):
        raise WeightsError(f"{path} is not a state_dict: expected names with one tensor each; save module.state_dict()")
    wrapped = all(name.startswith(_OF_SEVERAL_CARDS) for name in content)  # saved on several cards at once
    return {name.removeprefix(_OF_SEVERAL_CARDS) if wrapped else name: tensor for name, tensor in content.items()}


def _is_whole(name: object, value: object) -> bool:
    """Whether this is a name with a tensor of the common kind."""
    import torch

    return isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided


def _broken(path: Path, kind: str) -> WeightsError:
    size = path.stat().st_size
    return WeightsError(f"{path} ({size} bytes) is not {kind} or was cut short; download it again and compare "
                        "its sha256 with weights/recorded.tsv if download_models.sh fetched it, or the JSON beside it")


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"cannot read {path}: {error.strerror or error}; check its permissions")


def read_card(path: Path) -> dict[str, Any]:
    """The JSON beside a file, which says how to build the network; raises WeightsError.

    The sha256 that it names is that of the .safetensors; a .pth may lie beside the two.
    """
    beside = path.with_suffix(".json")
    try:
        card = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} needs {beside.name} beside it, which says how to build its network") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {beside}: {error}") from error
    if not isinstance(card, dict) or not isinstance(card.get("arguments"), dict) or "network" not in card:
        raise WeightsError(f"{beside}: expected an object with 'network' and 'arguments'")
    if card.get("format") != 1:
        raise WeightsError(f"{beside}: format {card.get('format')!r} is unknown here, expected 1; update the program")
    wanted = card.get("sha256") if path.suffix == ".safetensors" and is_file(path) else None
    if wanted and sha256_of(path) != wanted:
        raise WeightsError(f"{path} is not the file that {beside.name} describes (sha256 differs); download both again")
    return card


def build(make: Callable[[], nn.Module], state: Mapping[str, Tensor], path: Path, expected: str) -> nn.Module:
    """A network that holds exactly the tensors of `state`, ready for inference.

    make: builds the network; called without memory for its weights, so a file that lies about its size costs nothing.
    expected: the architecture in words, for the message. Raises WeightsError where a name or shape differs.
    """
    import torch

    try:
        with torch.device("meta"), _no_random_numbers():
            network = make()
    except (TypeError, ValueError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        raise WeightsError(f"{path}: cannot build {expected}: {error}") from error
    state = fitting(network.state_dict(), state, path, expected)
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:  # whole numbers for weights, for instance
        raise WeightsError(f"{path}: does not fit {expected}: {error}") from error
    return network.eval().requires_grad_(False)


def _no_random_numbers() -> TorchFunctionMode:
    """Leave weights as they are allocated: drawing numbers for tensors without memory loads PyTorch's compiler, 2 s."""
    from torch.overrides import TorchFunctionMode

    class NoRandomNumbers(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__name__", "") in ("normal_", "uniform_"):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    return NoRandomNumbers()


def fitting(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path, expected: str
) -> dict[str, Tensor]:
    """The tensors of a file that a network of such tensors takes; batch norms' counts, which old files lack, are 0.

    Raises WeightsError that names the first differences.
    """
    import torch

    counts = {name: torch.zeros((), dtype=torch.int64) for name in wanted if name.endswith(_COUNT)}
    state = {**{name: count for name, count in counts.items() if name not in state}, **state}
    if found := differences(wanted, state):
        raise WeightsError(f"{path} does not hold {expected}: {found}. Choose the file or the options that belong "
                           "together")
    return state


def differences(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The first names and shapes in which a state_dict differs from the wanted one, on one line; empty where none."""
    found = [f"{name} is missing" for name in wanted if name not in state]
    found += [f"{name} is unknown" for name in state if name not in wanted]
    found += [f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
              for name, tensor in wanted.items() if name in state and state[name].shape != tensor.shape]
    return "; ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def cast(state: Mapping[str, Tensor], dtype: str, source: Path) -> dict[str, Tensor]:
    """Copies in another precision; integers stay as they are. Raises WeightsError for numbers that do not fit."""
    import torch

    wanted: torch.dtype = getattr(torch, dtype)
    result = {}
    for name, tensor in state.items():
        result[name] = tensor.to(wanted if tensor.is_floating_point() else tensor.dtype, copy=True).contiguous()
        if tensor.is_floating_point() and torch.isfinite(tensor).all() and not torch.isfinite(result[name]).all():
            raise WeightsError(f"{source}: {name} has values up to {tensor.abs().max():.3g}, too large for {dtype}")
    return result


def write_card(path: Path, card: dict[str, Any]) -> None:
    """The JSON beside weights, with lists of numbers on a line each; raises OutputError."""
    text = json.dumps({"format": 1, **card}, indent=1)
    text = re.sub(r"\[([-+.,\de\s]+)\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
