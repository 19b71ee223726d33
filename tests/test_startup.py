"""What a start must not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

_HEAVY = ("torch._dynamo", "torch._inductor", "scipy", "av", "insightface", "kornia", "torchvision", "rich",
          "pillow_heif")
_SCRIPT = """
import sys
import inference
code = inference.main(sys.argv[2:])
print(",".join(name for name in sys.argv[1].split(",") if name in sys.modules))
sys.exit(code)
"""


def test_a_photo_swap_imports_only_what_it_needs(random_weights: Path, tmp_path: Path) -> None:
    images = ROOT / "examples" / "images"
    command = [sys.executable, "-c", _SCRIPT, ",".join(_HEAVY), "--model", "embedded", "--device", "cpu",
               "--image_to_image", "--quiet", "--source_paths", str(images / "portrait.jpg"),
               "--target_image", str(images / "selfie.jpg"),
               "--out_image_name", str(tmp_path / "result.png")]
    environment = os.environ | {"GHOST_WEIGHTS": str(random_weights)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
