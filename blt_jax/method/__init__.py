"""The paper in pure JAX: perturbation, confusion, losses, training step."""
