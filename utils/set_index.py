"""The columns of index.csv, which lists the crops of a training set."""

from __future__ import annotations

KEYPOINTS = tuple(f"kp{i}_{axis}" for i in range(1, 6) for axis in "xy")
COLUMNS = ("file", "identity", *KEYPOINTS, "template", "score", "margin")  # keypoints and margin in the crop's pixels
