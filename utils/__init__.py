"""Everything around the networks: media, inference stages, training."""

import os

# ONNX Runtime sends usage data from 1.29 on unless this is set before its import; a tool for faces phones nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Albumentations (a dependency of InsightFace) asks its server for a newer version at import.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
