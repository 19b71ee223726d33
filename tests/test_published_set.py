"""The published set as a whole: a folder like a finished download, through photos and videos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import inference
from tests import published_set, standins
from tests.fill import draw, image
from tests.parity_data import golden, reduce_array
from utils import registry
from utils.inference import blend
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.stages import load_stages
from utils.inference.types import Crop

NOSE, SIDE = (330, 352), 96  # of the painted face, in a picture of 640 x 640
BOX = (slice(200, 440), slice(200, 460))  # everything that its swap may touch


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout after download_models.sh; networks in half precision."""
    pytest.importorskip("insightface")
    root = published_set.copy_code(tmp_path_factory.mktemp("download"))
    published_set.write_files(root, [*published_set.USUAL, "10_net_G.pth"], torch.float16)
    return root


@pytest.fixture
def places(download: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this process look for weights there."""
    monkeypatch.setattr(registry, "ROOT", download)
    monkeypatch.delenv(registry.WEIGHTS_VARIABLE, raising=False)
    return download


def picture(shift: int = 0) -> np.ndarray:
    """A smooth picture with one painted face."""
    smooth = (image("face", 1, 640)[0].permute(1, 2, 0).numpy() * 40 + 110).astype(np.uint8)
    standins.paint_face(smooth, (NOSE[0] + shift, NOSE[1]))
    return smooth


def write_photo(path: Path) -> Path:
    cv2.imwrite(str(path), picture())
    return path


def write_video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 640))
    for i in range(frames):
        writer.write(picture(i))
    writer.release()
    return path


def run_in(root: Path, *arguments: str) -> dict[str, Any]:
    """inference.py of a checkout, as people start it; returns its JSON."""
    environment = {key: value for key, value in os.environ.items() if key != registry.WEIGHTS_VARIABLE}
    command = [sys.executable, "inference.py", "--model", "ghost", "--json", *arguments]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_files(result: dict[str, Any], root: Path, roles: dict[str, str]) -> None:
    """The JSON names the files that were used."""
    files = {entry["role"]: entry["file"] for entry in result["models"]}
    assert files == {role: str(root / published_set.places()[name]) for role, name in roles.items()}


ROLES = {"generator": "G_unet_2blocks.pth", "identity": "backbone.pth", "detector": "scrfd_10g_bnkps.onnx",
         "landmarks": "2d106det.onnx"}


@pytest.mark.slow
def test_photo(download: Path, tmp_path: Path) -> None:
    photo, output = write_photo(tmp_path / "photo.png"), tmp_path / "result.png"
    result = run_in(download, "--image_to_image", "True", "--source_paths", str(photo), "--target_image", str(photo),
                    "--out_image_name", str(output), "--use_sr", "True")
    check_files(result, download, ROLES | {"enhancer": "10_net_G.pth"})
    assert result["faces"] == {"found": 1, "swapped": 1, "skipped": {}, "faded": {}}
    before, after = cv2.imread(str(photo)), cv2.imread(str(output))
    assert np.abs(after[BOX].astype(int) - before[BOX]).max() > 40
    after[BOX] = before[BOX]
    assert np.array_equal(after, before)


@pytest.mark.slow
def test_video(download: Path, tmp_path: Path) -> None:
    video, output = write_video(tmp_path / "video.mp4", 3), tmp_path / "result.mp4"
    photo = write_photo(tmp_path / "photo.png")
    result = run_in(download, "--source_paths", str(photo), "--target_video", str(video),
                    "--out_video_name", str(output))
    check_files(result, download, ROLES)
    assert result["frames"] == 3 and result["faces"]["swapped"] == 3
    capture, original = cv2.VideoCapture(str(output)), cv2.VideoCapture(str(video))
    for _ in range(3):
        (there, after), (_, before) = capture.read(), original.read()
        assert there
        inside = np.abs(after[BOX].astype(int) - before[BOX])
        assert inside.max() > 40
        after[BOX] = before[BOX]
        assert np.abs(after.astype(int) - before).mean() < 3
    assert not capture.read()[0]


@pytest.fixture(scope="module")
def pipeline(download: Path) -> SwapPipeline:
    """The whole set in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "ROOT", download)
        patch.delenv(registry.WEIGHTS_VARIABLE, raising=False)
        return load_pipeline(model="ghost", use_sr=True, device="cpu")


def test_enhanced_faces_are_pasted_at_full_size(
    pipeline: SwapPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pasted: list[Crop] = []
    paste_back = blend.paste_back

    def spy(frame: np.ndarray, swap: Crop, *rest: Any) -> Any:
        pasted.append(swap)
        return paste_back(frame, swap, *rest)

    monkeypatch.setattr(blend, "paste_back", spy)
    photo = write_photo(tmp_path / "photo.png")
    pipeline.swap_photo(photo, photo, tmp_path / "result.png")
    (swap,) = pasted
    assert swap.image.shape == (256, 256, 3)
    # A face of 64 / 112 of its crop's side: the matrix is that of 256 pixels, not of the 224 of mask and landmarks.
    assert np.sqrt(abs(np.linalg.det(swap.M_frame2crop[:, :2]))) == pytest.approx(256 / (SIDE * 112 / 64), rel=1e-3)


def test_half_precision_on_disk_gives_the_published_numbers(places: Path) -> None:
    network = registry.load_generator(places / "weights" / "G_unet_2blocks.pth").network
    with torch.inference_mode():
        Y, _ = network(image("Xt", 2, 256), torch.from_numpy(draw("z_id", (2, 512))))
    pixels = reduce_array(Y.numpy())["_pixels"]
    reference = golden()["aei_unet_2/y_pixels"]
    assert 1e-6 < np.abs(pixels - reference).max() / np.abs(reference).max() < 5e-2


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [1, 3])
def test_other_published_generators(blocks: int, places: Path, tmp_path: Path) -> None:
    name = f"G_unet_{blocks}block{'s' * (blocks > 1)}.pth"
    path = published_set.write_files(tmp_path, [name], torch.float16)[name]
    photo = write_photo(tmp_path / "photo.png")
    chosen = load_pipeline(model="ghost", G_path=str(path), num_blocks=blocks)
    result = chosen.swap_photo(photo, photo, tmp_path / "result.png")
    assert result["faces"]["swapped"] == 1
    assert result["models"][0]["file"] == str(path)


def without_weight(path: Path, network: torch.nn.Module) -> Path:
    """Names and shapes of a network in a small file: all its tensors are views of one number."""
    zero = torch.zeros(1)
    state = {name: zero.expand(tensor.shape) if tensor.is_floating_point() else torch.zeros(tensor.shape).long()
             for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path


@pytest.mark.parametrize(("backbone", "blocks"), [("unet", 1), ("linknet", 2), ("resnet", 3)])
def test_wrong_generator_options_name_the_right_ones(
    backbone: str, blocks: int, places: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.device("meta"):
        network = published_set.AEI_Net(backbone, num_blocks=blocks, c_id=512)
    path = without_weight(tmp_path / "G.pth", network)
    photo = str(write_photo(tmp_path / "photo.png"))
    code = inference.main(["--image_to_image", "--source_paths", photo, "--target_image", photo, "--G_path", str(path),
                           "--out_image_name", str(tmp_path / "result.png")])
    message = capsys.readouterr().err
    assert code == 2
    assert f"{path} was made with --backbone {backbone} --num_blocks {blocks}" in message
    assert "not with --backbone unet --num_blocks 2" in message
    assert not (tmp_path / "result.png").exists()


@pytest.fixture
def hollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_weights: Path) -> Path:
    """A download whose large files hold nothing, so that reading them would be an error, beside the embedded models."""
    root = tmp_path / "hollow"
    for name in ("G_unet_2blocks.pth", "backbone.pth"):
        path = root / published_set.places()[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in random_weights.iterdir():
        (root / "weights" / path.name).symlink_to(path)
    monkeypatch.setattr(registry, "ROOT", root)
    monkeypatch.delenv(registry.WEIGHTS_VARIABLE, raising=False)
    return root


def run_here(tmp_path: Path, *arguments: str) -> int:
    photo = str(write_photo(tmp_path / "photo.png"))
    return inference.main(["--image_to_image", "--source_paths", photo, "--target_image", photo,
                           "--out_image_name", str(tmp_path / "result.png"), *arguments])


@pytest.mark.parametrize("model", ["ghost", "embedded", "auto"])
def test_missing_enhancer_is_an_error_before_any_work(
    model: str, hollow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(tmp_path, "--model", model, "--use_sr") == 9
    message = capsys.readouterr().err
    assert str(hollow / "weights" / "10_net_G.pth") in message
    assert "download_models.sh" in message


def test_only_permissive_refuses_the_published_set(
    hollow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(tmp_path, "--model", "ghost", "--only-permissive") == 2
    message = capsys.readouterr().err
    assert "ghost_unet_2 (commercial use: unclear), arcface (commercial use: no)" in message
    assert "MODELS.md" in message


def test_only_permissive_refuses_the_enhancer(hollow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (hollow / "weights" / "10_net_G.pth").touch()
    assert run_here(tmp_path, "--only_permissive", "True", "--use_sr") == 2
    assert "hifacegan (commercial use: no)" in capsys.readouterr().err


def test_only_permissive_takes_the_embedded_models(hollow: Path) -> None:
    models = load_stages(InferenceConfig(only_permissive=True)).models
    assert {entry.commercial_use for entry in models} == {"yes"}
    assert models[0].name == "ghost_compact_generator"


def test_only_permissive_goes_by_the_licence_beside_a_file_of_ones_own(
    hollow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".safetensors", ".json"):
        content = (hollow / "weights" / "ghost_compact_generator").with_suffix(suffix).read_bytes()
        (hollow / "weights" / "mine").with_suffix(suffix).write_bytes(content.replace(b"Apache-2.0", b"research"))
    path = str(hollow / "weights" / "mine.safetensors")
    assert run_here(tmp_path, "--G_path", path, "--only-permissive") == 2
    said = capsys.readouterr().err
    assert "mine (commercial use: unclear)" in said and "train.py --licence" in said


def test_encoder_that_does_not_know_its_threshold_needs_one(
    hollow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = hollow / "weights" / "ghost_compact_identity.json"
    content = json.loads(card.read_text())
    del content["similarity_th"]
    card.unlink()  # a link to the file of all tests
    card.write_text(json.dumps(content))
    assert run_here(tmp_path, "--model", "embedded") == 9
    assert "ghost_compact_identity.json does not say similarity_th" in capsys.readouterr().err
    assert load_stages(InferenceConfig(model="embedded", similarity_th=0.3)).threshold == 0.3
