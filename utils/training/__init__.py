"""Training: data, losses, steps, loops, checkpoints; distillation of small networks; drawn occluders."""
