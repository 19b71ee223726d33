"""Choose the models of a run and make its stages of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from coordinate_reg.landmarks import EmbeddedLandmarks, Landmarks, PublishedLandmarks
from utils import registry
from utils.device import choose_device, choose_dtype, half_of_the_cores, keep_float32_whole, why_not_cuda
from utils.errors import OptionError, WeightsError
from utils.inference import detect, glasses
from utils.inference.blend import Mixer
from utils.inference.blend_device import mixer_for
from utils.inference.config import InferenceConfig
from utils.inference.detectors import choose_detector, open_detector
from utils.inference.enhance import Enhancer
from utils.inference.glasses import Glasses
from utils.inference.identify import Identifier
from utils.inference.mask import MaskMargin
from utils.inference.occlusion import COVERED, RIMS, Occlusion
from utils.inference.settings import SwapSettings
from utils.inference.swap import Swapper
from utils.inference.turned import AnyWayUp
from utils.onnx_file import open_session
from utils.paths import is_file

if TYPE_CHECKING:
    import torch

    from arcface_model.iresnet import IResNet
    from network.AEI_Net import AEI_Net

_ENHANCER = "hifacegan"


@dataclass(frozen=True)
class ModelEntry:
    """What the result says of a model."""

    role: str
    name: str
    file: str  # absolute path
    licence: str
    commercial_use: str  # yes, no or unclear
    provider: str | None = None  # that really runs it, where ONNX Runtime does

    def as_dict(self) -> dict[str, str]:
        """The entry as plain values for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class Stages:
    """What the pipeline runs."""

    detector: detect.Detector
    identifier: Identifier
    swapper: Swapper
    landmarks: Landmarks
    enhancer: Enhancer | None
    occlusion: Occlusion | None
    rims: Occlusion | None  # of glasses
    mixer: Mixer
    settings: SwapSettings
    threshold: float  # cosine similarity from which a face is a reference's person: the user's, or the encoder's own
    encoder_threshold: float | None  # that the identity encoder was measured at; None where it is the published one
    device: str
    models: list[ModelEntry]
    notes: list[str]
    seconds: float  # spent loading

    def summary(self) -> str:
        """The models in one line, those in ONNX Runtime with the provider that they really run on."""
        names = [f"{entry.role} {entry.name}" + (f" ({entry.provider})" if entry.provider else "")
                 for entry in self.models]
        return f"models: {', '.join(names)}; on {self.device} in {self.swapper.dtype}"

    def model(self, role: str) -> ModelEntry:
        """The first model of a role that every run has."""
        return next(entry for entry in self.models if entry.role == role)


def choose_generator(config: InferenceConfig) -> tuple[Path, list[str]]:
    """The generator's file that --model and --G_path ask for, and notes on the choice; raises WeightsError.

    The default that nobody named may be absent; see InferenceConfig.asks_for.
    """
    asked = registry.resolve_file(config.G_path)
    if config.asks_for("G_path"):
        return asked, []
    arcface = registry.locate(registry.PUBLISHED_IDENTITY)
    if config.only_permissive and config.model == "auto":
        return registry.require(registry.EMBEDDED_GENERATOR), []
    if config.model == "ghost" or (config.model == "auto" and is_file(asked) and arcface is not None):
        return asked, []
    notes = []
    if config.model == "auto" and is_file(asked):
        notes.append(f"{asked} is not used, since its identity encoder arcface_model/backbone.pth is missing")
    return registry.require(registry.EMBEDDED_GENERATOR), notes


def idle_architecture(config: InferenceConfig, generator: registry.Loaded) -> list[str]:
    """A note where --backbone or --num_blocks asks for another architecture than that of the generator's JSON."""
    built = registry.generator_options(generator.network.state_dict())
    if built is None:
        return []
    idle = [f"--{name} {getattr(config, name)}" for name, value in zip(("backbone", "num_blocks"), built, strict=True)
            if config.asks_for(name) and getattr(config, name) != value]
    return [f"without effect: {' '.join(idle)}, since {generator.path} is built as its JSON says (--backbone "
            f"{built[0]} --num_blocks {built[1]}); --G_path names another generator"] if idle else []


def check_before_loading(config: InferenceConfig, generator: Path) -> None:
    """Find what is missing or refused before large files are read; raises WeightsError, OptionError."""
    names = [] if registry.is_described(generator) else [registry.name_of(generator), registry.PUBLISHED_IDENTITY]
    if config.use_sr:
        registry.require(_ENHANCER)
        names.append(_ENHANCER)
    if config.only_permissive:
        refuse_restricted({name: registry.commercial_use(name, None) for name in names})


def idle_looks(config: InferenceConfig, identity: registry.Loaded) -> list[str]:
    """Notes on options for how swaps look that change nothing with the enhancer, or with this identity encoder."""
    idle = [f"--{name}" for name in ("sharpen", "detail", "match_blur") if getattr(config, name)]
    notes = [f"without effect with --use_sr, which paints detail of its own and is to sharpen: "
             f"{', '.join(idle)}"] if config.use_sr and idle else []
    if config.asks_for("glasses") and config.glasses == "target" and _glasses(identity) is None:
        notes.append(f"without effect: --glasses target, since nothing is known of glasses with {identity.path}")
    return notes


def load_stages(config: InferenceConfig) -> Stages:
    """Load every model that a run with these options needs; raises WeightsError, OptionError, ResourceError."""
    start = time.perf_counter()
    device = choose_device(config.device)
    path, notes = choose_generator(config)
    generator, identity = _pair(config, path)
    if config.precision == "float32":
        keep_float32_whole()
    dtype = choose_dtype(config.precision, device)
    swapper = Swapper(generator.network, generator.card["crop_size"], device, dtype, config.batch_size)
    idle_card = why_not_cuda(config.device, device)
    published = identity.name == registry.PUBLISHED_IDENTITY
    detector, detector_entry = _detector(published, device, 0 if config.image_to_image else half_of_the_cores())
    landmarks, landmarks_entry = _landmarks(published, device, dtype)
    enhancer, enhancer_entries = _enhancer(device) if config.use_sr else (None, [])
    settings = _settings(config, generator, identity)
    occlusion, occlusion_entries = _covering("occlusion", device, settings.occlusion)
    rims, rims_entries = _covering("glasses", device, settings.occlusion if settings.keeps_glasses else 0.0)
    if rims is not None and settings.glasses is not None:  # nothing is painted that is there already
        settings = replace(settings, glasses=replace(settings.glasses, gain=0.0))
    return Stages(
        detector=AnyWayUp(detector),
        identifier=Identifier(identity.network, device, direct=identity.mirrored),
        swapper=swapper,
        landmarks=landmarks,
        enhancer=enhancer,
        occlusion=occlusion,
        rims=rims,
        mixer=mixer_for(device),
        settings=settings,
        threshold=_threshold(config, identity),
        encoder_threshold=identity.card.get("similarity_th") if identity.path.suffix == ".safetensors" else None,
        device=str(device),
        models=[*_pair_entries(generator, identity), detector_entry, landmarks_entry, *occlusion_entries,
                *rims_entries, *enhancer_entries],
        notes=[*notes, *idle_architecture(config, generator), *idle_looks(config, identity),
               *([idle_card] if idle_card else []), *provider_notes(device, detector.providers)],
        seconds=time.perf_counter() - start,
    )


def _pair(config: InferenceConfig, path: Path) -> tuple[registry.Loaded, registry.Loaded]:
    """The generator of this file and its identity encoder; raises WeightsError, OptionError."""
    check_before_loading(config, path)
    generator = registry.load_generator(path, config.backbone, config.num_blocks)
    identity = registry.load_identity(generator.card["identity"], path, generator.card.get("identity_sha256"))
    check_pair(generator, identity)
    if config.only_permissive:
        refuse_restricted({entry.name: entry.commercial_use for entry in _pair_entries(generator, identity)})
    return generator, identity


def _pair_entries(generator: registry.Loaded, identity: registry.Loaded) -> list[ModelEntry]:
    return [_entry("generator", generator), _entry("identity", identity)]


def _settings(config: InferenceConfig, generator: registry.Loaded, identity: registry.Loaded) -> SwapSettings:
    """The user's numbers and the generator's; raises WeightsError."""
    suits = {name: _suiting(config, generator.card, name) for name in registry.PIPELINE_OPTIONS}
    return SwapSettings(
        mask_margin=MaskMargin(int(suits["mask_wider"]), suits["mask_higher"]),
        rim_contrast=suits["rim_contrast"],
        grain=suits["grain"],
        identity_strength=config.identity_strength,
        identity_reach=suits["identity_reach"],
        least_contrast=suits["least_contrast"],
        tone=suits["tone"],
        sharpen=0.0 if config.use_sr else suits["sharpen"],
        detail=0.0 if config.use_sr else suits["detail"],
        match_blur=0.0 if config.use_sr else suits["match_blur"],
        occlusion=suits["occlusion"],
        glasses=_glasses(identity),
        target_glasses=config.glasses == "target",
        max_yaw=suits["max_yaw"],
    )


def _suiting(config: InferenceConfig, card: Mapping[str, Any], name: str) -> float:
    """The user's number where there is one, else the generator's own."""
    wanted = getattr(config, name, None)
    return float(card.get(name, 0) if wanted is None else wanted)


def check_pair(generator: registry.Loaded, identity: registry.Loaded) -> None:
    """Raises WeightsError where the generator takes embeddings of another length than its encoder makes."""
    wanted, made = cast("AEI_Net", generator.network).c_id, cast("IResNet", identity.network).num_features
    if wanted != made:
        raise WeightsError(f"{generator.path} takes {wanted}-dimensional embeddings, but its encoder "
                           f"{identity.path} gives {made}-dimensional ones: name in "
                           f"{generator.path.with_suffix('.json')} the encoder that it was trained with")


def _glasses(identity: registry.Loaded) -> Glasses | None:
    """What the encoder's JSON knows of glasses; raises WeightsError."""
    features = cast("IResNet", identity.network).num_features
    return glasses.from_card(identity.card, str(identity.path.with_suffix(".json")), features)


def provider_notes(device: torch.device, providers: Sequence[str]) -> list[str]:
    """Say so where the detector could run on the card of the networks and does not."""
    if device.type != "cuda" or "CUDAExecutionProvider" in providers:
        return []
    return ["face detection runs on the CPU, since this ONNX Runtime has no provider for cuda that works; "
            "see requirements-gpu.txt"]


def _threshold(config: InferenceConfig, identity: registry.Loaded) -> float:
    """The cosine from which a face is a reference's person: the user's, or the encoder's own."""
    threshold = identity.card.get("similarity_th") if config.similarity_th is None else config.similarity_th
    if threshold is None:
        raise WeightsError(f"{identity.path.with_suffix('.json')} does not say similarity_th; add it, or give "
                           "--similarity_th")
    return float(threshold)


def refuse_restricted(uses: Mapping[str, str]) -> None:
    """Raises OptionError where a model's commercial use (by its name) is not a plain yes, for --only-permissive."""
    refused = [f"{name} (commercial use: {use})" for name, use in uses.items() if use != "yes"]
    if refused:
        raise OptionError(f"--only-permissive refuses {', '.join(refused)}; MODELS.md says why. "
                          "Use --model embedded without --use_sr, or leave --only-permissive out; the licence of "
                          "networks of your own is what train.py --licence wrote into their JSON")


def _entry(role: str, loaded: registry.Loaded) -> ModelEntry:
    spec = registry.SPECS.get(loaded.name)
    stated = loaded.card.get("licence")
    licence = stated or (spec.licence if spec else "unknown")
    use = registry.commercial_use(loaded.name, stated)
    return ModelEntry(role, loaded.name, str(loaded.path.absolute()), licence, use)


def _onnx_entry(role: str, name: str, path: Path, providers: Sequence[str]) -> ModelEntry:
    """The same of a model of registry.SPECS that ONNX Runtime runs; providers: of its session, best first."""
    spec = registry.SPECS[name]
    return ModelEntry(role, name, str(path.absolute()), spec.licence, spec.commercial, providers[0])


def _detector(published: bool, device: torch.device, threads: int) -> tuple[detect.Detector, ModelEntry]:
    """SCRFD beside the published generator where its file is there, else CenterFace; threads: 0 for one per core."""
    name, path = choose_detector(published)
    detector = open_detector(name, path, device, threads)
    return detector, _onnx_entry("detector", name, path, detector.providers)


def _landmarks(published: bool, device: torch.device, dtype: torch.dtype) -> tuple[Landmarks, ModelEntry]:
    """InsightFace's 2d106det beside the published generator where its file is there, else the embedded network."""
    path = registry.locate("2d106det") if published else None
    if path is not None:
        session = open_session(path, device)
        return PublishedLandmarks(session), _onnx_entry("landmarks", "2d106det", path, session.get_providers())
    loaded = registry.load_landmarks(registry.require(registry.EMBEDDED_LANDMARKS))
    return EmbeddedLandmarks(loaded.network, device, dtype), _entry("landmarks", loaded)


def _enhancer(device: torch.device) -> tuple[Enhancer, list[ModelEntry]]:
    loaded = registry.load_enhancer(registry.require(_ENHANCER))
    return Enhancer(loaded.network, device), [_entry("enhancer", loaded)]


def _covering(role: str, device: torch.device, share: float) -> tuple[Occlusion | None, list[ModelEntry]]:
    """The network of this role that sees what covers faces; none where nothing of it is shown."""
    if not share:
        return None, []
    name, sure = (registry.EMBEDDED_OCCLUSION, COVERED) if role == "occlusion" else (registry.EMBEDDED_GLASSES, RIMS)
    loaded = registry.load_occlusion(registry.require(name))
    return Occlusion(loaded.network, device, share, sure), [_entry(role, loaded)]
