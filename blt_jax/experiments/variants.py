"""From a variant (method=blt,p=0.5) to a run's configuration and its flags."""

import dataclasses
import functools
import importlib.util
import types
from collections.abc import Iterable, Mapping
from typing import Any

from blt_jax.config import Config, check_config, flatten, with_values
from blt_jax.system import installed

# These pairs come first in a run's name and command, in this order.
_ORDER = ("method", "backbone", "batch", "lr")

# Fields that the experiments set themselves.
_OURS = ("seed", "method", "stage1.reuse")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Basis:
  """What all runs of a plan have in common.

  Attributes:
    config: the configuration's file, relative to main.py.
    pairs: behind its colon in every run; a variant's pairs win over them.
    fields: overrides of configuration fields of every run.
  """

  config: str
  pairs: Mapping[str, str] = dataclasses.field(default_factory=dict)
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def configure(
  basis: Basis,
  variant: Mapping[str, str],
  *,
  overrides: Mapping[str, Any],
  seed: int = 0,
) -> Config:
  """The configuration of a run, as its command line makes it.

  Raises:
    ValueError: for a pair or an override that the configuration refuses.
  """
  text = variant_text({**basis.pairs, **variant}, seed)
  config = _module(basis.config).get_config(text)
  return with_values(check_config(config), {**basis.fields, **overrides})


def needed_pairs(
  basis: Basis,
  variant: Mapping[str, str],
  *,
  overrides: Mapping[str, Any],
) -> dict[str, str]:
  """The pairs of a variant without those that change nothing.

  So equal configurations have equal pairs and the same name. The method always
  stays.
  """
  known = [key for key in _ORDER if key in variant]
  needed = {key: variant[key] for key in [*known, *sorted(variant)]}
  wanted = flatten(configure(basis, needed, overrides=overrides))
  for key in variant.keys() - {"method"}:
    fewer = {other: v for other, v in needed.items() if other != key}
    config = configure(basis, fewer, overrides=overrides)
    if flatten(config) == wanted:
      needed = fewer
  return needed


def flags_of(
  basis: Basis,
  variant: Mapping[str, str],
  *,
  overrides: Mapping[str, Any],
  seed: int,
) -> list[str]:
  """The flags of main.py that make `configure`'s configuration."""
  fields = {**basis.fields, **overrides}
  text = variant_text({**basis.pairs, **variant}, seed)
  return [
    f"--config={basis.config}:{text}",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]


def variant_text(variant: Mapping[str, str], seed: int) -> str:
  """The pairs as they stand behind the colon of --config."""
  return ",".join([*(f"{k}={v}" for k, v in variant.items()), f"seed={seed}"])


def check_overrides(
  basis: Basis,
  variants: Iterable[Mapping[str, str]],
  *,
  overrides: Mapping[str, Any],
) -> None:
  """Refuses overrides of what the experiments set themselves.

  Raises:
    ValueError: naming the field.
  """
  plain = flatten(configure(basis, {}, overrides={}))
  for variant in variants:
    varied = flatten(configure(basis, variant, overrides={}))
    for field in overrides:
      if field in _OURS or varied.get(field) != plain.get(field):
        raise ValueError(
          f"--config.{field} is given, but the experiment sets it; expected "
          "fields that are the same in all of its runs."
        )


@functools.cache
def _module(path: str) -> types.ModuleType:
  """A configuration's file as a module."""
  spec = importlib.util.spec_from_file_location(
    "experiment_config", installed.config_file(path)
  )
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
