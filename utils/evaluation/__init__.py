"""Measuring swaps: identity, pose, expression, gaze, pixels, flicker, with interchangeable recognisers and landmarkers."""
