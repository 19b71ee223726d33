"""What the benchmarks share: the machine and its measured matrix rate, medians with their spread, files of results."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "examples" / "images"
_PACKAGES = ("torch", "onnxruntime", "openvino", "opencv-python", "av", "numpy")
_MAXRSS = 1 if sys.platform == "darwin" else 1024  # bytes that ru_maxrss counts in
_MATRIX = 2048  # side of the matrices that calibrate


def processor() -> str:
    """Name of the processor as the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def rate(dtype: Any, device: str = "cpu", runs: int = 7) -> float:
    """Measured floating point operations per second of a product of matrices, in units of 1e9."""
    import torch

    a, b = (torch.randn(_MATRIX, _MATRIX, device=device).to(dtype) for _ in range(2))
    return round(2e-9 * _MATRIX**3 / spread(clock(lambda: a @ b, runs, device))["median"], 1)


def machine(device: str = "cpu") -> dict[str, Any]:
    """What the numbers were taken on; measures the calibration."""
    import torch

    return {
        "processor": processor(), "cores": os.cpu_count(), "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "python": platform.python_version(), "packages": versions(), "commit": commit(),
        "gflops_float32": rate(torch.float32, device), "gflops_bfloat16": rate(torch.bfloat16, device),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that matter."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def commit() -> str:
    """The commit that is checked out; `unknown` without Git."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def clock(work: Callable[[], Any], runs: int, device: str = "cpu") -> list[float]:
    """Seconds of each of some runs, after one that warms up."""
    import torch

    seconds = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def peak_rss_mib() -> float:
    """The most memory that this process has taken."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS / 2**20, 1)


def spread(values: Sequence[float], digits: int = 6) -> dict[str, Any]:
    """Median, smallest and largest of some measurements."""
    return {"median": round(statistics.median(values), digits), "least": round(min(values), digits),
            "most": round(max(values), digits), "runs": len(values)}


def keep_results(name: str, result: dict[str, Any]) -> str:
    """Keep the result under its name; returns its text."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    return text


def write_results(name: str, result: dict[str, Any]) -> None:
    """Keep the result under its name and print it."""
    print(keep_results(name, result))


def in_fresh_process(script: str, arguments: Sequence[str], environment: dict[str, str] | None = None) -> Any:
    """Run a benchmark in a process of its own, whose memory and imports are its own; returns the JSON it prints."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {}))
    return json.loads(done.stdout)
