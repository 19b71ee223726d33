"""ArcFace identity encoder."""
