"""The models of `models.yaml`: a registry and one file per provider."""

import os

# Read by OpenMP when torch is first loaded, so it is set before any module here can load it.
# Idle threads that spin instead of sleeping made training on a shared machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
