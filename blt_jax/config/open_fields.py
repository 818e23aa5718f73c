"""The fields of a configuration that are left open, and what they follow."""

from blt_jax.config.check import (
  FOLLOWING,
  SCHEMA,
  flatten,
  is_open,
  may_be_open,
  with_values,
)
from blt_jax.config.rules import AUTO
from blt_jax.config.schema import Config
from blt_jax.models import is_commit, is_settled, repository

_PRETRAINED = "model.pretrained"


def left_open(config: Config) -> list[str]:
  """Dotted names of the fields that training/choose.py is to choose.

  `model.pretrained` is one of them unless it is a file or hf:OWNER/NAME@COMMIT.
  """
  flat = flatten(config)
  return [
    name
    for name, each in SCHEMA.items()
    if (is_open(each, flat[name]) and may_be_open(each, flat))
    or (name == _PRETRAINED and not is_settled(flat[name]))
  ]


def follow(config: Config) -> Config:
  """Fills in the open fields that follow from others, those of `FOLLOWING`.

  One stays open where what it follows from is open. The configuration does not
  change.
  """
  still_open = left_open(config)
  values = {n: rule(config) for n, rule in FOLLOWING.items() if n in still_open}
  return with_values(config, values) if values else config


def as_begun(config: Config, begun: Config) -> Config:
  """A configuration with what it leaves open as a run has chosen it.

  `model.pretrained` becomes the run's where both name the same repository, and
  no other commit, and where it was to be picked. Where nothing could be, the
  run began from scratch.
  """
  if config.model.pretrained == AUTO and not begun.model.pretrained:
    from blt_jax.config.finetuning import from_scratch  # Few runs need it.

    config = from_scratch(config)
  values = flatten(begun)
  chosen = {name: values[name] for name in left_open(config)}
  ours, theirs = config.model.pretrained, begun.model.pretrained
  found = repository(ours)
  revision = found[1] if found else ""
  if ours != AUTO and (
    repository_of(ours) != repository_of(theirs)
    or (is_commit(revision) and not theirs.endswith(f"@{revision}"))
  ):
    chosen.pop(_PRETRAINED, None)
  return with_values(config, chosen) if chosen else config


def repository_of(pretrained: str) -> str:
  """Weights without their revision: OWNER/NAME, or the file that they are."""
  found = repository(pretrained)
  return found[0] if found else pretrained
