"""Weights from one file format and precision to another, with proof that the network still gives the same output."""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from utils import onnx_export, registry
from utils.errors import OptionError, WeightsError
from utils.io.atomic import atomic_path
from utils.paths import is_file, sha256_of
from utils.weights_file import build, cast, read_card, read_state, write_card

SUFFIXES = (".pth", ".safetensors")
TARGETS = (*SUFFIXES, ".onnx")
_SEED = 0  # of the fixed input
_MOST_DIFFERENCE = 0.1  # of the largest value of the output; what half precision changes is far less
_PUBLISHED_IDENTITY = {"depth": 100, "num_features": 512, "width": 1.0, "size": 112}


@dataclass(frozen=True)
class Architecture:
    """Which network a file holds and how it is built."""

    network: str
    arguments: dict[str, Any]
    make: Callable[[], nn.Module]
    inputs: tuple[tuple[int, ...], ...]  # shapes, for one picture
    facts: dict[str, Any]  # what else the JSON beside a .safetensors says

    def __str__(self) -> str:
        return f"{self.network}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


def recognise(state: Mapping[str, Tensor], path: Path) -> Architecture:
    """The network whose tensors these are; raises WeightsError where it is none of this project."""
    for attempt in (_generator, _identity, _landmarks, _enhancer, _eyes, _discriminator):
        try:
            found = attempt(state)
        except KeyError as error:
            raise WeightsError(f"{path} is incomplete: it has no tensor {error}") from error
        except (IndexError, ZeroDivisionError) as error:
            raise WeightsError(f"{path} is damaged: a tensor in it has a shape that no network of this project has; "
                               "download or export it again") from error
        if found is not None:
            return found
    raise WeightsError(f"{path} holds no network of this project (first tensor: {next(iter(state))}); expected a "
                       "generator, discriminator, identity encoder, landmark network, enhancer or eye detector")


def _generator(state: Mapping[str, Tensor]) -> Architecture | None:
    options = registry.generator_options(state)
    if options is None:
        return None
    from network.AEI_Net import AEI_Net

    arguments: dict[str, Any] = {"backbone": options[0], "num_blocks": options[1],
                                 "c_id": state["generator.up1.weight"].shape[0]}
    size, published = 256, arguments["c_id"] == _PUBLISHED_IDENTITY["num_features"]
    if options[0] != "resnet":
        levels = _count(state, r"encoder\.conv(\d+)\.")
        size = 2 ** (levels + 1)
        arguments |= {"width": state["encoder.conv1.0.weight"].shape[0] / 32, "size": size}
    return Architecture("AEI_Net", arguments, lambda: AEI_Net(**arguments),
                        ((1, 3, size, size), (1, arguments["c_id"])),
                        {"crop_size": size, **({"identity": registry.PUBLISHED_IDENTITY} if published else {})})


def _identity(state: Mapping[str, Tensor]) -> Architecture | None:
    if "features.running_var" not in state or "layer4.0.bn1.weight" not in state:
        return None
    from arcface_model.iresnet import LAYERS, iresnet

    layers = [_count(state, rf"layer{stage}\.(\d+)\.") + 1 for stage in range(1, 5)]
    depth = next((depth for depth, blocks in LAYERS.items() if list(blocks) == layers), None)
    if depth is None:
        return None
    cells = state["fc.weight"].shape[1] // state["bn2.weight"].shape[0]
    arguments: dict[str, Any] = {"depth": depth, "num_features": state["features.weight"].shape[0],
                                 "width": state["conv1.weight"].shape[0] / 64, "size": 16 * math.isqrt(cells)}
    size, facts = arguments["size"], {"crop_size": arguments["size"]}
    if arguments == _PUBLISHED_IDENTITY:
        facts["similarity_th"] = registry.PUBLISHED_THRESHOLD
    return Architecture("iresnet", arguments, lambda: iresnet(**arguments), ((1, 3, size, size),), facts)


def _landmarks(state: Mapping[str, Tensor]) -> Architecture | None:
    if "stages.0.0.weight" not in state or "fc.bias" not in state:
        return None
    from coordinate_reg.network import LandmarkNet

    # A strided convolution and a residual block per stage; the last one may be a neck.
    last = _count(state, r"stages\.(\d+)\.")
    firsts = [state[f"stages.{i}.0.weight"] for i in range(0, last + 1, 2)]
    channels = [first.shape[0] for first in firsts if first.shape[2:] == (3, 3)]
    neck = firsts[-1].shape[0] if len(channels) < len(firsts) else 0
    arguments: dict[str, Any] = {"channels": channels, "points": state["fc.bias"].shape[0] // 2, "neck": neck}
    side = 7 * 2 ** len(channels)
    return Architecture("LandmarkNet", arguments, lambda: LandmarkNet(**arguments), ((1, 3, side, side),),
                        {"crop_size": side})


def _enhancer(state: Mapping[str, Tensor]) -> Architecture | None:
    first = state.get("lip_encoder.model.0.weight")
    if first is None:
        return None
    from models.enhancer import LIPSPADEGenerator

    arguments = {"ngf": first.shape[0]}
    return Architecture("LIPSPADEGenerator", arguments,
                        lambda: LIPSPADEGenerator(**arguments).per_image_statistics(),  # as --use_sr computes it
                        ((1, 3, 256, 256),), {})


def _eyes(state: Mapping[str, Tensor]) -> Architecture | None:
    if "m0.coordconv.conv.weight" not in state:
        return None
    from models.fan import FAN

    arguments = {"stacks": _count(state, r"m(\d+)\.coordconv") + 1}
    return Architecture("FAN", arguments, lambda: FAN(**arguments), ((1, 3, 256, 256),), {})


def _discriminator(state: Mapping[str, Tensor]) -> Architecture | None:
    if "layer0.0.weight" not in state or state["layer0.0.weight"].shape[1:] != (3, 4, 4):
        return None
    from torch.nn import InstanceNorm2d

    from network.MultiscaleDiscriminator import MultiscaleDiscriminator

    # Convolutions of a scale: a first one, n_layers more and the one that gives the map.
    layers = len({name for name in state if re.fullmatch(r"layer0\.\d+\.bias", name)}) - 2
    arguments: dict[str, Any] = {"input_nc": 3, "ndf": state["layer0.0.weight"].shape[0], "n_layers": layers,
                                 "num_D": _count(state, r"layer(\d+)\.0\.") + 1}
    return Architecture("MultiscaleDiscriminator", arguments,
                        lambda: MultiscaleDiscriminator(norm_layer=InstanceNorm2d, **arguments),
                        ((1, 3, 256, 256),), {})


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """The largest number in tensor names of a pattern, but no more than there are tensors."""
    largest = max((int(match[1]) for match in map(re.compile(pattern).match, state) if match), default=0)
    return min(largest, len(state))


def convert(source: Path, target: Path, dtype: str, program: str = "facefusion") -> dict[str, Any]:
    """Write the tensors of `source` to `target` as float32 or float16.

    The format follows from the endings. A .safetensors gets its JSON, and so does a .pth whose source has one; an .onnx
    for FaceFusion gets its checksum. program: facefusion or visomaster, for which an .onnx is made.
    Returns what was done, with the largest difference of the network's output.
    Raises OptionError, WeightsError, OutputError.
    """
    for path, suffixes in ((source, SUFFIXES), (target, TARGETS)):
        if path.suffix not in suffixes:
            raise OptionError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    if source.resolve() == target.resolve():
        raise OptionError(f"{source} would be overwritten by its own conversion; give another output")
    state = read_state(source)
    known = _known(source)
    architecture = recognise(state, source)
    written = cast(state, dtype, source)
    with atomic_path(target) as temporary:
        reference = _output(architecture, state, source)
        if target.suffix == ".onnx":
            converted = _as_onnx(architecture, written, source, temporary, dtype, program)
        else:
            temporary.write_bytes(_serialise(written, target.suffix))
            converted = _output(architecture, read_state(temporary), source)
        absolute, relative = _difference(reference, converted)
        if not relative < _MOST_DIFFERENCE:
            raise WeightsError(f"{source}: as {dtype} its network gives something else, by up to {relative:.2g} of the "
                               "largest value; its weights are broken, or need --dtype float32")
        advice = ""
        if target.suffix != ".onnx":  # before the weights get their name: a disk that is full leaves none without it
            advice = _describe(architecture, source, target, known, sha256_of(temporary))
    if target.suffix == ".onnx":
        identity = known.get("identity", architecture.facts.get("identity", "the encoder that it was trained with"))
        advice = onnx_export.complete(architecture.network, architecture.arguments, identity, target, program)
    return {"source": str(source), "output": str(target), "architecture": str(architecture), "dtype": dtype,
            "source_bytes": source.stat().st_size, "output_bytes": target.stat().st_size,
            "largest_difference": absolute, "relative_difference": relative, "advice": advice}


def _known(source: Path) -> dict[str, Any]:
    """What the JSON of the source says, empty where there is none; raises WeightsError."""
    if not source.with_suffix(".json").is_file():
        return {}
    card = read_card(source)
    registry.check_facts(card, source.with_suffix(".json"))
    return card


def _describe(architecture: Architecture, source: Path, target: Path, known: Mapping[str, Any], sha256: str) -> str:
    """Write what belongs beside a conversion: its JSON and, of a generator, its encoder; returns what to say of them.

    sha256: of the conversion, which only the JSON of a .safetensors names. Raises OptionError, WeightsError,
    OutputError.
    """
    advice = _take_encoder_along(source, target, known.get("identity", ""))
    if target.suffix == ".safetensors":
        _write_card(architecture, source, target, {**known, "sha256": sha256})
        if architecture.network == "AEI_Net" and "identity" not in {**architecture.facts, **known}:
            advice = (f"{target.with_suffix('.json')} does not say which identity encoder it was trained with: add its "
                      'name as "identity"')
    elif known and target.with_suffix("") != source.with_suffix(""):
        _write_card(architecture, source, target, {key: value for key, value in known.items() if key != "sha256"})
    return advice


def _take_encoder_along(source: Path, target: Path, name: str) -> str:
    """Copy the encoder that lies beside a generator, and is no installed model, to its conversion; returns what to say.

    Raises OptionError where another one of its name lies there, WeightsError, OutputError.
    """
    own, copy = source.with_name(f"{name}.safetensors"), target.with_name(f"{name}.safetensors")
    installed = registry.locate(name) if name in registry.SPECS else None
    if not is_file(own) or own.resolve() in (copy.resolve(), installed and installed.resolve()):
        return ""
    sha256 = sha256_of(own)
    read_card(own)
    if is_file(copy) and sha256_of(copy) != sha256:
        raise OptionError(f"{copy} is another identity encoder than {own}, with which {source} was trained: give an "
                          "output in another folder")
    for suffix in (".json", ".safetensors"):
        with atomic_path(copy.with_suffix(suffix)) as temporary:
            shutil.copyfile(own.with_suffix(suffix), temporary)
    return f"{copy}: the identity encoder that it was trained with, a copy of {own}"


def _serialise(state: dict[str, Tensor], suffix: str) -> bytes:
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _as_onnx(
    architecture: Architecture, state: Mapping[str, Tensor], source: Path, path: Path, dtype: str, program: str
) -> list[Tensor]:
    """Write an ONNX file; returns what its network gives for the fixed inputs."""
    network = build(architecture.make, state, source, str(architecture)).float()
    inputs = _fixed_inputs(architecture)
    onnx_export.write_onnx(network, architecture.network, architecture.arguments, inputs, path, dtype, program)
    return [torch.from_numpy(onnx_export.run_onnx(path, inputs))]


def _difference(reference: list[Tensor], converted: list[Tensor]) -> tuple[float, float]:
    """Largest difference of outputs, as it is and relative to the largest number, infinite where that is 0 and they
    differ; ONNX files give the first output alone."""
    pairs = list(zip(reference, converted, strict=False))
    absolute = max(float((a - b).abs().max()) for a, b in pairs)
    largest = max(float(tensor.abs().max()) for tensor, _ in pairs)
    if not largest:
        return absolute, math.inf if absolute else 0.0
    return absolute, absolute / largest


def _fixed_inputs(architecture: Architecture) -> tuple[Tensor, ...]:
    """Inputs that are the same every time, float32."""
    generator = torch.Generator().manual_seed(_SEED)
    return tuple(2 * torch.rand(shape, generator=generator) - 1 for shape in architecture.inputs)


def _output(architecture: Architecture, state: Mapping[str, Tensor], source: Path) -> list[Tensor]:
    """All tensors that the network gives for the fixed inputs."""
    network = build(architecture.make, state, source, str(architecture))
    with torch.inference_mode():
        return _flatten(network(*_fixed_inputs(architecture)))


def _flatten(output: Any) -> list[Tensor]:
    return [tensor for part in output for tensor in _flatten(part)] if isinstance(output, (list, tuple)) else [output]


def _write_card(architecture: Architecture, source: Path, target: Path, known: Mapping[str, Any]) -> None:
    """The JSON that says how to build the network; known: what is kept of the source's own JSON, and the sha256."""
    spec = registry.SPECS.get(registry.name_of(source))
    card = {"licence": spec.stated if spec else "unknown", **architecture.facts, **known,
            "name": target.stem, "network": architecture.network, "arguments": architecture.arguments,
            "origin": known.get("origin", f"converted from {source.name}")}
    write_card(target.with_suffix(".json"), card)
