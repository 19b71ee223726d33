"""The files that users take away: weights in the published format, and a card that says how to build the network."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from utils import registry
from utils.io.atomic import atomic_path
from utils.paths import is_file, sha256_of
from utils.training.config import TrainConfig
from utils.training.networks import identity_file
from utils.training.saving import save
from utils.weights_file import cast, write_card

State = dict[str, Tensor]
log = logging.getLogger("ghost")


def write_weights(path: Path, state: State) -> None:
    """A state_dict as a .pth, contiguous on the CPU; raises OutputError."""
    save(path, _portable(state))


def _portable(state: State) -> State:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def half(state: State, path: Path) -> bytes:
    """A state_dict as .safetensors with float16 numbers; raises WeightsError, which names `path`, for numbers that are
    too large."""
    from safetensors.torch import save as packed

    return packed(cast(_portable(state), "float16", path))


def write_half(path: Path, state: State) -> str:
    """Write a state_dict as .safetensors with float16 numbers; returns the file's sha256.

    Raises OutputError, WeightsError for numbers that are too large.
    """
    content = half(state, path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # save_file() would let nobody else read the file
    return hashlib.sha256(content).hexdigest()


def digest(state: State) -> str:
    """A short name for exactly these numbers."""
    sha256 = hashlib.sha256()
    for tensor in _portable(state).values():
        sha256.update(tensor.numpy().tobytes())
    return sha256.hexdigest()[:16]


def write_network(folder: Path, latest: str, config: TrainConfig, state: State, card: dict[str, Any]) -> None:
    """`latest`.pth with its card and, where --export_name asks, the float16 form of both."""
    write_weights(folder / f"{latest}.pth", state)
    write_card(folder / f"{latest}.json", card)
    if config.export_name:
        name = config.export_name
        sha256 = write_half(folder / f"{name}.safetensors", state)
        write_card(folder / f"{name}.json", {**card, "name": name, "sha256": sha256})


def generator_card(config: TrainConfig, arguments: dict[str, Any], origin: str, encoder: str) -> dict[str, Any]:
    """What a generator's JSON says. encoder: the sha256 of the identity encoder's file, where it lies beside."""
    card = {"name": config.run_name, "network": "AEI_Net", "arguments": arguments, "crop_size": config.size,
            "identity": Path(config.identity).stem, "licence": config.licence, "origin": origin}
    card |= {"identity_sha256": encoder} if encoder else {}
    asked = {name: getattr(config, name) for name in registry.PIPELINE_OPTIONS}
    return card | {name: value for name, value in asked.items() if value != getattr(TrainConfig, name)}


def write_generator(folder: Path, config: TrainConfig, networks: dict[str, State], card: dict[str, Any]) -> None:
    """G_latest and D_latest, and the generator's card."""
    write_network(folder, "G_latest", config, networks["G"], card)
    write_weights(folder / "D_latest.pth", networks["D"])


class UsersEncoder:
    """The files of --identity, where they are the user's and stay as they are, for the generators that need them.

    They are known by their contents, since the encoder's own training may go on meanwhile.
    """

    def __init__(self, config: TrainConfig) -> None:
        """Raises WeightsError where the encoder is not there."""
        path = None if config.lr_identity else identity_file(config)
        files = () if path is None else (path, path.with_suffix(".json"))
        self._sums = {file: sha256_of(file) for file in files if is_file(file)}

    @property
    def sha256(self) -> str:
        """Of the encoder's weights; empty where --identity names no file."""
        return next((known for file, known in self._sums.items() if file.suffix == ".safetensors"), "")

    def lay_beside(self, folder: Path) -> None:
        """Copy the files into a generator's folder, unless they are there; raises OutputError."""
        for file, wanted in self._sums.items():
            copy = folder / file.name
            if is_file(copy) and sha256_of(copy) == wanted:
                continue
            if not is_file(file) or sha256_of(file) != wanted:
                log.warning("%s is no longer what this run was started with, so it was not copied to %s", file, folder)
                continue
            with atomic_path(copy) as temporary:
                shutil.copyfile(file, temporary)


def write_identity(folder: Path, config: TrainConfig, state: State, facts: dict[str, Any], origin: str) -> None:
    """The identity encoder that learned with a generator, under the name by which the generator's card calls it.

    facts: what the card of the encoder that it began as says, and what was measured since.
    """
    name = Path(config.identity).stem
    known = {"network": "iresnet", "arguments": {"depth": 100}} | facts
    if config.licence:
        known["licence"] = config.licence
    sha256 = write_half(folder / f"{name}.safetensors", state)
    write_card(folder / f"{name}.json", known | {"name": name, "origin": origin, "sha256": sha256})
