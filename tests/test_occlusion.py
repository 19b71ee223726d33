"""What covers a target's face stays in front of the swap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from network.occlusion import OcclusionNet
from utils import registry
from utils.errors import NoFaceInSourceError, WeightsError
from utils.inference import align, stages
from utils.inference.config import InferenceConfig
from utils.inference.occlusion import RIMS, Occlusion
from utils.inference.people import identities
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.report import RunReport
from utils.io.frame import Frame
from utils.io.image import read_photo

IMAGES = Path(__file__).resolve().parents[1] / "examples/images"
CPU = torch.device("cpu")
BAR = (slice(0.62, 0.8), slice(0.0, 1.0))  # shares of a crop: across the mouth


@pytest.fixture(scope="module")
def pipeline() -> SwapPipeline:
    return load_pipeline(device="cpu", model="embedded")


class Dark(nn.Module):
    """Takes the dark for what covers a face: certain of black, undecided at grey, certain of white."""

    size = 8

    def forward(self, x: Tensor) -> Tensor:
        return -10 * x.mean(1, keepdim=True)


def part(image: np.ndarray, place: tuple[slice, slice] = BAR) -> np.ndarray:
    rows, columns = (slice(*(round(end * len(image)) for end in (at.start, at.stop))) for at in place)
    return image[rows, columns]


def covered(image: np.ndarray, kps: np.ndarray) -> np.ndarray:
    """The picture with a bar of another colour across the mouth of a face."""
    layer = np.zeros((512, 512), np.uint8)
    part(layer)[:] = 255
    M_frame2crop, _ = align.estimate(kps, 512)
    shape = image.shape[1::-1]
    alpha = cv2.warpAffine(layer, M_frame2crop, shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[..., None] / 255.0
    return np.rint(image * (1 - alpha) + np.array([150.0, 90, 20]) * alpha).astype(np.uint8)


def test_masks_end_where_something_covers_the_face() -> None:
    target = np.full((128, 128, 3), 255, np.uint8)
    target[64:] = 0
    bare, mask = np.full((128, 128, 3), 255, np.uint8), np.full((224, 224), 0.8, np.float32)
    for share in (1.0, 0.5):
        shown, whole = Occlusion(Dark(), CPU, share).uncovered([target, bare], [mask, mask])
        assert whole is mask
        assert np.allclose(shown[:84], 0.8) and np.allclose(shown[140:], 0.8 * (1 - share), atol=1e-6)


def test_what_the_network_is_hardly_sure_of_does_not_cover() -> None:
    levels = [255, 136, 131, 127, 0]
    sure = Occlusion(Dark(), CPU, 1.0).covered([np.full((8, 8, 3), level, np.uint8) for level in levels]).mean((1, 2))
    assert sure[0] == 0 and sure[4] == 1
    assert 0 < sure[1] < sure[2] < sure[3] < 1
    stricter = Occlusion(Dark(), CPU, 1.0, RIMS).covered([np.full((8, 8, 3), level, np.uint8) for level in levels])
    assert (stricter.mean((1, 2)) < sure).tolist() == [False, True, True, True, False]


@pytest.mark.parametrize("channels", [(4, 6, 8), (18, 30, 42, 54)])
def test_the_network_answers_for_every_pixel(channels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = OcclusionNet(channels).eval()
    x = torch.randn(2, 3, 64, 64)
    answer = network(x)
    assert answer.shape == (2, 1, 64, 64)
    x[0, :, 40:, 40:] = 0
    changed = (network(x) - answer).abs()
    assert changed[0, 0, 48, 48] > 0 and not changed[1].any()


def test_the_fast_form_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    network = OcclusionNet()
    network(torch.randn(16, 3, 64, 64))  # statistics of the batch norms
    crops = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8) for i in range(3)]
    x = torch.from_numpy(np.stack(crops)[..., ::-1].transpose(0, 3, 1, 2).copy()) / 127.5 - 1
    wanted = network.eval()(x)[:, 0].sigmoid().detach().numpy()
    assert np.ptp(wanted) > 0.01
    assert np.abs(Occlusion(network, CPU, 1.0)._sure(crops) - wanted).max() < 5e-4


def test_the_small_weights_see_a_bar_and_leave_bare_faces_alone(pipeline: SwapPipeline) -> None:
    occlusion = pipeline.stages.occlusion
    assert occlusion is not None
    for name in ("selfie", "portrait", "selfie_2", "portrait_2"):
        image = read_photo(IMAGES / f"{name}.jpg").image
        kps = pipeline.stages.detector.detect(image, careful=True)[0].kps
        seen = occlusion.covered([align.cut(x, kps, 128).image for x in (image, covered(image, kps))])
        face = slice(12, 58), slice(14, 50)
        assert seen[0][face].max() < 0.05, name
        assert part(seen[1], (BAR[0], slice(0.25, 0.75))).mean() > 0.8, name
        assert part(seen[1], (slice(0.25, 0.5), slice(0.3, 0.7))).mean() < 0.1, name


def test_a_bar_stays_in_front_of_the_swap(pipeline: SwapPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    image = cv2.resize(read_photo(IMAGES / "selfie.jpg").image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    kps = pipeline.stages.detector.detect(image, careful=True)[0].kps
    target = covered(image, kps)
    pipeline.set_sources(IMAGES / "portrait.jpg")
    middle = BAR[0], slice(0.3, 0.7)
    changes = []
    for occlusion in (pipeline.stages.occlusion, None):
        monkeypatch.setattr(pipeline, "stages", replace(pipeline.stages, occlusion=occlusion))
        (result,) = pipeline.run([Frame(target)])
        crops = [align.cut(x, kps, 128).image.astype(int) for x in (target, np.asarray(result.pixels))]
        changes.append([np.abs(part(crops[1], place) - part(crops[0], place)).mean()
                        for place in (middle, (slice(0.25, 0.5), slice(0.3, 0.7)))])
    (bar, eyes), (bar_without, eyes_without) = changes
    assert bar < 0.3 * bar_without and bar_without > 4
    assert eyes == pytest.approx(eyes_without, rel=0.1) and eyes > 4


def test_what_covers_a_source_lends_no_detail_and_is_told(pipeline: SwapPipeline, tmp_path: Path) -> None:
    image = read_photo(IMAGES / "portrait.jpg").image
    kps = pipeline.stages.detector.detect(image, careful=True)[0].kps
    cv2.imwrite(str(tmp_path / "covered.png"), covered(image, kps))
    skins, plain = {}, replace(pipeline.stages, settings=replace(pipeline.stages.settings, detail=0.0))
    for path in (IMAGES / "portrait.jpg", tmp_path / "covered.png"):
        reports = RunReport(), RunReport()
        details = [identities([path], "source", NoFaceInSourceError, stages, report)[0].detail
                   for stages, report in zip((pipeline.stages, plain), reports, strict=True)]
        assert details[0] is not None and details[1] is None
        skins[path.name] = details[0].skin
        for report in reports:
            told = [note for note in report.notes if "something covers about" in note]
            assert [str(path) in note for note in told] == ([True] if path.name == "covered.png" else [])
    middle, edges = (slice(0.62, 0.8), slice(0.3, 0.7)), (slice(0.58, 0.84), slice(0.3, 0.7))  # edges are detail, too
    assert part(skins["covered.png"], middle).mean() < 0.05 and part(skins["covered.png"], edges).mean() < 0.2
    assert part(skins["portrait.jpg"], edges).mean() > 0.9
    eyes = slice(0.25, 0.5), slice(0.3, 0.7)
    assert np.abs(part(skins["covered.png"], eyes) - part(skins["portrait.jpg"], eyes)).mean() < 0.1


def test_only_generators_that_ask_for_it_have_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    identity: Any = SimpleNamespace(card={}, path=Path("encoder"), network=SimpleNamespace(num_features=2))
    for card, wanted in (({}, 0.0), ({"occlusion": 1.0}, 1.0)):
        generator: Any = SimpleNamespace(card=card)
        assert stages._settings(InferenceConfig(), generator, identity).occlusion == wanted
    assert load_pipeline(device="cpu", occlusion=0.0).stages.occlusion is None
    models = load_pipeline(device="cpu").stages.models
    assert [entry.name for entry in models if entry.role == "occlusion"] == [registry.EMBEDDED_OCCLUSION]
    monkeypatch.setitem(registry.SPECS, registry.EMBEDDED_OCCLUSION, replace(
        registry.SPECS[registry.EMBEDDED_OCCLUSION], places=(str(tmp_path / "absent.safetensors"),)))
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        load_pipeline(device="cpu")
