"""Measuring swaps: identity, pose, expression, gaze, pixels, flicker, by interchangeable networks."""
