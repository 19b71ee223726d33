"""MediaPipe's 478 face points turned into the project's 106 (coordinate_reg/points.py says what each one is).

Written once by hand: every inner point is one vertex of the MediaPipe mesh or the mean of two; the contour is the face
oval between the temples, resampled to even steps on each side of the chin. 'Left' is the image's left.
"""

from __future__ import annotations

import numpy as np

from coordinate_reg.points import CHIN, COUNT, LEFT_CONTOUR, RIGHT_CONTOUR

# Point of the 106 -> vertices of the mesh whose mean it is.
_VERTICES: dict[int, tuple[int, ...]] = {
    # left brow: upper edge from the temple to the nose, lower edge back
    43: (70,), 48: (63,), 49: (105,), 51: (66,), 50: (107,), 46: (55,), 47: (65,), 45: (52,), 44: (46, 53),
    # right brow: upper edge from the nose to the temple, lower edge back
    102: (336,), 103: (296,), 104: (334,), 105: (293,), 101: (300,),
    100: (276, 283), 99: (282,), 98: (295,), 97: (285,),
    # nose: ridge, then the base from the left wing to the right one
    72: (168,), 73: (6, 197), 74: (195,), 86: (4,),
    75: (129,), 76: (64,), 77: (240, 99), 78: (60, 20), 79: (242, 141), 80: (2,),
    85: (462, 370), 84: (290, 250), 83: (460, 328), 82: (294,), 81: (358,),
    # left eye: corner, upper lid, corner, lower lid, centre, pupil
    35: (33,), 41: (160, 161), 40: (159,), 42: (157, 158), 39: (133,), 37: (153, 154), 33: (145,), 36: (163, 144),
    34: (159, 145), 38: (468,),
    # right eye
    89: (362,), 95: (384, 385), 94: (386,), 96: (387, 388), 93: (263,), 91: (390, 373), 87: (374,), 90: (380, 381),
    92: (386, 374), 88: (473,),
    # mouth, outer line from the left corner over the upper lip
    52: (61,), 64: (40, 185), 63: (37, 39), 71: (0,), 67: (267, 269), 68: (270, 409), 61: (291,),
    58: (321, 375), 59: (314, 405), 53: (17,), 56: (84, 181), 55: (91, 146),
    # mouth, inner line from the left corner over the upper lip
    65: (78,), 66: (81,), 62: (13,), 70: (311,), 69: (308,), 57: (402,), 60: (14,), 54: (178,),
}
_LEFT_OVAL = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
_RIGHT_OVAL = (356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)

# Two vertices per point (the same one twice where one is meant), for one gather and one mean.
_POINTS = np.array(sorted(_VERTICES))
_PAIRS = np.array([(_VERTICES[i][0], _VERTICES[i][-1]) for i in sorted(_VERTICES)])


def _even_steps(line: np.ndarray, count: int) -> np.ndarray:
    """Resample an open line of (n, 2) points to `count` points at equal arc length, both ends kept."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(wanted, along, line[:, axis]) for axis in (0, 1)], axis=1)


def to_106(points478: np.ndarray) -> np.ndarray:
    """Choose or interpolate the 106 landmarks from the mesh.

    points478: (478, 2) or (478, 3), any units, (x, y) first; the last ten are the irises.
    Returns (106, 2) float32 in the same units.
    Raises ValueError when the mesh has no irises (468 points) or another shape.
    """
    if points478.ndim != 2 or points478.shape[0] != 478 or points478.shape[1] < 2:
        raise ValueError(f"expected 478 points of the face mesh with irises, got an array of shape {points478.shape}")
    mesh = points478[:, :2].astype(np.float64)
    landmarks = np.empty((COUNT, 2), np.float32)
    landmarks[_POINTS] = mesh[_PAIRS].mean(axis=1)
    for contour, oval in (((*LEFT_CONTOUR, CHIN), _LEFT_OVAL), ((*RIGHT_CONTOUR, CHIN), _RIGHT_OVAL)):
        landmarks[list(contour)] = _even_steps(mesh[list(oval)], len(contour))
    return landmarks
