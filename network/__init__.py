"""AEI-Net, its attribute encoders and the discriminator. Networks know no files and take no device as an
argument; their forms for inference (`fused`, `packed`) choose faster operations by where their inputs are.
"""
