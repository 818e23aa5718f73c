"""The command line of blt_jax; `python main.py --help` tells its flags."""

from blt_jax.cli import run

if __name__ == "__main__":
  run()
