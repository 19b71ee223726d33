"""The stages with weights: arithmetic that fails is replaced, memory that runs out is respected."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from coordinate_reg.landmarks import EmbeddedLandmarks
from tests.random_weights import frontal_landmarks
from utils import registry
from utils.errors import ResourceError, WeightsError
from utils.inference import align
from utils.inference.detect import CenterFace, decode, overlap, suppress
from utils.inference.embeddings import normalise
from utils.inference.enhance import Enhancer
from utils.inference.identify import Identifier, both_ways
from utils.inference.pixels import to_images, to_tensor
from utils.inference.soundness import is_sound
from utils.inference.stages import provider_notes
from utils.inference.swap import Swapper
from utils.inference.types import Face
from utils.io.frame import to_uint8
from utils.io.image import read_photo
from utils.onnx_file import open_session

CPU = torch.device("cpu")


class Echo(nn.Module):
    """A generator that returns its crop, shifted by the first number of the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(1))
        self.batches: list[int] = []

    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.batches.append(len(Xt))
        return Xt * self.one + z_id[:, :1, None, None], []


class Failing(Echo):
    """Gives infinities or flat pictures, as the factor has it, in bfloat16 or everywhere."""

    def __init__(self, factor: float, everywhere: bool = False) -> None:
        super().__init__()
        self.factor, self.everywhere = factor, everywhere

    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        bad = self.everywhere or Xt.dtype == torch.bfloat16
        return super().forward(Xt, z_id)[0] * (self.factor if bad else 1.0), []


class Hungry(Echo):
    """Runs out of memory above two crops."""

    most = 2
    error: RuntimeError = torch.OutOfMemoryError("no memory")

    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        if len(Xt) > self.most:
            raise self.error
        return super().forward(Xt, z_id)


def crops(count: int, size: int = 64) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def test_pixels_survive_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor([levels])
    assert tensor.shape == (1, 3, 16, 16) and tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_images(tensor)[0], levels)
    blue = np.zeros((2, 2, 3), np.uint8)
    blue[..., 0] = 255  # BGR
    assert to_tensor([blue])[0, :, 0, 0].tolist() == [-1, -1, 1]  # RGB
    assert to_uint8(np.array([0, 128, 129, 65535], np.uint16)).tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_crop_gets_its_identity(dtype: torch.dtype) -> None:
    swapper = Swapper(Echo(), 64, CPU, dtype, batch_size=2)
    pictures = [np.tile(np.arange(68, 132, dtype=np.uint8)[:, None], (64, 1, 3))] * 5
    z_id = np.linspace(0, 0.4, 5, dtype=np.float32)[:, None]
    levels = [image.mean() for image in swapper.swap(pictures, z_id)]
    assert np.allclose(levels, 99.5 + 127.5 * z_id[:, 0], atol=1.5) and swapper.dtype in str(dtype)


@pytest.mark.parametrize("network", [Failing(math.inf), Failing(0.0)])
def test_what_low_precision_cannot_is_done_in_float32_and_said_once(network: nn.Module) -> None:
    notes: list[str] = []
    swapper = Swapper(network, 64, CPU, torch.bfloat16, batch_size=2)
    swapper.batches.note = notes.append
    assert swapper.dtype == "bfloat16"
    results = swapper.swap(crops(5), np.zeros((5, 4), np.float32))
    assert np.array_equal(results, crops(5))
    assert len(notes) == 1 and "float32" in notes[0] and swapper.dtype == "float32"


def test_flat_pictures_in_float32_are_taken_at_their_word() -> None:
    notes: list[str] = []
    for dtype in (torch.bfloat16, torch.float32):
        swapper = Swapper(Failing(0.0, everywhere=True), 64, CPU, dtype)
        swapper.batches.note = notes.append
        assert all((image == 128).all() for image in swapper.swap(crops(2), np.zeros((2, 4), np.float32)))
        assert swapper.dtype == "float32"
    assert len(notes) == 1, "said of bfloat16 alone"


def test_soundness_is_of_each_picture() -> None:
    Y = torch.rand(4, 3, 8, 8)
    Y[1] = torch.tensor([0.9, 0.1, -0.5])[:, None, None]  # one colour
    Y[2, 1, 3, 3], Y[3, 0, 0, 0] = float("nan"), float("inf")
    assert is_sound(Y, torch.bfloat16).tolist() == [True, False, False, False]
    assert is_sound(Y, torch.float32).tolist() == [True, True, False, False]


def test_overflow_even_in_float32_is_an_error() -> None:
    swapper = Swapper(Failing(math.inf, everywhere=True), 64, CPU, torch.bfloat16)
    with pytest.raises(WeightsError, match="float32"):
        swapper.swap(crops(1), np.zeros((1, 4), np.float32))


def cpu_is_full() -> RuntimeError:
    """What PyTorch raises when a CPU's memory does not suffice."""
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60)
    return found.value


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no memory"), cpu_is_full()])
def test_batch_is_halved_until_it_fits(error: RuntimeError, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "error", error)
    notes: list[str] = []
    network = Hungry()
    swapper = Swapper(network, 64, CPU, torch.float32, batch_size=9)
    swapper.batches.note = notes.append
    results = swapper.swap(crops(7), np.zeros((7, 4), np.float32))
    assert np.array_equal(results, crops(7))
    assert swapper.batches.size == 2 and network.batches == [2, 2, 2, 1] and len(notes) == 2


@pytest.mark.parametrize(("large", "count", "most"), [(False, 6, 8), (True, 1, 4), (True, 6, 6), (True, 16, 8)])
def test_a_processor_gets_few_faces_at_once_from_one_frame_too(
    large: bool, count: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.inference.swap._HEAVY", 0 if large else 1)  # Echo has one
    monkeypatch.setattr("utils.inference.swap.cores", lambda: count)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 32)
    network = Echo()
    assert len(Swapper(network, 64, CPU, torch.float32).swap(crops(60), np.zeros((60, 4), np.float32))) == 60
    assert max(network.batches) == most
    assert Swapper(network, 64, CPU, torch.float32, batch_size=3).batches.size == 3


def test_too_little_memory_for_one_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "most", 0)
    with pytest.raises(ResourceError, match="close other programs"):
        Swapper(Hungry(), 64, CPU, torch.float32).swap(crops(1), np.zeros((1, 4), np.float32))


def test_the_enhancers_batch_is_halved_as_well() -> None:
    class Small(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            if len(image) > 1:
                raise torch.OutOfMemoryError("no memory")
            return image

    notes: list[str] = []
    enhancer = Enhancer(Small(), CPU)
    enhancer.batches.note = notes.append
    results = enhancer.enhance(crops(6, 256))
    assert np.array_equal(results, crops(6, 256)) and len(notes) == 2 and "1 faces at once" in notes[1]


def test_other_errors_of_the_network_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hungry, "error", RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match="shapes"):
        Swapper(Hungry(), 64, CPU, torch.float32).swap(crops(3), np.zeros((3, 4), np.float32))


class Corners(nn.Module):
    """An identity encoder that returns the four corner pixels' red."""

    size = 112

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2:] == (112, 112)
        return x[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]


def test_published_encoder_sees_the_crop_with_aligned_corners() -> None:
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    face = Face(np.zeros(4), 1.0, align.TEMPLATES[2].astype(np.float32))  # so that the crop is the picture
    seen = Identifier(Corners(), CPU, direct=False).embed(image, [face])
    wanted = image[[0, 0, -1, -1], [0, -1, 0, -1], 2] / 127.5 - 1
    assert np.abs(seen[0] - wanted).max() < 0.02
    assert np.abs(Identifier(Corners(), CPU, direct=True).embed(image, [face])[0] - wanted).max() > 0.05
    assert np.allclose(np.linalg.norm(normalise(np.array([[3.0, 4.0], [0.0, 2.0]])), axis=1), 1)


def test_own_encoders_see_the_crop_both_ways() -> None:
    x = torch.rand(2, 3, 112, 112)
    left, right = both_ways(Corners(), x), both_ways(Corners(), x.flip(3))
    assert torch.allclose(left, right, atol=1e-6)
    assert torch.allclose(left[:, 0], left[:, 1], atol=1e-6)  # left and right corners, in the mirror each other
    there, back = Corners()(x), Corners()(x.flip(3))
    assert torch.allclose(left.norm(dim=1), (there.norm(dim=1) + back.norm(dim=1)) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("device", "providers", "said"),
    [("cpu", [], False), ("mps", [], False), ("cuda", [], True), ("cuda", ["CUDAExecutionProvider"], False)],
)
def test_only_cards_that_could_run_the_detector_are_pointed_at(device: str, providers: list[str], said: bool) -> None:
    assert bool(provider_notes(torch.device(device), [*providers, "CPUExecutionProvider"])) == said


def test_embedded_landmarks_in_pixels_of_the_crop(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(random_weights))
    loaded = registry.load_landmarks(registry.require("ghost_compact_landmarks"))
    found = EmbeddedLandmarks(loaded.network, CPU).find(crops(3, 224))
    assert found.shape == (3, 106, 2)
    assert np.abs(found[1] - ((frontal_landmarks().numpy() + 0.5) * 224 - 0.5)).max() < 0.1


@torch.inference_mode()
def test_embedded_landmarks_in_their_inference_form_are_those_of_the_plain_network() -> None:
    network = registry.load_landmarks(registry.require("ghost_compact_landmarks")).network
    faces = crops(3, 112)
    wanted = (network(to_tensor(faces)).numpy() + 0.5) * 112 - 0.5
    found = EmbeddedLandmarks(network, CPU).find(faces)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert np.abs(found - wanted).max() < 1e-3


def test_embedded_landmarks_in_bfloat16_are_nearly_the_same() -> None:
    networks = [registry.load_landmarks(registry.require("ghost_compact_landmarks")).network for _ in range(2)]
    faces = crops(3, 224)
    exact, fast = (EmbeddedLandmarks(network, CPU, dtype).find(faces)
                   for network, dtype in zip(networks, (torch.float32, torch.bfloat16), strict=True))
    assert 0 < np.linalg.norm(fast - exact, axis=-1).mean() < 0.5


class Half(nn.Module):
    """An enhancer that halves the brightness."""

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1:] == (3, 256, 256) and image.min() >= 0 and image.max() <= 1
        return image / 2


def test_enhancer_works_from_0_to_1() -> None:
    results = Enhancer(Half(), CPU).enhance([np.full((128, 128, 3), 200, np.uint8)] * 5)
    assert len(results) == 5 and all(r.shape == (256, 256, 3) and (r == 100).all() for r in results)


@pytest.fixture(scope="module")
def detector() -> CenterFace:
    return CenterFace(open_session(registry.require("centerface"), CPU, any_size=True))


@pytest.mark.parametrize("careful", [True, False])
@pytest.mark.parametrize("side", [2048, 500, 90])
def test_faces_of_every_size(
    detector: CenterFace, people: Callable[[int, str], Path], side: int, careful: bool
) -> None:
    image = read_photo(people(1, "studio_portrait")).image
    reference = detector.detect(image, careful=True)[0].kps
    small = to_uint8(align.warp(image, np.array([[side / 2048, 0, 0], [0, side / 2048, 0]]), (side, side)))
    (face,) = detector.detect(small, careful)
    eyes = np.linalg.norm(reference[1] - reference[0])
    assert np.linalg.norm(face.kps * 2048 / side - reference, axis=1).max() < 0.2 * eyes
    assert face.kps.dtype == face.box.dtype == np.float32


class Scripted(CenterFace):
    """Finds a face in the whole picture at one scale, and none when it looks again."""

    def __init__(self, side: float, at: float) -> None:
        self._face = Face(np.array([0, 0, side, side], np.float32), 0.9, np.zeros((5, 2), np.float32))
        self._scale, self.again = at, 0

    def _at(self, image: np.ndarray, scale: float, keep: bool = False) -> list[Face]:
        self.again += scale not in (0.25, 0.5, 0.1)
        return [self._face] if scale == self._scale else []


@pytest.mark.parametrize(("scale", "side", "again"), [
    (0.25, 400, 0), (0.25, 200, 1), (0.25, 800, 1), (0.5, 160, 0), (0.5, 480, 1), (0.1, 1600, 0), (0.1, 1900, 1),
])
def test_videos_are_looked_at_again_where_a_face_was_seen_too_small_or_too_large(
    scale: float, side: float, again: int
) -> None:
    """Of 640, 1280 and 256 pixels, in this order; faces are seen best with 60 to 180 pixels."""
    detector = Scripted(side, scale)
    assert len(detector.detect(np.zeros((2560, 2560, 3), np.uint8))) == 1 and detector.again == again


def test_a_cell_of_the_maps_is_a_face_around_its_centre() -> None:
    heat, scales, offsets, points = (np.zeros((n, 4, 5), np.float32).squeeze() for n in (1, 2, 2, 10))
    heat[2, 3], heat[0, 0] = 0.9, 0.4
    scales[:, 2, 3], offsets[:, 2, 3] = np.log([2.0, 3.0]), (0.25, -0.25)  # rows before columns
    points[:, 2, 3] = (0.25, 0.5) * 5
    boxes, scores, kps = decode(heat, scales, offsets, points, 0.5)
    assert boxes.tolist() == [pytest.approx([13 - 6, 11 - 4, 13 + 6, 11 + 4])] and scores.tolist() == [np.float32(0.9)]
    assert kps.tolist() == [[pytest.approx([13, 9])] * 5]


def test_many_faces_best_first(detector: CenterFace, people: Callable[[int, str], Path]) -> None:
    faces = detector.detect(read_photo(people(4, "emotions_sheet")).image)
    assert len(faces) == 16
    assert [f.score for f in faces] == sorted((f.score for f in faces), reverse=True)
    assert all(f.kps[0, 0] < f.kps[1, 0] and f.kps[0, 1] < f.kps[3, 1] for f in faces)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 900, 3), (480, 640, 3)])
def test_pictures_without_faces(detector: CenterFace, shape: tuple[int, ...]) -> None:
    assert detector.detect(np.full(shape, 128, np.uint8), careful=True) == []


def test_suppression_keeps_the_best() -> None:
    boxes = [(0, 0, 10, 10), (1, 1, 11, 11), (50, 50, 60, 60)]
    faces = [Face(np.array(b, np.float32), s, np.zeros((5, 2), np.float32))
             for b, s in zip(boxes, (0.6, 0.9, 0.7), strict=True)]
    assert [f.score for f in suppress(faces, 0.3)] == [0.9, 0.7]
    assert suppress([], 0.3) == []
    assert overlap(faces[0], faces[0]) == pytest.approx(1) and overlap(faces[0], faces[2]) == 0
