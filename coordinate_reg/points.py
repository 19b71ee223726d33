"""What each of the 106 landmarks is (InsightFace's 2d106det order). Left and right are the image's.

| landmarks | place |
| --- | --- |
| 0; 1 to 16; 17 to 32 | chin; contour on the left; on the right |
| 33 to 42; 87 to 96 | eyes: rings of corners and lids, centre (34, 92), pupil (38, 88) |
| 43 to 51; 97 to 105 | brows, upper and lower edge |
| 52 to 71 | mouth, outer and inner line |
| 72 to 86 | nose: ridge (72, 73, 74), tip (86), wings and base |
"""

from __future__ import annotations

import numpy as np

COUNT = 106
CHIN = 0
LEFT_CONTOUR = (1, *range(9, 17), *range(2, 9))  # from the temple down
RIGHT_CONTOUR = (17, *range(25, 33), *range(18, 25))
CONTOUR = tuple(range(33))
# Upper edges of the brows, each followed by its partner on the upper lids, with the corners of the eyes at both ends.
LEFT_BROW, LEFT_LID = (43, 48, 49, 51, 50), (35, 41, 40, 42, 39)  # from the temple to the nose
RIGHT_BROW, RIGHT_LID = (102, 103, 104, 105, 101), (89, 95, 94, 96, 93)  # from the nose to the temple
BROWS, LIDS = LEFT_BROW + RIGHT_BROW, LEFT_LID + RIGHT_LID
LEFT_EYE, RIGHT_EYE = (*LEFT_LID, 37, 33, 36), (*RIGHT_LID, 91, 87, 90)  # rings
LEFT_CORNERS, RIGHT_CORNERS = (35, 39), (89, 93)  # of the eyes, from left to right
LEFT_GAPS, RIGHT_GAPS = ((41, 36), (40, 33), (42, 37)), ((95, 90), (94, 87), (96, 91))  # upper and lower lid
EYE_CENTRES, PUPILS = (34, 92), (38, 88)
NOSE_TIP = 86
MOUTH_CORNERS = (52, 61)
LIP_GAPS = ((66, 54), (62, 60), (70, 57))  # inner line, upper and lower lip
INNER_LIPS = (65, 66, 62, 70, 69, 57, 60, 54)  # ring

# Partners in a mirror: brows, eyes, mouth, contour, nose; those on the middle line stay.
_LEFT = (
    *(*LEFT_BROW, 46, 47, 45, 44),
    *(*LEFT_EYE, 34, 38),
    *(52, 64, 63, 65, 66, 55, 56, 54),
    *LEFT_CONTOUR,
    *(75, 76, 77, 78, 79),
)
_RIGHT = (
    *(101, 105, 104, 103, 102, 97, 98, 99, 100),
    *(93, 96, 94, 95, 89, 90, 87, 91, 92, 88),
    *(61, 68, 67, 69, 70, 58, 59, 57),
    *RIGHT_CONTOUR,
    *(81, 82, 83, 84, 85),
)
_PARTNER = dict(zip(_LEFT, _RIGHT, strict=True)) | dict(zip(_RIGHT, _LEFT, strict=True))
MIRRORED = [_PARTNER.get(i, i) for i in range(COUNT)]  # the landmark that takes each one's place

# A generic head: eye corners, nose and mouth, in units of the distance between the outer eye corners; x to the image's
# right, y down, z away from the camera. Made symmetric; the median shape of 335 rigidly aligned synthetic faces.
_HEAD: dict[int, tuple[float, float, float]] = {
    35: (-0.500, -0.014, 0.030),
    39: (-0.193, 0.014, -0.030),
    89: (0.193, 0.014, -0.030),
    93: (0.500, -0.014, 0.030),
    72: (0.0, -0.033, -0.221),
    73: (0.0, 0.107, -0.289),
    74: (0.0, 0.225, -0.370),
    86: (0.0, 0.403, -0.449),
    75: (-0.229, 0.429, -0.116),
    80: (0.0, 0.540, -0.241),
    81: (0.229, 0.429, -0.116),
    52: (-0.290, 0.784, 0.0),
    61: (0.290, 0.784, 0.0),
    71: (0.0, 0.717, -0.228),
}
HEAD_INDICES = list(_HEAD)
HEAD_POINTS = np.array([_HEAD[i] for i in HEAD_INDICES])  # (14, 3) float64
