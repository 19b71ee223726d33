"""How the swaps of a run are to look."""

from __future__ import annotations

from dataclasses import dataclass

from utils.inference.glasses import Glasses
from utils.inference.mask import MaskMargin


@dataclass
class SwapSettings:
    """How swaps are made, by the user's wish or as it suits the generator."""

    mask_margin: MaskMargin
    rim_contrast: float  # by which a swap may differ on forehead and temples before the target is shown; 0: by any
    grain: float  # share of the target's fine detail that is laid over swaps
    identity_strength: float | None  # share of the way from the target's embedding to the source's, as the user wants
    identity_reach: float  # its length where the user says nothing; 0: the source's embedding as it is
    least_contrast: float  # of faces for the generator, levels; see utils.inference.exposure
    tone: float  # share of the target's light and skin tone that swaps take on
    sharpen: float  # largest share of a swap's detail that is added where the target has more; 0 with an enhancer
    detail: float  # share of the source photo's detail that swaps are given; 0 with an enhancer, which paints its own
    match_blur: float  # share of the target's blur that swaps are given; 0 with an enhancer, which is to sharpen
    occlusion: float  # share of what covers the target's face that stays in front of the swap
    glasses: Glasses | None  # how to see them in an embedding and add them to it, where that is known
    target_glasses: bool  # swaps wear the target's
    max_yaw: float  # degrees that a face may be turned; 0: any

    @property
    def keeps_glasses(self) -> bool:
        """Whether it is known which targets wear glasses, and swaps are to wear these."""
        return self.target_glasses and self.glasses is not None
