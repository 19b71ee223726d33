"""Landmarks of a head that is drawn by numbers."""

from __future__ import annotations

import numpy as np

from utils.evaluation import geometry


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotation (3, 3) from head angles in degrees, the inverse of geometry.head_angles."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def face(turn: np.ndarray | None = None, mouth: float = 0.0, lids: float = 0.1, look: float = 0.0) -> np.ndarray:
    """106 landmarks of a generic head in a 200 x 200 picture; the points that no measure uses lie on a ring."""
    ring = np.linspace(0, 2 * np.pi, 106)
    points = 100 + 80 * np.stack([np.cos(ring), np.sin(ring)], axis=1)
    head = geometry.HEAD_POINTS @ (np.eye(3) if turn is None else turn).T
    points[geometry.HEAD_INDICES] = 100 + 60 * head[:, :2]
    for upper, lower in ((66, 54), (62, 60), (70, 57)):
        middle = points[[52, 61]].mean(axis=0)
        width = np.linalg.norm(points[61] - points[52])
        gap = np.array([0, mouth * width / 2])
        points[upper], points[lower] = middle - gap, middle + gap
    for left, right, gaps, pupil in geometry.EYES:
        middle, width = points[[left, right]].mean(axis=0), np.linalg.norm(points[right] - points[left])
        for upper, lower in gaps:
            gap = np.array([0, lids * width / 2])
            points[upper], points[lower] = middle - gap, middle + gap
        points[pupil] = middle + look * (points[right] - points[left])
    return points
