"""The teacher's maps reach the student at the same place of the face, and SFace is rebuilt from its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from arcface_model.iresnet import iresnet
from utils.errors import WeightsError
from utils.inference.align import ARCFACE_112
from utils.onnx_file import open_session
from utils.training import augment, geometry, hints, invent
from utils.training.augment import Changes, Framing
from utils.training.draws import Draws
from utils.training.halving import Halving
from utils.training.prepare import alignment
from utils.training.sface import Observed, SFace


def chain(path: Path, last: str = "Gemm") -> None:
    """An ONNX file of SFace's kinds of layers: 112 pixels to 14, to 7, to 5 numbers."""
    rng = np.random.default_rng(0)
    stored: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int, low: float = -0.5) -> str:
        stored.append(numpy_helper.from_array(rng.uniform(low, 0.5, shape).astype(np.float32), name))
        return name

    def conv(i: int, cin: int, cout: int, side: int, stride: int, group: int) -> list[onnx.NodeProto]:
        norm = [weight(f"n{i}{j}", cout, low=0.1) for j in range(4)]
        return [helper.make_node("Conv", [f"x{i}", weight(f"w{i}", cout, cin // group, side, side)], [f"c{i}"],
                                 strides=[stride] * 2, pads=[side // 2] * 4, group=group, kernel_shape=[side] * 2),
                helper.make_node("BatchNormalization", [f"c{i}", *norm], [f"b{i}"], epsilon=1e-3),
                helper.make_node("PRelu", [f"b{i}", weight(f"p{i}", cout, 1, 1)], [f"x{i + 1}"])]

    nodes = [*conv(0, 3, 4, 3, 8, 1), *conv(1, 4, 4, 3, 1, 4), *conv(2, 4, 4, 3, 2, 4), *conv(3, 4, 6, 1, 1, 1),
             helper.make_node("Flatten", ["x4"], ["f"]),
             helper.make_node(last, ["f", weight("wf", 5, 294), weight("bf", 5)][: 3 if last == "Gemm" else 1], ["e"],
                              **({"transB": 1} if last == "Gemm" else {}))]
    crop, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                    for name, shape in (("x0", [1, 3, 112, 112]), ("e", None)))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [crop], [answer], stored),
                                opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_sface_gives_the_numbers_of_its_file_and_its_late_maps(tmp_path: Path) -> None:
    chain(tmp_path / "chain.onnx")
    network = SFace(tmp_path / "chain.onnx")
    x = torch.rand(1, 3, 112, 112) * 2 - 1
    e, maps, shares = network.observed(x)
    session = open_session(tmp_path / "chain.onnx", torch.device("cpu"))
    expected = torch.from_numpy(session.run(None, {"x0": (x * (127.5 / 128)).numpy()})[0])
    assert torch.allclose(e, torch.nn.functional.normalize(expected), atol=1e-5)
    bias = network.layers[-1].bias / expected.norm(dim=1)
    assert shares.shape == (1, 5, 7, 7) and torch.allclose(shares.sum((2, 3)) + bias, e, atol=1e-5)
    assert [tuple(m.shape) for m in maps] == [(1, 4, 14, 14), (1, 6, 7, 7)]
    assert torch.equal(network(x), e)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("side", [8, 9])
def test_a_halving_convolution_is_one_of_stride_two(first: int, side: int) -> None:
    layer = Halving(6, 6, 3, first=first, padding=1, groups=6)
    x = torch.rand(2, 6, side, side)
    padded = torch.nn.functional.pad(x, (1 - first, 1, 1 - first, 1))
    expected = torch.nn.functional.conv2d(padded, layer.weight, layer.bias, stride=2, groups=6)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_other_files_are_refused(tmp_path: Path) -> None:
    chain(tmp_path / "chain.onnx", last="Sigmoid")
    with pytest.raises(WeightsError, match="Sigmoid does not belong to SFace"):
        SFace(tmp_path / "chain.onnx")


def test_hints_stay_with_the_face() -> None:
    """A map of the teacher that shows x and y of its crop tells the student x and y of the same points."""
    draws = Draws(0, "hints", np.arange(6))
    framing, view, side = Framing(160, 128), 64, 8
    kps = torch.from_numpy(ARCFACE_112).float() + 24 + torch.linspace(-3, 3, 6)[:, None, None]
    M_align = alignment(kps)
    M_view = augment.views(framing, view, Changes(rotation=20, zoom=0.2, shift=0.1), draws)
    places = (torch.arange(14) + 0.5) * 8 - 0.5  # of the map's points in the aligned crop
    maps = torch.stack(torch.meshgrid(places, places, indexing="xy")).expand(6, 2, 14, 14)
    hint = hints.as_seen(maps, M_align, M_view, view, side)
    cells = (torch.arange(side) + 0.5) * (view / side) - 0.5
    there = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), 2).view(1, -1, 2).expand(6, -1, -1)
    wanted = geometry.transform(geometry.invert(M_align), geometry.transform(M_view, there)).view(6, side, side, 2)
    # Beyond the middle of the map's last points it can only repeat them.
    inside = ((wanted > 3.6) & (wanted < 107.4)).all(3)
    assert 0.5 < inside.float().mean() < 1
    found = hint.values.permute(0, 2, 3, 1)
    assert float((found - wanted)[inside].abs().max()) < 1e-2
    assert hint.known[:, 0][inside].all()
    outside = ((wanted < -8) | (wanted > 120)).any(3)
    assert not hint.known[:, 0][outside].any()


def test_scales_and_loss() -> None:
    maps = torch.randn(4, 3, 5, 5) * torch.tensor([1.0, 5.0, 9.0]).view(1, 3, 1, 1) + 7
    even = hints.MapScale.of(maps).applied(maps)
    assert torch.allclose(even.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(even.std((0, 2, 3)), torch.ones(3), atol=1e-4)
    known = torch.zeros(4, 1, 5, 5)
    known[:, :, :2] = 1
    wrong = torch.where(known > 0, 3 * even, -even)  # right where the teacher looked, and only there
    assert float(hints.hint_loss([wrong], [hints.Hint(even, known)])) < 1e-5
    assert float(hints.hint_loss([wrong], [hints.Hint(even, 1 - known)])) == pytest.approx(2, abs=1e-5)
    values, answer, known = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5), (torch.rand(4, 1, 5, 5) > 0.4).float()
    parts = [hints.hint_loss([answer[p]], [hints.Hint(values[p], known[p])]) for p in (slice(2), slice(2, 4))]
    assert float(hints.hint_loss([answer], [hints.Hint(values, known)])) == pytest.approx(float(sum(parts)) / 2)


def test_a_hinted_encoder_is_the_encoder() -> None:
    encoder = iresnet(18, width=0.125, size=32, num_features=16)
    hinted = hints.HintedEncoder(encoder, [20, 24])
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    z_id, maps, shares = hinted(x)
    assert z_id.shape == (2, 16) and [tuple(m.shape) for m in maps] == [(2, 20, 4, 4), (2, 24, 2, 2)]
    hinted.eval()
    assert torch.equal(hinted(x), encoder.eval()(x))
    hinted.training = True  # its answer alone; batch norms use what they have learned
    z_id, _, shares = hinted(x)
    offset = (encoder.fc.bias - encoder.features.running_mean) / (encoder.features.running_var + 1e-5).sqrt()
    assert torch.allclose(z_id, encoder(x), atol=1e-5)
    assert torch.allclose(shares.sum((2, 3)) + offset + encoder.features.bias, z_id, atol=1e-5)


def test_shares_add_up_however_the_student_looks() -> None:
    """Shares in the middle of the face are all seen; each goes to the place that looks at it."""
    draws = Draws(0, "shares", np.arange(5))
    kps = (torch.from_numpy(ARCFACE_112).float() + 24).expand(5, 5, 2)
    M_view = augment.views(Framing(160, 128), 64, Changes(rotation=10, zoom=0.1, shift=0.04), draws)
    shares = torch.zeros(5, 2, 7, 7)
    shares[:, :, 2:5, 2:5] = torch.rand(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    seen = hints.shares_seen(shares, alignment(kps), M_view, 64, 4)
    assert seen.shape == (5, 2, 4, 4)
    assert torch.allclose(seen.sum((2, 3)), shares.sum((2, 3)), rtol=0.03)
    left = torch.zeros(5, 1, 7, 7)
    left[:, :, :, :2] = 1
    seen = hints.shares_seen(left, alignment(kps), M_view, 64, 4)
    assert float(seen[..., 2:].sum()) < 0.05 * float(seen.sum())


def test_what_all_faces_share_is_no_hint() -> None:
    e = torch.nn.functional.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 2)
    seen = Observed(e, [torch.randn(40, 3, 4, 4)], (e / 16)[..., None, None].expand(-1, -1, 4, 4))
    statistics = hints.TeacherStatistics.of(seen, centred=True)
    taught = statistics.shares_of(seen, e.mean(0)).sum((2, 3))
    wanted = torch.nn.functional.normalize(e - e.mean(0)) * 8**0.5
    assert torch.allclose(taught, wanted, atol=1e-4)
    plain = hints.TeacherStatistics.of(seen, centred=False).shares_of(seen, 0.0).sum((2, 3))
    assert torch.allclose(plain, e * 8**0.5, atol=1e-4)


def test_mirrors_move_keypoints_with_their_pixels() -> None:
    images = torch.zeros(8, 3, 40, 40)
    images[:, :, 9, 30], images[:, :, 20, 5] = 1, 2
    kps = torch.tensor([[5.0, 20.0], [30.0, 9.0], [1, 1], [2, 2], [3, 3]]).expand(8, 5, 2)
    turned, points = invent.mirrored((images, kps), 0.5, Draws(0, "m", np.arange(8)))
    at = points.round().long()
    rows = torch.arange(8)
    left, right = (turned[rows, 0, at[:, i, 1], at[:, i, 0]] for i in (0, 1))
    flipped = left == 1
    assert 0 < flipped.sum() < 8, "some of both"
    assert torch.equal(right, torch.where(flipped, 2.0, 1.0)) and torch.equal(left, torch.where(flipped, 1.0, 2.0))
