"""Writes docs/api.md, the public API, from signatures and docstrings.

python docs/make_api.py
"""

import ast
import importlib
import inspect
import pathlib
import re
import sys
import textwrap
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"

# What other programs may call; of a module without names every public one.
PUBLIC: dict[str, tuple[str, ...]] = {
  "blt_jax.method.perturb": (
    "perturb_images",
    "PerturbResult",
    "halving_widths",
  ),
  "blt_jax.method.confusion": (),
  "blt_jax.data.sampling": (
    "class_probabilities",
    "epoch_plan",
    "EpochPlan",
    "HallucinationPlan",
    "num_hallucinations",
    "capacity",
  ),
  "blt_jax.data.longtail": ("exponential_counts", "step_counts", "shot_groups"),
  "blt_jax.data.sources": ("load_digits_lt",),
  "blt_jax.method.metrics": ("shot_accuracies",),
  "blt_jax.method.losses": (),
  "blt_jax.models": ("create_model",),
  "blt_jax.models.classifiers": ("SquashingCosine",),
  "blt_jax.models.torch_weights": (
    "backbone_from_torchvision",
    "backbone_to_torchvision",
  ),
}

_HEAD = """\
# API

What other programs may call. Nothing here needs a configuration, a work
directory or TensorFlow. `from blt_jax import perturb_images, PerturbResult,
confusion, sampling` gives the heart of BLT. In a training loop of your own:
[Flax Linen](../examples/flax_linen.py), [Flax NNX](../examples/flax_nnx.py),
[plain JAX](../examples/plain_jax.py).

Written by `python docs/make_api.py` from the docstrings; the tests run their
examples.
"""
_SECTION = re.compile(
  r"^(Args|Attributes|Example|Raises|References?|Returns):$", re.MULTILINE
)
_ENTRY = re.compile(r"^([\w*]+(?:, \w+)*): ", re.MULTILINE)


def public_names(module: Any) -> tuple[str, ...]:
  """Names of a module on the page; its public functions where none is named."""
  return PUBLIC[module.__name__] or tuple(
    name
    for name, value in vars(module).items()
    if inspect.isfunction(value)
    and value.__module__ == module.__name__
    and not name.startswith("_")
  )


def make_page() -> str:
  """The whole page."""
  modules = [importlib.import_module(name) for name in PUBLIC]
  contents = [_contents(module) for module in modules]
  sections = [_section(module) for module in modules]
  return "\n".join([_HEAD, *contents, "", *sections])


def _contents(module: Any) -> str:
  links = [f"[{name}](#{name.lower()})" for name in public_names(module)]
  return f"- `{module.__name__}`: {', '.join(links)}"


def _section(module: Any) -> str:
  path = pathlib.Path(str(module.__file__)).relative_to(ROOT).as_posix()
  about = str(inspect.getdoc(module)).partition("\n")[0]
  parts = [f"## {module.__name__}\n", f"{about} [Source](../{path})\n"]
  for name in public_names(module):
    value = getattr(module, name)
    parts.append(_entry(f"### {name}", value))
    parts += [
      _entry(f"#### {name}.{method}", function)
      for method, function in _methods(value)
    ]
  return "\n".join(parts)


def _entry(title: str, value: Any) -> str:
  about = _markdown(str(inspect.getdoc(value)))
  return f"{title}\n\n```python\n{_signature(value)}\n```\n\n{about}"


def _methods(value: Any) -> list[tuple[str, Any]]:
  """Public methods that a class itself defines."""
  return [
    (name, member)
    for name, member in (vars(value) if inspect.isclass(value) else {}).items()
    if inspect.isfunction(member)
    and member.__qualname__ == f"{value.__qualname__}.{name}"
    and not name.startswith("_")
  ]


def _signature(value: Any) -> str:
  """How to call it, as its source has it; of a class its fields."""
  source = textwrap.dedent(inspect.getsource(value))
  (node,) = ast.parse(source).body
  if isinstance(node, ast.FunctionDef):
    header = source.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]
    return "\n".join(header).rstrip(":")
  assert isinstance(node, ast.ClassDef)
  fields = [
    f"  {ast.get_source_segment(source, each)},"
    for each in node.body
    if isinstance(each, ast.AnnAssign)
  ]
  return "\n".join([f"class {node.name}(", *fields, ")"])


def _markdown(docstring: str) -> str:
  """A docstring in Google's style as Markdown."""
  about, *rest = _SECTION.split(docstring)
  parts = [about.rstrip() + "\n"]
  for title, text in zip(rest[::2], rest[1::2], strict=True):
    body = textwrap.dedent(text.strip("\n")).rstrip()
    if title == "Example":
      body = f"```python\n{body}\n```"
    elif title in ("Args", "Attributes", "Raises"):
      body = _ENTRY.sub(r"- `\1`: ", body)
    parts.append(f"**{title}**\n\n{body}\n")
  return "\n".join(parts)


if __name__ == "__main__":
  sys.path.insert(0, str(ROOT))
  PAGE.write_text(make_page())
