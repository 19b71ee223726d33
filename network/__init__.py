"""AEI-Net, its attribute encoders and the discriminator. Networks know no files and no devices."""
