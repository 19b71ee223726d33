"""The generator and whole videos on an NVIDIA card: python -m benchmarks.nvidia [--frames 300] [--skip compile ...]

Every part prints its line at once and is kept in benchmarks/results/cuda.json before the next begins; the longest comes
last, so that little is lost when time runs out. Crops per second of `graphs` are those of the program's own batches,
uploads and downloads included; the other engines only compute. Operations are those of the plain module, the share is
that of the card's measured product of matrices in the same arithmetic (plain: TF32). Errors are in levels of 255,
against the plain module in float32 without TF32.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import commit, keep_results, processor, versions
from benchmarks.end_to_end import MODELS, SIZES
from benchmarks.sets import SOURCE, make_clip, write_set
from network.AEI_Net import AEI_Net
from network.fused import FusedAEINet
from tests.fill import draw, image
from utils import registry
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import load_pipeline
from utils.inference.pixels import to_images
from utils.inference.staged import Staged
from utils.io.video import open_video

PARTS = ("matrix", "generator", "decoder", "videos", "videos_cpu", "compile")
_SECONDS = 0.25  # of each measurement of the generator
_DECODED = 5  # times that a clip is decoded
_SHORT = 60  # frames of clips that warm up, and of those on the processor
FILES = {"published": "G_unet_2blocks.pth", "embedded": "ghost_compact_generator.safetensors"}

Result = dict[str, Any]


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def per_second(work: Callable[[], Any], device: str, seconds: float = _SECONDS) -> float:
    """How often `work` is done in a second, launched without waiting; warmed up three times."""
    for _ in range(3):
        work()
    synchronize(device)
    count, begin = 0, time.perf_counter()
    while count < 3 or time.perf_counter() - begin < seconds:
        for _ in range(3):
            work()
        synchronize(device)
        count += 3
    return count / (time.perf_counter() - begin)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 products and convolutions on the card may round to TF32."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def matrix(device: str, side: int) -> Result:
    """Measured TFLOP/s of a product of matrices."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    low = a.bfloat16(), b.bfloat16()
    work = 2e-12 * side**3
    result = {"side": side, "bfloat16": round(work * per_second(lambda: low[0] @ low[1], device), 1)}
    for name, allowed in (("tf32", True), ("float32", False)):
        with tf32(allowed):
            result[name] = round(work * per_second(lambda: a @ b, device), 1)
    return result


def flops(network: torch.nn.Module, Xt: torch.Tensor, z_id: torch.Tensor) -> float:
    """Floating point operations of one crop, in units of 1e9."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(Xt[:1], z_id[:1])
    return round(counter.get_total_flops() / 1e9, 2)


class Generator:
    """A network of a size, in its engines; pictures and identities made from names."""

    def __init__(self, name: str, folder: Path, batch: int, device: str) -> None:
        """folder: with the weights of all sets."""
        self.plain = registry.load_generator(folder / name / FILES[name]).network.requires_grad_(False)
        assert isinstance(self.plain, AEI_Net)
        self.device, self.size = device, self.plain.size
        self.fused = FusedAEINet(self.plain, torch.bfloat16).to(device)
        self.plain.to(device)
        self.crops = list(to_images(image("Xt", batch, self.size)))
        self.Xt = image("Xt", batch, self.size).to(device)
        self.people = torch.from_numpy(draw("z_id", (1, self.plain.c_id))).expand(batch, -1).contiguous()
        self.z_id = self.people.to(device)

    def engines(self, batch: int) -> dict[str, Callable[[], Any]]:
        """What computes a batch."""
        staged = Staged(self.fused, self.size, torch.device(self.device))
        Xt = self.Xt[:batch].to(torch.bfloat16, memory_format=torch.channels_last)
        terms = self.fused.terms_of(self.people[:batch])
        return {
            "plain float32": lambda: self.plain(self.Xt[:batch], self.z_id[:batch])[0],
            "fused bfloat16": lambda: self.fused.generate(Xt, terms),
            "graphs bfloat16": lambda: staged.swap(self.crops[:batch], self.people[:batch], batch, print),
        }

    def error(self, made: Any, wanted: np.ndarray) -> list[float]:
        """Mean and largest difference, in levels."""
        found = (to_images(made) if isinstance(made, torch.Tensor) else made)[: len(wanted)]
        apart = np.abs(found.astype(float) - wanted[: len(found)])
        return [round(float(apart.mean()), 3), float(apart.max())]


def rates(
    name: str, folder: Path, batches: list[int], device: str, matrix_rates: Result
) -> Iterator[tuple[str, Result]]:
    """All engines at all batch sizes."""
    with torch.inference_mode():
        generator = Generator(name, folder, max(batches), device)
        gflops = flops(generator.plain, generator.Xt, generator.z_id)
        with tf32(False):
            wanted = to_images(generator.plain(generator.Xt[:4], generator.z_id[:4])[0])
        for batch in batches:
            for engine, work in generator.engines(batch).items():
                with tf32(True):
                    crops = batch * per_second(work, device)
                rate = matrix_rates.get("tf32" if engine.startswith("plain") else "bfloat16")
                share = round(crops * gflops / 1e3 / rate, 4) if rate else None
                error = generator.error(work(), wanted)
                yield f"{name} {engine} {batch}", {
                    "network": name, "engine": engine, "batch": batch, "crops_per_second": round(crops, 1),
                    "gflops_per_crop": gflops, "share_of_matrix_rate": share, "error_levels": error}


def compiled(name: str, folder: Path, batch: int, device: str) -> Result:
    """torch.compile of the fused module: its time to the first batch and its rate."""
    with torch.no_grad():
        generator = Generator(name, folder, batch, device)
        with tf32(False):
            wanted = to_images(generator.plain(generator.Xt[:4], generator.z_id[:4])[0])
        Xt = generator.Xt.to(torch.bfloat16, memory_format=torch.channels_last)
        terms = [term.clone() for term in generator.fused.terms_of(generator.people)]  # of no inference mode
        made = torch.compile(generator.fused.generate, mode="reduce-overhead" if device == "cuda" else "default")
        begin = time.perf_counter()
        first = made(Xt, terms)
        synchronize(device)
        took, error = time.perf_counter() - begin, generator.error(first, wanted)
        crops = batch * per_second(lambda: made(Xt, terms), device)
    return {"batch": batch, "seconds_to_compile": round(took, 1), "crops_per_second": round(crops, 1),
            "error_levels": error}


def decoder(clip: Path, frames: int) -> Result:
    """Frames per second of decoding alone, from the first frame to the last, by the processor and by the card; the
    median of several runs after a first one."""
    result: Result = {}
    for name, card in (("processor", False), ("card", True)):
        notes: list[str] = []
        rates = []
        for _ in range(1 + _DECODED):
            with open_video(clip, note=notes.append, threads=8, card=card) as video:
                next(video.frames)
                begin = time.perf_counter()
                count = sum(1 for _ in video.frames)
                rates.append(count / (time.perf_counter() - begin))
        result[name] = notes[0] if notes else round(float(np.median(rates[1:])), 1)
    return {"frames": frames, **result}


def videos(name: str, clips: dict[str, Path], warm: Path, device: str, folder: Path) -> Iterator[tuple[str, Result]]:
    """Whole videos, one face, in this process; warm: a clip that a card swaps once before."""
    os.environ["GHOST_WEIGHTS"] = str(folder / name)
    pipeline = load_pipeline(InferenceConfig(device=device, model=MODELS[name], quiet=True))
    if device == "cuda":
        pipeline.swap_video(SOURCE, warm, folder / "warm.mp4")
    for size, clip in clips.items():
        result = pipeline.swap_video(SOURCE, clip, folder / "out.mp4")
        frames, wall = result["frames"], result["seconds"]["wall"]
        yield f"{name} {size} {device}", {
            "set": name, "size": size, "device": device, "dtype": result["dtype"], "frames": frames,
            "swapped": result["faces"]["swapped"], "fps": round(frames / wall, 1), "notes": result["notes"],
            "ms_per_frame": {stage: round(1e3 * value / frames, 2) for stage, value in result["seconds"].items()}}


class Record:
    """The results so far, in the file and on the screen."""

    def __init__(self, device: str) -> None:
        self.begin = time.perf_counter()
        self.result: Result = {
            "card": torch.cuda.get_device_name() if device == "cuda" else processor(), "processor": processor(),
            "cores": os.cpu_count(), "commit": commit(), "packages": versions(), "torch": torch.__version__}

    def keep(self, part: str, key: str, entry: Result) -> None:
        """Add an entry to a part."""
        self.result.setdefault(part, {})[key] = entry
        self.result["seconds"] = round(time.perf_counter() - self.begin, 1)
        keep_results("cuda", self.result)
        print(f"{self.result['seconds']:6.1f} s  {part}: {key} {entry}", flush=True)


def clips_of(folder: Path, frames: int) -> dict[str, Path]:
    """A moving still in both sizes."""
    return {name: make_clip(folder / f"{name}_{frames}.mp4", frames, size) for name, size in SIZES.items()}


def measure(options: argparse.Namespace, folder: Path) -> None:
    """All parts, one after the other."""
    record, wanted, device = Record(options.device), set(PARTS) - set(options.skip), options.device
    measured: Result = {}
    if "matrix" in wanted:
        measured = matrix(device, options.side)
        record.keep("matrix", "tflops", measured)
    for name in MODELS:
        write_set(name, folder / name)
    for name in FILES if "generator" in wanted else ():
        for key, entry in rates(name, folder, options.batch, device, measured):
            record.keep("generator", key, entry)
    clips = clips_of(folder, options.frames)
    if "decoder" in wanted:
        record.keep("decoder", "1080p", decoder(clips["1080p"], options.frames))
    short = clips_of(folder, min(_SHORT, options.frames))
    for part, some, where in (("videos", clips, device), ("videos_cpu", short, "cpu")):
        for name in MODELS if part in wanted else ():
            for key, entry in videos(name, some, short["720p"], where, folder):
                record.keep("videos", key, entry)
    if "compile" in wanted:
        record.keep("compile", "published", compiled("published", folder, max(options.batch), device))


def main() -> int:
    """Measure and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 40])
    parser.add_argument("--side", type=int, default=8192, help="of the matrices")
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=[])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the benchmark out")
    with tempfile.TemporaryDirectory() as folder:
        measure(parser.parse_args(), Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
