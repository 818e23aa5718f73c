"""Describes every field, for --help and docs/configuration.md."""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator

from blt_jax.config.check import SCHEMA, Field, flatten
from blt_jax.config.schema import Config


def help_text(config: Config) -> str:
  """Every field as a flag with its value in a configuration."""
  values = flatten(config)
  lines = []
  for section, title, fields in sections():
    lines += ["", f"{section or 'whole run'}: {title}"]
    for each in fields:
      text = f"{each.help} Expected: {expected(each)}."
      lines.append(f"  --config.{each.name}={values[each.name]}")
      lines += textwrap.wrap(
        text, 80, initial_indent="    ", subsequent_indent="    "
      )
  return "\n".join(lines[1:])


def markdown() -> str:
  """A table for each section: field, default, what is expected, meaning."""
  parts = []
  for section, title, fields in sections():
    heading = f"## {section or 'The whole run'}"
    rows = [
      f"| `{each.name}` | {_default(each)} | {expected(each)} | {each.help} |"
      for each in fields
    ]
    head = ["| Field | Default | Expected | Meaning |", "|---|---|---|---|"]
    parts.append("\n".join([heading, "", title, "", *head, *rows]))
  return "\n\n".join(parts) + "\n"


def sections() -> Iterator[tuple[str, str, list[Field]]]:
  """(name, title, fields) of the configuration itself and its sections."""
  yield (
    "",
    "Seed, name of the method, and devices.",
    [each for name, each in SCHEMA.items() if "." not in name],
  )
  for section in dataclasses.fields(Config):
    prefix = f"{section.name}."
    fields = [each for n, each in SCHEMA.items() if n.startswith(prefix)]
    if fields:
      title = inspect.getdoc(type(section.default)) or ""
      yield section.name, title, fields


def expected(field: Field) -> str:
  """The values that a field may have, in words."""
  if field.left_open is None:
    return field.rule.allowed
  of_weights = field.name in ("model.pretrained", "model.train")
  page = "docs/pretrained.md" if of_weights else "docs/data.md"
  return f"{field.rule.allowed}; or {field.left_open!r}, see {page}"


def _default(field: Field) -> str:
  return "empty" if field.default in ("", ()) else f"`{field.default}`"
