"""Builds the networks of a training run: those that learn, and the frozen ones that judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from coordinate_reg.network import LandmarkNet
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from utils import registry
from utils.errors import OptionError, WeightsError
from utils.paths import is_file
from utils.training import geometry
from utils.training.config import TrainConfig
from utils.training.eyes import EyeHeatmaps
from utils.training.faceres import FaceRes
from utils.training.filters import resized
from utils.training.sface import SFace
from utils.weights_file import fitting, read_card, read_state


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """A network that is only asked: no gradients of its own weights, running statistics fixed."""
    return network.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def identity_file(config: TrainConfig) -> Path | None:
    """The user's own encoder, where --identity names a file; raises WeightsError where neither that nor a model of
    this name is there."""
    if not Path(config.identity).suffix:
        known = [spec.name for spec in registry.SPECS.values() if spec.role == "identity"]
        if config.identity not in known:
            raise WeightsError(f"--identity {config.identity}: no such encoder; give {' or '.join(known)}, or a "
                               ".safetensors file with its JSON beside it")
        return None
    path = registry.resolve_file(config.identity)
    if path.suffix != ".safetensors" or not is_file(path):
        raise WeightsError(f"--identity {config.identity}: expected a .safetensors that is there, of an identity "
                           "encoder with its JSON beside it, or a name such as ghost_compact_identity")
    return path


def load_identity(config: TrainConfig, device: torch.device) -> tuple[IResNet, dict[str, Any]]:
    """The encoder that conditions the generator, and what its JSON says of it; raises WeightsError."""
    path = identity_file(config)
    loaded = registry.load_identity(config.identity if path is None else path.stem, beside=path)
    network = frozen(loaded.network, device)
    assert isinstance(network, IResNet)
    return network, dict(loaded.card)


def _named(config: TrainConfig, option: str) -> Path:
    """The file that an option names; raises WeightsError, which names the option, where it is not there."""
    path = registry.resolve_file(getattr(config, option))
    if not is_file(path):
        raise WeightsError(f"--{option} {path}: no such file; MODELS.md says where it comes from")
    return path


def load_landmarks(config: TrainConfig, device: torch.device) -> LandmarkNet | None:
    """The landmark network, where a loss or a measure asks for it; raises WeightsError."""
    if not config.uses_landmarks:
        return None
    network = registry.load_landmarks(_named(config, "landmarks")).network
    frozen(network, device)
    assert isinstance(network, LandmarkNet)
    return network


def load_eyes(config: TrainConfig, device: torch.device) -> EyeHeatmaps | None:
    """The eye landmark detector, where the eye loss is on; raises WeightsError."""
    if not config.eye_detector_loss:
        return None
    return EyeHeatmaps(_named(config, "eye_path")).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_sface(config: TrainConfig, device: torch.device) -> SFace:
    """The SFace teacher; raises WeightsError."""
    teacher = SFace(_named(config, "sface"))
    frozen(teacher, device)
    return teacher


def load_faceres(config: TrainConfig, device: torch.device) -> FaceRes | None:
    """The second teacher of likeness, where a loss asks for it; raises WeightsError."""
    if not (config.weight_faceres or config.weight_features):
        return None
    teacher = FaceRes(_named(config, "faceres"))
    frozen(teacher, device)
    return teacher


def generator_arguments(config: TrainConfig, c_id: int) -> dict[str, str | int | float]:
    """AEI_Net's arguments."""
    return {"backbone": config.backbone, "num_blocks": config.num_blocks, "c_id": c_id, "width": config.width,
            "size": config.size}


def build_generator(config: TrainConfig, c_id: int) -> AEI_Net:
    """A fresh generator, or the one of --G_path; raises OptionError for sizes that do not exist, WeightsError."""
    try:
        G = AEI_Net(**generator_arguments(config, c_id))  # type: ignore[arg-type]
    except ValueError as error:
        raise OptionError(f"no such generator: {error}") from error
    _check_card(config, generator_arguments(config, c_id))
    start_from(
        G,
        beginning(config, config.G_path),
        f"the generator of these options "
        f"(--backbone {config.backbone} --num_blocks {config.num_blocks} --size {config.size})",
    )
    return G


def _first_card(config: TrainConfig) -> dict[str, Any]:
    """The JSON beside the file that the generator starts from; empty where there is none."""
    path = beginning(config, config.G_path)
    file = registry.resolve_file(path)
    return read_card(file) if path and is_file(file) and is_file(file.with_suffix(".json")) else {}


def _check_card(config: TrainConfig, arguments: dict[str, str | int | float]) -> None:
    """Raises OptionError where the JSON beside --G_path is of a generator of other sizes."""
    given = _first_card(config).get("arguments", {})
    other = {name: value for name, value in given.items() if name in arguments and arguments[name] != value}
    if other.pop("c_id", None):
        raise OptionError(f"--G_path {config.G_path} takes {given['c_id']}-dimensional embeddings, but --identity "
                          f"{config.identity} gives {arguments['c_id']}-dimensional ones: choose two that belong "
                          "together")
    if other:
        options = " ".join(f"--{name} {value}" for name, value in other.items())
        raise OptionError(f"--G_path {config.G_path} holds a generator of other options: give {options}, or another "
                          "file")


def what_changes(config: TrainConfig) -> list[str]:
    """Lines about what a run that begins from --G_path does otherwise than the JSON beside it says."""
    card = _first_card(config)
    lines = []
    if card and card.get("identity") != Path(config.identity).stem:
        lines.append(f"the generator was trained with the identity encoder {card.get('identity')}, not "
                     f"{config.identity}: it has to learn anew what embeddings mean")
    lines += [f"its JSON says {name} {card[name]}, and this run's files will say {getattr(config, name)}: give --{name}"
              for name in registry.PIPELINE_OPTIONS if name in card and card[name] != getattr(config, name)]
    return lines


def build_discriminator(config: TrainConfig) -> MultiscaleDiscriminator:
    """A fresh discriminator, or the one of --D_path; raises WeightsError."""
    D = MultiscaleDiscriminator(
        3, config.discr_channels, config.discr_layers, nn.InstanceNorm2d, num_D=config.discr_scales
    )
    start_from(D, beginning(config, config.D_path), "the discriminator of these options")
    return D


def start_from(network: nn.Module, path: str, expected: str) -> None:
    """Load weights strictly, where the file is there; the options' check has refused files that were asked for and
    missing."""
    file = registry.resolve_file(path)
    if path and file.is_file():
        network.load_state_dict(fitting(network.state_dict(), read_state(file), file, expected))


def beginning(config: TrainConfig, path: str) -> str:
    """The file that a network starts from; empty: none."""
    return path if config.pretrained else ""


def origin(path: str) -> str:
    """Where a network's numbers come from at the start of a run, in words."""
    file = registry.resolve_file(path)
    return f"from {file}" if path and file.is_file() else "from scratch"


class Critic(nn.Module):
    """Who judges the swap's identity: the conditioning encoder on the whole crop, or SFace in its own alignment."""

    def __init__(self, network: nn.Module, aligned: bool, published: bool = False) -> None:
        """published: a network on the whole crop sees it as in the published training, with aliasing."""
        super().__init__()
        self.network, self.aligned, self.published = network, aligned, published

    def forward(self, images: Tensor, M_align: Tensor | None) -> Tensor:
        """images: (B, 3, S, S) float [-1, 1] RGB. M_align: (B, 2, 3), pixels of the 112 alignment to those of `images`;
        None where the network takes the whole crop.

        Returns (B, D) float32.
        """
        if not self.aligned:
            return self.network(self.view(images)).float()
        assert M_align is not None  # a set without keypoints was refused
        return self.network(geometry.warp(images, M_align, 112)).float()

    def view(self, images: Tensor) -> Tensor:
        """What a network on the whole crop sees of it, as in the pipeline: (B, 3, S, S) to (B, 3, side, side), [-1, 1]
        RGB, `side` being the network's own."""
        side = int(self.network.size)  # type: ignore[arg-type]
        if not self.published:
            return resized(images, side)
        return nn.functional.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def landmark_view(images: Tensor) -> Tensor:
    """What the landmark network sees of crops, as in the pipeline: (B, 3, S, S) to (B, 3, 112, 112), [-1, 1] RGB."""
    return resized(images, 112)
