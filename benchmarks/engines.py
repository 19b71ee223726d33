"""The generator in several engines: time to the first picture, crops per second, and error.

python benchmarks/engines.py [--network published] [--batch 8] [--runs 5] [--engine plain fused ...] [--device cpu]

Weights are made from names. Each engine runs in a process of its own, first without what it may keep for the next start
(`cold`), then with it (`warm`); both begin with a loaded AEI-Net in float32 and end with the first batch. Engines that
are not installed are left out. Errors are in levels of 255, against the plain module in float32.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import clock, in_fresh_process, machine, spread, write_results

Run = Callable[[Any], Any]  # pictures (B, 3, S, S) float32 [-1, 1] -> swapped pictures, as a tensor or an array
NETWORKS: dict[str, dict[str, Any]] = {
    "published": {"backbone": "unet", "num_blocks": 2, "c_id": 512, "width": 1.0, "size": 256},
    "embedded": {"backbone": "unet", "num_blocks": 1, "c_id": 128, "width": 0.5, "size": 128},
}


def one_person(network: Any, z_id: Any, batch: int) -> Any:
    """The network for one person alone, so that engines can compute in advance what depends on the identity."""
    from torch import Tensor, nn

    class OnePerson(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("z_id", z_id.expand(batch, -1).contiguous())

        def forward(self, Xt: Tensor) -> Tensor:
            return self.network(Xt, self.z_id)[0]

    return OnePerson().eval().requires_grad_(False)


def plain(network: Any, z_id: Any, example: Any, cache: Path) -> Run:
    """The module as it was trained, float32."""
    return one_person(network, z_id, len(example)).to(example.device)


def autocast(network: Any, z_id: Any, example: Any, cache: Path) -> Run:
    """The module as it was trained, bfloat16 where PyTorch finds it sound, channels_last."""
    import torch

    module = plain(network, z_id, example, cache).to(memory_format=torch.channels_last)  # type: ignore[attr-defined]

    def run(Xt: Any) -> Any:
        with torch.autocast(Xt.device.type, torch.bfloat16):
            return module(Xt.to(memory_format=torch.channels_last))

    return run


def fused(network: Any, z_id: Any, example: Any, cache: Path, dtype: str = "bfloat16") -> Run:
    """What ships: network.fused, on a CPU with weights in oneDNN's order."""
    import torch

    from utils.inference.swap import inference_form

    module = inference_form(network, example.device, getattr(torch, dtype))
    return lambda Xt: module(Xt, z_id.expand(len(Xt), -1))[0]


def compiled(network: Any, z_id: Any, example: Any, cache: Path) -> Run:
    """torch.compile of the module in bfloat16, with frozen weights; needs a C++ compiler on the user's machine."""
    import torch
    import torch._inductor.config as inductor

    inductor.freezing = True
    module = one_person(network, z_id, len(example)).to(example.device, torch.bfloat16)
    made = torch.compile(module.to(memory_format=torch.channels_last))
    return lambda Xt: made(Xt.to(torch.bfloat16, memory_format=torch.channels_last))


def onnxruntime(network: Any, z_id: Any, example: Any, cache: Path) -> Run:
    """ONNX Runtime, float32 (its CPU provider computes no bfloat16)."""
    import onnxruntime as ort

    path = cache / "generator.onnx"
    if not path.is_file():
        import torch

        module = one_person(network, z_id, len(example))
        torch.onnx.export(module, (example,), str(path), dynamo=False, opset_version=17)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda Xt: session.run(None, {name: Xt.numpy()})[0]


def openvino(network: Any, z_id: Any, example: Any, cache: Path, dtype: str = "bf16") -> Run:
    """OpenVINO, bfloat16 inside."""
    import openvino as ov

    core, path = ov.Core(), cache / "generator.xml"
    core.set_property({"CACHE_DIR": str(cache), "INFERENCE_PRECISION_HINT": dtype, "PERFORMANCE_HINT": "THROUGHPUT"})
    if not path.is_file():
        model = ov.convert_model(one_person(network, z_id, len(example)), example_input=example)
        model.reshape(list(example.shape))
        ov.save_model(model, path)
    made = core.compile_model(path, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return lambda Xt: made(Xt.numpy())[0]


ENGINES: dict[str, tuple[Callable[..., Run], str]] = {  # engine, package that it needs
    "plain float32": (plain, "torch"),
    "autocast bfloat16": (autocast, "torch"),
    "fused float32": (functools.partial(fused, dtype="float32"), "torch"),
    "fused bfloat16": (fused, "torch"),
    "torch.compile bfloat16": (compiled, "torch"),
    "ONNX Runtime float32": (onnxruntime, "onnxruntime"),
    "OpenVINO bfloat16": (openvino, "openvino"),
}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Time one engine in this process."""
    import numpy as np
    import torch

    from network.AEI_Net import AEI_Net
    from tests.fill import build, draw, image

    arguments = NETWORKS[options.network]
    network = build(lambda: AEI_Net(**arguments)).eval()
    Xt = image("Xt", options.batch, arguments["size"]).to(options.device)
    z_id = torch.from_numpy(draw("z_id", (1, arguments["c_id"])))
    with torch.inference_mode():
        wanted = np.concatenate([network(Xt[i : i + 1].cpu(), z_id)[0].numpy() for i in range(min(2, len(Xt)))])
    with torch.no_grad():  # what torch.compile and the exporters know
        begin = time.perf_counter()
        run = ENGINES[name][0](network, z_id, Xt, options.cache)
        first = torch.as_tensor(run(Xt)).float().cpu().numpy()
        start = time.perf_counter() - begin
        seconds = clock(lambda: run(Xt), options.runs, options.device)
    error = 127.5 * np.abs(first[: len(wanted)] - wanted)
    return {"start": start, "seconds": seconds, "error_mean": float(error.mean()), "error_most": float(error.max()),
            "relative": float(error.max() / np.abs(127.5 * wanted).max())}


def both_starts(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One engine, cold and warm, in processes of its own."""
    with tempfile.TemporaryDirectory() as cache:
        arguments = ["--one", name, "--cache", cache, "--network", options.network, "--batch", str(options.batch),
                     "--runs", str(options.runs), "--device", options.device]
        environment = {"TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor"}
        cold, warm = (in_fresh_process(__file__, arguments, environment) for _ in range(2))
    seconds = [*cold["seconds"], *warm["seconds"]]
    return {
        "seconds_to_first_batch": {"cold": round(cold["start"], 2), "warm": round(warm["start"], 2)},
        "ms_per_crop": spread([1000 * value / options.batch for value in seconds], 2),
        "crops_per_second": spread([options.batch / value for value in seconds], 2),
        "error_levels": {"mean": round(warm["error_mean"], 4), "most": round(warm["error_most"], 3)},
        "error_relative": float(f"{warm['relative']:.2e}"),
    }


def main() -> int:
    """Measure all engines, write the result and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="published")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engine", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options)))
        return 0
    result: dict[str, Any] = {"machine": machine(options.device), "network": options.network, "batch": options.batch}
    result["engines"] = {name: both_starts(name, options) if find_spec(ENGINES[name][1]) else "not installed"
                         for name in options.engine}
    base = result["engines"].get("plain float32")
    for entry in result["engines"].values():
        if base and isinstance(entry, dict):
            entry["times_plain"] = round(base["ms_per_crop"]["median"] / entry["ms_per_crop"]["median"], 2)
    write_results(f"engines_{options.network}_batch{options.batch}_{options.device}", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
