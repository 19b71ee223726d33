"""Each loss by numbers that can be reckoned in the head: 0 for what is wanted, the right amount for what is not."""

from __future__ import annotations

from math import log, radians, sqrt

import pytest
import torch
from torch import Tensor

from tests.heads import face as head
from tests.heads import rotation
from utils.training import distill, losses
from utils.training.pose import turning

SIDE = 32


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def flat(*values: float) -> Tensor:
    """Pictures of one level each, (B, 3, SIDE, SIDE)."""
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, SIDE, SIDE).clone()


def mask(rows: slice, columns: slice = slice(None), count: int = 1) -> Tensor:
    """1 in a part of each picture, (B, 1, SIDE, SIDE)."""
    result = torch.zeros(count, 1, SIDE, SIDE)
    result[:, :, rows, columns] = 1
    return result


def checks(found: Tensor, wanted: float) -> None:
    assert found.shape == () and float(found) == pytest.approx(wanted, rel=1e-4, abs=1e-6)


TOP, BOTTOM = slice(0, SIDE // 2), slice(SIDE // 2, SIDE)


def test_hinges_ask_for_a_distance_of_one() -> None:
    def scales(level: float) -> list[list[Tensor]]:
        """Three, of which only the last map counts."""
        return [[torch.full((2, 1, 9, 9), 99.0), torch.full((2, 1, side, side), float(level))] for side in (9, 5, 3)]

    for level, wanted in ((0.25, 3 * 0.75), (-0.5, 3 * 1.5), (1.0, 0), (7.0, 0)):
        checks(losses.adversarial_loss(scales(level)), wanted)
    for fake, real, wanted in ((-1, 1, 0), (-5, 5, 0), (0.25, 0.25, 3 * (1.25 + 0.75) / 2), (-2, -0.5, 3 * 1.5 / 2)):
        checks(losses.discriminator_loss(scales(fake), scales(real)), wanted)


def test_identity_is_the_angle_alone() -> None:
    z = noise(3, 8)
    checks(losses.identity_loss(z, 5 * z), 0)
    checks(losses.identity_loss(z, -z), 2)
    checks(losses.identity_loss(torch.eye(2), torch.eye(2).flip(0)), 1)


def test_attributes_add_up_over_the_levels() -> None:
    levels = [noise(2, 4, 8, 8), noise(2, 8, 4, 4)]
    checks(losses.attribute_loss(levels, levels), 0)
    checks(losses.attribute_loss(levels, [levels[0] + 2, levels[1] - 1]), (4 + 1) / 2)


def test_reconstruction_is_asked_of_pairs_of_one_person() -> None:
    Xt = noise(3, 3, SIDE, SIDE)
    Y = Xt + flat(0.5, -1, 2)
    checks(losses.reconstruction_loss(Xt, Xt, torch.ones(3)), 0)
    checks(losses.reconstruction_loss(Y, Xt, torch.tensor([True, True, False])), (0.25 + 1) / 2 / 2)
    checks(losses.reconstruction_loss(Y, Xt, torch.zeros(3)), 0)
    checks(losses.reconstruction_loss(Y, Xt, torch.tensor([1.0, 0, 0]), torch.tensor(4.0)), 0.25 / 2 / 4)


def test_both_eyes_count() -> None:
    left, right = noise(2, 64, 64), noise(2, 64, 64).flip(0)
    checks(losses.eye_loss(left, right, left, right), 0)
    checks(losses.eye_loss(left, right, left + 0.5, right - 0.1), 0.25 + 0.01)


def test_tone_is_that_of_large_cells() -> None:
    Xt = noise(2, 3, SIDE, SIDE)
    board = 0.5 - (torch.arange(SIDE) + torch.arange(SIDE)[:, None]) % 2
    checks(losses.tone_loss(Xt, Xt), 0)
    checks(losses.tone_loss(Xt + board, Xt), 0)  # each of the 16 x 16 cells has two black and two white pixels
    checks(losses.tone_loss(Xt + board[:16, :16].repeat_interleave(2, 0).repeat_interleave(2, 1), Xt), 0.5)
    checks(losses.tone_loss(Xt + flat(0.25, -0.75), Xt), 0.5)
    checks(losses.tone_loss(Xt + board, Xt, cells=SIDE), 0.5)


def test_surroundings_are_what_is_outside_of_the_face() -> None:
    Xt, face = noise(2, 3, SIDE, SIDE), mask(TOP, count=2)
    face[1] = mask(slice(0, 24))[0]
    checks(losses.surroundings_loss(Xt, Xt, face), 0)
    checks(losses.surroundings_loss(Xt + 9 * face, Xt, face), 0)
    checks(losses.surroundings_loss(Xt + (1 - face) * flat(0.25, -0.75), Xt, face), 0.5)
    checks(losses.surroundings_loss(Xt + 9, Xt, torch.ones_like(face)), 0)


def test_transplants_count_as_far_as_they_are_believed_and_openings_always() -> None:
    donor, face, openings = noise(3, 3, SIDE, SIDE), mask(TOP, count=3), mask(BOTTOM, slice(0, 8), count=3)
    belief = torch.tensor([1, 0, 0.5])
    Y = donor + 0.4 * face - 0.2 * openings
    checks(losses.transplant_loss(donor, donor, face, belief, openings), 0)
    checks(losses.transplant_loss(donor + 9 * (1 - face - openings), donor, face, belief, openings), 0)
    checks(losses.transplant_loss(Y, donor, face, belief, openings), 0.4 * 0.5 + 0.2 / 2)
    checks(losses.transplant_loss(Y, donor, face, torch.zeros(3), openings), 0.2 / 2)
    checks(losses.transplant_loss(Y, donor, face, belief, torch.zeros_like(openings)), 0.4 * 0.5)


def test_features_are_directions() -> None:
    one, other = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    one[:, 0], other[:, 1] = 3, 5
    both = torch.ones(2)
    checks(losses.feature_loss([one, other], [2 * one, other], both), 0)
    checks(losses.feature_loss([one, one], [other, -one], both), 2 + 4)
    checks(losses.feature_loss([one], [other], torch.tensor([1, 0.5])), 2 * 0.75)


def test_landmarks_count_by_their_distance() -> None:
    points = noise(2, 106, 2)
    checks(losses.landmark_consistency_loss(points, points), 0)
    checks(losses.landmark_consistency_loss(points, points + torch.tensor([3.0, -4.0])), 5)


def test_pose_is_the_angle_by_which_heads_turn() -> None:
    plain, turned = (torch.from_numpy(head(rotation(*angles)) / 200 - 0.5).float() for angles in ((0, 0, 0), (0, 0, 4)))
    before = torch.stack([plain, plain])
    checks(losses.pose_loss(before, before, turning(before)), 0)
    loss = losses.pose_loss(before, torch.stack([plain, turned]), turning(before))
    assert float(loss) == pytest.approx(radians(4) / 2, rel=0.1)


def test_a_student_matches_direction_and_gently_length() -> None:
    e = torch.eye(4)[:2]
    checks(distill.identity_loss(2 * e, e), 0)  # of unit variance: as long as the root of its numbers
    checks(distill.identity_loss(4 * e, e), 0.1 * 1)
    checks(distill.identity_loss(-2 * e, e), 2 + 0.1 * 4)
    checks(distill.identity_loss(2 * e.flip(0), e), 1 + 0.1 * 2)
    checks(distill.identity_loss(sqrt(512) * torch.eye(512)[:2], torch.eye(512)[:2]), 0)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_students_landmarks_are_drawn_harder_the_nearer_they_are(sign: int) -> None:
    target = noise(2, 106, 2)
    checks(distill.landmark_loss(target, target), 0)
    checks(distill.landmark_loss(target + sign * 0.01, target), 0.05 * log(2))
    checks(distill.landmark_loss(target + sign * 0.25, target), 0.25 - 0.05 + 0.05 * log(6))
    edge = [float(distill.landmark_loss(torch.zeros(1, 1, 2), torch.full((1, 1, 2), d))) for d in (0.04999, 0.05001)]
    assert edge[0] < edge[1] == pytest.approx(edge[0], abs=1e-4), "its two branches meet"
