"""`python -m blt_jax`: the same program as `blt-jax` and `python main.py`."""

from blt_jax.cli import run

if __name__ == "__main__":
  run()
