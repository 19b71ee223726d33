"""Decoding of landmark heatmaps."""

from __future__ import annotations

import torch

from models.fan import LEFT_PUPIL, RIGHT_PUPIL, peaks, pupils


def test_peak_shifts_a_quarter_pixel_towards_the_larger_neighbour() -> None:
    heat = torch.zeros(1, 1, 64, 64)
    heat[0, 0, 20, 10] = 1.0
    assert peaks(heat).tolist() == [[[40.0, 80.0]]]
    heat[0, 0, 20, 11], heat[0, 0, 19, 10] = 0.5, 0.5
    assert peaks(heat).tolist() == [[[41.0, 79.0]]]


def test_peak_on_the_border_stays() -> None:
    heat = torch.zeros(1, 1, 64, 64)
    heat[0, 0, 0, 63], heat[0, 0, 1, 63] = 1.0, 0.5
    assert peaks(heat).tolist() == [[[252.0, 0.0]]]


def test_pupils_left_then_right() -> None:
    heat = torch.zeros(2, 99, 64, 64)
    heat[:, LEFT_PUPIL, 24, 20] = 1.0
    heat[:, RIGHT_PUPIL, 25, 44] = 1.0
    assert pupils(heat).tolist() == 2 * [[[80.0, 96.0], [176.0, 100.0]]]
