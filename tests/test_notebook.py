"""The notebook runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "SberSwapInference.ipynb"
pytest.importorskip("nbconvert", reason="needs nbconvert: pip install -r requirements-dev.txt")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install -r requirements-dev.txt")


def test_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    assert "google.colab" in "".join(first["source"]), "the first cell installs what Colab lacks"


@pytest.mark.slow
def test_runs_from_top_to_bottom(random_weights: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "images", tmp_path / "examples" / "images")  # results go beside them
    environment = {**os.environ, "GHOST_WEIGHTS": str(random_weights), "PYTHONPATH": str(ROOT),
                   "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "IPYTHONDIR": str(tmp_path / "ipython")}
    script = (
        "import sys, nbformat; from nbconvert.preprocessors import ExecutePreprocessor; "
        "book = nbformat.read(sys.argv[1], as_version=4); "
        "run = ExecutePreprocessor(timeout=240, kernel_name='python3'); "
        "run.preprocess(book, {'metadata': {'path': sys.argv[2]}}); "
        "nbformat.write(book, sys.argv[3])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(NOTEBOOK), str(tmp_path), str(tmp_path / "run.ipynb")],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    outputs = [output for cell in json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))["cells"]
               for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert {"image/jpeg", "image/png"} <= kinds, "pictures are shown inline"
    assert any("<video" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    assert (tmp_path / "examples" / "results" / "notebook_side_by_side.mp4").stat().st_size > 10_000
