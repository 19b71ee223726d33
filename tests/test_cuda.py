"""What CUDA has of its own: recorded graphs, memory used again, blending on the device, decoding by the card.

Tests whose code runs on any device run on the CPU, and once more on a card where there is one; a photo also on the GPU
of a Mac.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from network.fused import FusedAEINet
from tests.random_weights import GENERATOR
from tests.test_blend import oval
from tests.test_fused import inputs, plain
from utils.errors import WeightsError
from utils.inference import blend, staged
from utils.inference.blend_device import DeviceMixer, mixer_for
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.pixels import to_images, to_tensor
from utils.inference.staged import Staged
from utils.inference.swap import Swapper
from utils.inference.types import Crop, Mask
from utils.inference.warp import rescaled
from utils.io import video
from utils.io.image import read_photo
from utils.io.video import open_video

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
SIZE = GENERATOR["size"]
CPU = torch.device("cpu")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that is there."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture
def cuda() -> torch.device:
    """The card."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


def crops(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8))


def people(count: int) -> torch.Tensor:
    return inputs(GENERATOR, 1)[1] + 0.5 * torch.arange(count)[:, None]


@torch.inference_mode()
def one_by_one(network: FusedAEINet, count: int, device: torch.device) -> np.ndarray:
    """What the network makes of each crop alone."""
    return np.concatenate([to_images(network(to_tensor([crop], device), z[None])[0])
                           for crop, z in zip(crops(count), people(count), strict=True)])


def apart(one: Any, other: Any) -> np.ndarray:
    """Differences in levels."""
    return np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32))


def test_batches_of_all_sizes_give_what_each_face_gives_alone(device: torch.device) -> None:
    network = FusedAEINet(plain(GENERATOR)).to(device)
    made = Staged(network, SIZE, device)
    for count in (3, 1, 40, 16, 3):
        found = made.swap(crops(count), people(count), 40, print)
        assert found is not None and found.shape == (count, SIZE, SIZE, 3) and found.dtype == np.uint8
        assert apart(found, one_by_one(network, count, device)).mean() < 0.3  # TF32 on cards
    assert sorted(made._batches) == [1, 4, 16, 40]


def test_a_batch_follows_who_is_wanted_and_what_is_shown(device: torch.device) -> None:
    """Nothing of the batch before stays in the memory that is used again."""
    network = FusedAEINet(plain(GENERATOR), torch.bfloat16).to(device)
    made, pictures, z_id = Staged(network, SIZE, device), crops(4), people(4)
    first = made.swap(pictures, z_id, 4, print)
    turned = made.swap(pictures[::-1], z_id.flip(0), 4, print)
    others = made.swap(pictures, z_id.flip(0), 4, print)
    again = made.swap(pictures, z_id, 4, print)
    assert first is not None and turned is not None and others is not None and again is not None
    assert np.array_equal(first, again) and apart(first, others).mean() > 0.5
    assert apart(first, turned[::-1]).mean() < 0.1


@pytest.mark.gpu
@torch.inference_mode()
def test_graphs_give_the_numbers_of_the_same_operations(cuda: torch.device) -> None:
    network = FusedAEINet(plain(GENERATOR), torch.bfloat16).to(cuda)
    notes: list[str] = []
    made = Staged(network, SIZE, cuda)
    for count in (1, 4, 16, 40):
        found = made.swap(crops(count), people(count), 40, notes.append)
        wanted = to_images(network(to_tensor(crops(count), cuda), people(count))[0])
        assert found is not None and apart(found, wanted).mean() < 0.2
    assert made.recorded and not notes


def test_numbers_that_are_not_finite_are_told(device: torch.device) -> None:
    network = FusedAEINet(plain(GENERATOR)).to(device)
    made = Staged(network, SIZE, device)
    assert made.swap(crops(3), people(3), 40, print) is not None
    bad = people(3)
    bad[1] = float("nan")
    assert made.swap(crops(3), bad, 40, print) is None
    assert made.swap(crops(3), people(3), 40, print) is not None


def test_grey_faces_in_less_than_float32_are_told(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, grey = FusedAEINet.generate, slice(1, 2)

    def fails(network: FusedAEINet, Xt: torch.Tensor, terms: Any) -> torch.Tensor:
        Y = compute(network, Xt, terms).clone()
        Y[grey] = 0.25
        return Y

    monkeypatch.setattr(FusedAEINet, "generate", fails)
    for dtype, told in ((torch.bfloat16, True), (torch.float32, False)):
        made = Staged(FusedAEINet(plain(GENERATOR), dtype).to(device), SIZE, device)
        assert (made.swap(crops(3), people(3), 40, print) is None) == told
    grey = slice(3, 4)  # a place of the batch that is filled up
    made = Staged(FusedAEINet(plain(GENERATOR), torch.bfloat16).to(device), SIZE, device)
    assert made.swap(crops(3), people(3), 40, print) is not None


def on_stages(device: torch.device, network: torch.nn.Module, **more: Any) -> Swapper:
    """A swapper in bfloat16 that goes by batches of fixed sizes on any device."""
    swapper = Swapper(network, SIZE, device, torch.bfloat16, **more)
    assert isinstance(swapper._network, FusedAEINet)
    swapper._staged = Staged(swapper._network, SIZE, device)
    return swapper


def test_more_faces_than_a_batch(device: torch.device) -> None:
    swapper = on_stages(device, plain(GENERATOR))
    found = swapper.swap(crops(41), people(41).numpy())
    assert len(found) == 41 and swapper._staged is not None
    assert sorted(swapper._staged._batches) == [1, swapper.batches.size]  # 41 is one more than whole batches
    wanted = one_by_one(FusedAEINet(plain(GENERATOR)).to(device), 41, device)
    assert apart(found, wanted).mean() < 1.5  # bfloat16


def test_batches_shrink_until_the_memory_suffices(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, tried = staged._Batch, list[int]()

    def full(network: Any, count: int, *rest: Any) -> Any:
        tried.append(count)
        if count > 5:
            raise torch.OutOfMemoryError("no memory")
        return ready(network, count, *rest)

    monkeypatch.setattr(staged, "_Batch", full)
    notes: list[str] = []
    swapper = on_stages(device, plain(GENERATOR))
    swapper.batches.size, swapper.batches.note = 40, notes.append  # on a processor, too
    found = swapper.swap(crops(12), people(12).numpy())
    assert len(found) == 12 and swapper.batches.size == 5 and tried == [12, 12, 10, 5, 4] and len(notes) == 3
    assert apart(found, one_by_one(FusedAEINet(plain(GENERATOR)).to(device), 12, device)).mean() < 1.5


@pytest.mark.parametrize(("error", "notes"), [("CUDA error: out of memory", 0), ("CUDA error: not supported", 1)])
def test_full_memory_does_not_mean_that_nothing_can_be_recorded(
    error: str, notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(staged._Batch, "record", broken)
    stages: Any = Staged(FusedAEINet(plain(GENERATOR)), SIZE, CPU)
    stages._recording, stages._stream = True, object()
    said: list[str] = []
    with nullcontext() if notes else pytest.raises(RuntimeError, match="out of memory"):
        stages._new(1, people(1), said.append)
    assert len(said) == notes and stages.recorded == (not notes)


@pytest.mark.gpu
def test_memory_that_runs_out_in_the_network(cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = FusedAEINet.generate

    def hungry(network: FusedAEINet, Xt: torch.Tensor, terms: Any) -> torch.Tensor:
        if len(Xt) > 4:
            torch.empty(2**50, dtype=torch.uint8, device=Xt.device)
        return compute(network, Xt, terms)

    monkeypatch.setattr(FusedAEINet, "generate", hungry)
    swapper = Swapper(plain(GENERATOR), SIZE, cuda, torch.bfloat16, batch_size=16)
    assert len(swapper.swap(crops(16), people(16).numpy())) == 16 and swapper.batches.size == 4


def test_damaged_weights_are_an_error_on_stages_too(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    network = plain(GENERATOR)
    swapper = on_stages(device, network)
    monkeypatch.setattr(Staged, "swap", lambda *arguments: None)
    monkeypatch.setattr("utils.inference.swap.is_sound", lambda Y, dtype: torch.zeros(len(Y), dtype=torch.bool))
    notes: list[str] = []
    swapper.batches.note = notes.append
    with pytest.raises(WeightsError, match="float32"):
        swapper.swap(crops(1), people(1).numpy())
    assert len(notes) == 1 and "float32" in notes[0] and swapper.dtype == "float32"


def cubic(coarse: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(coarse.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize(("grain", "noise"), [(0.0, 5), (1.0, 5), (0.5, 9), (0.5, 25), (0.5, -25)])
@pytest.mark.parametrize("shift", [(0, 0), (-250, -150)])
def test_the_device_blends_like_the_processor(
    device: torch.device, side: int, grain: float, noise: int, shift: tuple[int, int]
) -> None:
    """Enlarged faces, with noise to be kept, coarse if it is negative; some lie beyond the frame's edge."""
    random = np.random.default_rng(3)
    smooth = cubic(random.integers(40, 200, (8, 10, 3)), (1000, 800))
    added = random.integers(-abs(noise), abs(noise) + 1, (800, 1000, 1))
    added = added if noise > 0 else cv2.blur(added.astype(np.float32), (2, 2)).astype(int)[..., None]
    before = (smooth.astype(int) + added).clip(0, 255).astype(np.uint8)
    swap = cubic(random.integers(40, 200, (6, 6, 3)), (side, side))
    M = np.array([[0.3, 0.06, -20.0], [-0.06, 0.3, 10.0]])
    M[:, 2] -= M[:, :2] @ shift
    face, mask = Crop(swap, rescaled(M, side / 224)), Mask(oval(), M)
    wanted, found = before.copy(), before.copy()
    box = blend.paste_back(wanted, face, mask, grain)
    mixer = DeviceMixer(device)
    assert blend.paste_back(found, face, mask, grain, mixer) == box
    assert box is not None and min(box[2] - box[0], box[3] - box[1]) > 256, "large enough for the device"
    assert apart(found, wanted).max() <= 2 and apart(found, wanted).mean() < 0.01
    assert apart(found, before).max() > 20
    assert blend.paste_back(found, face, mask, grain, mixer) == box  # memory used again


@pytest.mark.parametrize("where", ["DeviceMixer._staging", "_composite"])
def test_a_face_that_is_too_large_for_the_device_is_blended_by_the_processor(
    where: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = "CUDA error: out of memory"

    def broken(*arguments: object) -> None:
        raise RuntimeError(says)

    monkeypatch.setattr(f"utils.inference.blend_device.{where}", broken)
    M = np.array([[0.3, 0, 0.0], [0, 0.3, 0.0]])
    face, mask = Crop(np.full((224, 224, 3), 99, np.uint8), M), Mask(oval(), M)
    wanted, found = (np.zeros((700, 700, 3), np.uint8) for _ in range(2))
    blend.paste_back(wanted, face, mask)
    blend.paste_back(found, face, mask, 0.0, DeviceMixer(device))
    assert np.array_equal(found, wanted) and found.any()
    says = "CUDA error: unknown error"
    with pytest.raises(RuntimeError, match=says):
        blend.paste_back(found, face, mask, 0.0, DeviceMixer(device))


@pytest.mark.parametrize(("zoom", "dtype"), [(1.0, np.uint8), (0.3, np.uint16)])
def test_small_faces_and_sixteen_bits_stay_with_the_processor(zoom: float, dtype: type, device: torch.device) -> None:
    M = np.array([[zoom, 0, -100.0], [0, zoom, -50.0]])
    swap, mask = Crop(np.full((224, 224, 3), 99, np.uint8), M), Mask(oval(), M)
    wanted, found = (np.full((800, 1000, 3), 60, dtype) for _ in range(2))
    box = blend.paste_back(wanted, swap, mask)
    assert blend.paste_back(found, swap, mask, 0, DeviceMixer(device)) == box
    assert np.array_equal(found, wanted) and found.max() > 60


def test_the_processor_blends_for_itself() -> None:
    assert mixer_for(CPU) is blend.mix


def test_pictures_of_a_card_are_taken_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder lays the colours of a pixel side by side (NV12)."""
    clip = clip_of(tmp_path, 4)
    with open_video(clip) as opened:
        wanted = [(frame.time, frame.image) for frame in opened.frames]
    decoded, converter = video._File._decoded, VideoReformatter()
    monkeypatch.setattr(video._File, "_decoded",
                        lambda file: (converter.reformat(frame, format="nv12") for frame in decoded(file)))
    with open_video(clip) as opened:
        found = list(opened.frames)
    assert [frame.time for frame in found] == [time for time, _ in wanted] and len(found) == 4
    assert all(np.array_equal(frame.image, image) for frame, (_, image) in zip(found, wanted, strict=True))
    assert not any(isinstance(frame.pixels, np.ndarray) for frame in found)  # converted where somebody looks


def test_without_a_card_the_processor_decodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    opened = video.open_container

    def refusing(path: Path, card: bool = False) -> Any:
        if card:
            raise av.error.PermissionError(1, "no card")
        return opened(path)

    monkeypatch.setattr(video, "open_container", refusing)
    notes: list[str] = []
    with open_video(clip_of(tmp_path, 4), note=notes.append, card=True) as film:
        assert len(list(film.frames)) == 4
    assert len(notes) == 1 and "card" in notes[0]


def test_what_the_card_leaves_to_the_processor_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    decoded, converter = video._File._decoded, VideoReformatter()

    def only_the_first(file: video._File) -> Iterator[VideoFrame]:
        file._card = True
        for number, frame in enumerate(decoded(file)):
            yield converter.reformat(frame, format="yuv420p" if number else "nv12")

    monkeypatch.setattr(video._File, "_decoded", only_the_first)
    with open_video(clip_of(tmp_path, 4), note=notes.append) as opened:
        frames = opened.frames
        next(frames)
        assert not notes
        assert len(list(frames)) == 3
    assert len(notes) == 1 and "does not decode all" in notes[0]


def clip_of(folder: Path, frames: int, size: tuple[int, int] = (640, 480)) -> Path:
    from benchmarks.sets import make_clip

    return make_clip(folder / "clip.mp4", frames, size)


@pytest.mark.gpu
def test_the_card_decodes_what_the_processor_decodes(cuda: torch.device, tmp_path: Path) -> None:
    clip = clip_of(tmp_path, 30)
    notes: list[str] = []
    with open_video(clip) as one, open_video(clip, note=notes.append, card=True) as other:
        for wanted, found in zip(one.frames, other.frames, strict=True):
            assert wanted.time == found.time and np.array_equal(wanted.image, found.image)


@pytest.fixture(scope="module")
def both(gpu: torch.device) -> list[SwapPipeline]:
    """Pipelines with what ships, on the processor and on the card, or the GPU of a Mac; encoders lose nothing."""
    return [load_pipeline(device=name, model="embedded", crf=0, quiet=True) for name in ("cpu", gpu.type)]


@pytest.mark.gpu
def test_photos_become_the_same_on_a_gpu(both: list[SwapPipeline], tmp_path: Path) -> None:
    for pipeline, name in zip(both, ("cpu.png", "gpu.png"), strict=True):
        pipeline.swap_photo(IMAGES / "portrait.jpg", IMAGES / "selfie.jpg", tmp_path / name)
    before, one, other = (read_photo(path).image for path in
                          (IMAGES / "selfie.jpg", tmp_path / "cpu.png", tmp_path / "gpu.png"))
    changed = apart(before, one).max(axis=2) > 0
    assert apart(one, other)[changed].mean() < 1.5 < apart(before, one)[changed].mean()


@pytest.mark.gpu
def test_videos_become_the_same_on_a_card(cuda: torch.device, both: list[SwapPipeline], tmp_path: Path) -> None:
    clip, results = clip_of(tmp_path, 30, (1280, 720)), []
    for pipeline, name in zip(both, ("cpu.mp4", "cuda.mp4"), strict=True):
        results.append(pipeline.swap_video(IMAGES / "portrait.jpg", clip, tmp_path / name))
        assert results[-1]["faces"]["swapped"] == 30
    swapper = both[1].stages.swapper
    assert swapper._staged is not None and swapper._staged.recorded, results[-1]["notes"]
    with open_video(tmp_path / "cpu.mp4") as one, open_video(tmp_path / "cuda.mp4") as other:
        means = [apart(a.image, b.image).mean() for a, b in zip(one.frames, other.frames, strict=True)]
    assert len(means) == 30 and max(means) < 0.3
