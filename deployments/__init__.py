"""Ray Serve deployments: thin shells around `alchemy`; composed in `deployments.app` only."""
