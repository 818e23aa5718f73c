"""The paper's published numbers (paper_results.json)."""

import functools
import importlib.resources
import json
from typing import Any


@functools.cache
def published() -> dict[str, Any]:
  """Everything that paper_results.json holds; not to be changed."""
  file = importlib.resources.files(__package__) / "paper_results.json"
  return json.loads(file.read_text())


def numbers(path: tuple[str, ...]) -> dict[str, Any]:
  """The numbers at a path.

  Args:
    path: keys from the outside in: ("imagenet_lt_resnet10", "blt").

  Returns:
    {"many", "medium", "few", "overall"} in percent, or for Table 6 {"image",
    "batch_256", "epoch"} in seconds and "total" as text.

  Raises:
    ValueError: when there is nothing at the path.
  """
  found: Any = published()
  for depth, key in enumerate(path):
    if not isinstance(found, dict) or key not in found:
      raise ValueError(
        f"paper_results.json has nothing at {' / '.join(path[: depth + 1])}."
      )
    found = found[key]
  if not isinstance(found, dict) or any(
    isinstance(value, dict) for value in found.values()
  ):
    raise ValueError(
      f"paper_results.json has no numbers at {' / '.join(path)}."
    )
  return found
