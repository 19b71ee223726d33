"""Images per second of one training step at the published size: this project's fastest setting against a plain one.

`python -m benchmarks.training_step --batch 8`. Both settings train the published networks (unet, 2 blocks, 256
pixels, iresnet100, three discriminators) on the same random pictures, with the same losses. The plain one is float32
with nothing else; on CUDA it has torch.amp as well. Every measurement is a process of its own, and the settings take
turns, so that a busy neighbour disturbs both; medians are reported. Writes benchmarks/results/training_step.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import iresnet100
from benchmarks.common import processor, write_results
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from utils.device import choose_device
from utils.memory import keep_freed_memory
from utils.training import losses
from utils.training.config import TrainConfig
from utils.training.networks import Critic
from utils.training.optimise import Updater, training_dtype
from utils.training.terms import DiscriminatorTerms, GeneratorTerms, Judges, SwapBatch

SETTINGS = ("plain", "fast")
WEIGHTS = {"adv": 1.0, "attr": 10.0, "id": 20.0, "rec": 10.0}
Networks = tuple[AEI_Net, MultiscaleDiscriminator, nn.Module]


def networks(device: torch.device) -> Networks:
    """Generator, discriminator and ArcFace of the published training, with random weights."""
    torch.manual_seed(0)
    D = MultiscaleDiscriminator(3, n_layers=5, norm_layer=nn.InstanceNorm2d)
    arcface = iresnet100(fp16=False).eval().requires_grad_(False)
    return AEI_Net("unet", 2, 512).to(device), D.to(device), arcface.to(device)


def pictures(batch: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Sources, targets (B, 3, 256, 256) float32 [-1, 1] and which pairs show one person (B,)."""
    Xs, Xt = torch.rand(2, batch, 3, 256, 256, generator=torch.Generator().manual_seed(1)).to(device) * 2 - 1
    return Xs, Xt, (torch.arange(batch, device=device) % 5 == 0).float()


def face_112(images: Tensor) -> Tensor:
    return F.interpolate(images, size=(112, 112), mode="bilinear", align_corners=False)


def plain_step(models: Networks, batch: int, device: torch.device) -> Callable[[], Tensor]:
    """The step as one writes it down first."""
    G, D, arcface = models
    Xs, Xt, same = pictures(batch, device)
    opt_G, opt_D = (torch.optim.Adam(m.parameters(), 4e-4, (0.0, 0.999), weight_decay=1e-4) for m in (G, D))
    amp = device.type == "cuda"

    def step() -> Tensor:
        with torch.autocast(device.type, enabled=amp):
            with torch.no_grad():
                z_id = arcface(face_112(Xs))
            Y, attr = G(Xt, z_id)
            terms = {"adv": losses.adversarial_loss(D(Y)), "attr": losses.attribute_loss(attr, G.get_attr(Y)),
                     "id": losses.identity_loss(z_id, arcface(face_112(Y))),
                     "rec": losses.reconstruction_loss(Y, Xt, same)}
            loss = torch.stack([WEIGHTS[name] * value.float() for name, value in terms.items()]).sum()
        opt_G.zero_grad()
        loss.backward()
        opt_G.step()
        with torch.autocast(device.type, enabled=amp):
            loss_D = losses.discriminator_loss(D(Y.detach()), D(Xs))
        opt_D.zero_grad()
        loss_D.backward()
        opt_D.step()
        return loss.detach()

    return step


def fast_step(models: Networks, batch: int, device: torch.device) -> Callable[[], Tensor]:
    """The training's own parts: mixed precision, channels last, compiled terms, fused Adam."""
    G, D, arcface = (m.to(memory_format=torch.channels_last) for m in models)  # type: ignore[call-overload]
    config = TrainConfig(run_name="benchmark")
    dtype = training_dtype(device, config.optim_level)
    G_updater = Updater(G, config, config.lr_G, dtype, ema=False)
    D_updater = Updater(D, config, config.lr_D, dtype, ema=False)
    judge = Critic(arcface, aligned=False)
    G_terms = GeneratorTerms(G, D, Judges(judge, judge), list(WEIGHTS), dtype)
    D_terms = DiscriminatorTerms(D, dtype)
    for part in (G_terms, D_terms) if device.type == "cuda" else (judge.network,):
        part.compile()
    Xs, Xt, same = pictures(batch, device)
    Xs, Xt = (x.contiguous(memory_format=torch.channels_last) for x in (Xs, Xt))

    def step() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, dtype):
            z_id = arcface(face_112(Xs)).float()
        D.requires_grad_(False)
        Y, terms = G_terms(SwapBatch(Xs, Xt, z_id, z_id, same, same, same.sum()))
        loss = torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
        G_updater.backward(loss)
        G_updater.update(1.0)
        D.requires_grad_(True)
        loss_D, _ = D_terms(Y.detach(), Xs)  # without R1
        D_updater.backward(loss_D)
        D_updater.update(1.0)
        return loss.detach()

    return step


def measure(setting: str, batch: int, steps: int, device: torch.device) -> list[float]:
    """Seconds of single steps, after two that warm up."""
    if setting == "fast" and device.type == "cpu":
        keep_freed_memory()
    step = (plain_step if setting == "plain" else fast_step)(networks(device), batch, device)
    seconds = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(step())  # waits for the device
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


def compare(batch: int, steps: int, rounds: int, device: torch.device) -> dict[str, object]:
    """Both settings in turns, each time in a new process."""
    seconds: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
    for number in range(rounds * len(SETTINGS)):
        setting = SETTINGS[number % len(SETTINGS)]
        command = [sys.executable, "-m", "benchmarks.training_step", "--setting", setting, "--batch", str(batch),
                   "--steps", str(steps), "--device", device.type]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{setting}: {measured} seconds a step", file=sys.stderr)
        seconds[setting] += measured
    median = {setting: statistics.median(values) for setting, values in seconds.items()}
    return {
        "batch": batch, "seconds": seconds,
        "images_per_second": {name: batch / value for name, value in median.items()},
        "ratio": median["plain"] / median["fast"], "torch": torch.__version__, "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=8, help="pairs a step; take the largest that fits")
    parser.add_argument("--steps", type=int, default=3, help="measured steps of every process")
    parser.add_argument("--rounds", type=int, default=2, help="processes of each setting")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--setting", choices=SETTINGS, help="measure this one here and print its seconds")
    options = parser.parse_args()
    device = choose_device(options.device)
    if options.setting:
        print(json.dumps(measure(options.setting, options.batch, options.steps, device)))
        return
    result = compare(options.batch, options.steps, options.rounds, device)
    write_results("training_step", result)


if __name__ == "__main__":
    main()
