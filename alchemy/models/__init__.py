"""The models of `models.yaml`: a registry and one file per provider."""

import os

# Read by OpenMP when torch is first loaded, so it is set before any module here can load it.
# By default an idle thread spins for a millisecond: beside another busy process, training took ten
# times as long. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) costs a third on a quiet machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
