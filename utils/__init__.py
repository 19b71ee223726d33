"""Everything around the networks: media, inference stages, training."""

import os

# ONNX Runtime sends usage data from 1.29 on unless this is set before its import; a tool for faces phones nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Albumentations (a dependency of InsightFace) asks its server for a newer version at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# Weights & Biases reports its own crashes, even in a run that is offline.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
# PyTorch's threads wait for work by spinning, which takes the processor from the stages that run beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
