"""The names of --methods: methods, losses, and either with pairs behind them.

`sampling` is the variant method=sampling of a configuration, `balanced_softmax`
that loss with method=plain, and `blt+alpha=10` has further pairs.
"""

from collections.abc import Sequence

from blt_jax.config.schema import LOSSES
from blt_jax.experiments.settings import Setting

# Losses whose names are methods, too; cross entropy is what all others have.
LOSS_NAMES = tuple(name for name in LOSSES if name != "cross_entropy")

# By what each adds to ordinary training, the least first: nothing; draws by
# class in stage 2; another loss; draws and the squashing-cosine classifier;
# more crops of the tail; images that are hallucinated once; in every batch.
SIMPLEST_FIRST = (
  "plain",
  "sampling",
  "focal",
  "class_balanced",
  "balanced_softmax",
  "logit_adjustment",
  "ldam",
  "neither",
  "augmentations",
  "static_random",
  "static_targeted",
  "blt_softmax",
  "blt_uniform",
  "blt_entire_batch",
  "blt",
)


def simplest_first(names: Sequence[str]) -> list[str]:
  """The names in the order of SIMPLEST_FIRST, fewer pairs first; else as given.

  A method that a user's own configuration adds comes last.
  """
  known = {name: rank for rank, name in enumerate(SIMPLEST_FIRST)}

  def rank(name: str) -> tuple[int, int]:
    head, *pairs = name.split("+")
    return known.get(head, len(known)), len(pairs)

  return sorted(names, key=rank)


def settings_of(names: Sequence[str]) -> tuple[Setting, ...]:
  """A setting for each name of --methods, in the order given.

  Raises:
    ValueError: for no name, a repeated one, or a pair that is none or that is
      set elsewhere.
  """
  if not any(names):
    raise ValueError(
      "--methods is missing; --mode=compare needs --methods=NAME,..., some of "
      f"{', '.join(SIMPLEST_FIRST)}."
    )
  if len(set(names)) < len(names):
    raise ValueError(
      f"--methods={','.join(names)}: expected every method once."
    )
  return tuple(Setting(name, _variant(name)) for name in names)


def _variant(name: str) -> dict[str, str]:
  """The pairs of a variant: {"method": "blt", "alpha": "10"}."""
  head, *pairs = name.split("+")
  variant = {"method": head}
  if head in LOSS_NAMES:
    variant = {"method": "plain", "loss": head}
  for pair in pairs:
    key, equals, value = pair.partition("=")
    if not equals or key in {*variant, "seed"}:
      raise ValueError(
        f"--methods={name}: {pair!r}; expected pairs such as {head}+alpha=10 "
        f"with keys of configs/common.py other than seed, {', '.join(variant)}."
      )
    variant[key] = value
  return variant
