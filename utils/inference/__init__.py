"""The swap as a stream of frames: detect, track, align, identify, swap, enhance, mask, blend."""
