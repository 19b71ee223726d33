"""Networks beside AEI-Net: face enhancer and eye landmarks."""
