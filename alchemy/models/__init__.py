"""The models of `models.yaml`: a registry and one file per provider."""
