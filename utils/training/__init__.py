"""Training: data, losses, steps, loops, checkpoints; distillation of the two small networks from teachers."""
