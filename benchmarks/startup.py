"""Seconds from the start of the process to the help text, and to a swapped photo with the networks that ship.

python benchmarks/startup.py [--runs 5]

Weights are those in weights/.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import IMAGES, ROOT, machine, spread, write_results


def seconds(arguments: list[str], runs: int, environment: dict[str, str]) -> dict[str, Any]:
    """Time some starts of a command after one that warms the disk's cache."""
    measured = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
        measured.append(time.perf_counter() - begin)
    return spread(measured[1:], 3)


def main() -> int:
    """Measure, write the result and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != "GHOST_WEIGHTS"}
        photo = ["inference.py", "--model", "embedded", "--device", "cpu", "--image_to_image", "--quiet",
                 "--source_paths", str(IMAGES / "portrait.jpg"), "--target_image", str(IMAGES / "selfie.jpg"),
                 "--out_image_name", f"{folder}/result.png"]
        result["help"] = seconds(["inference.py", "--help"], options.runs, environment)
        result["import torch alone"] = seconds(["-c", "import torch"], options.runs, environment)
        result["photo"] = seconds(photo, options.runs, environment)
    write_results("startup", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
