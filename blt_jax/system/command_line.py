"""Parses a command line whose --config is a program, with clear messages.

absl and ml_collections describe a wrong flag in their own words, with a
traceback if the configuration's file raises. So this module first checks fields
of the configuration against the schema, and turns any other error into a line.
"""

import os
import re
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections.config_flags import tuple_parser

from blt_jax.config import (
  SCHEMA,
  check_config,
  describe,
  unknown_field,
)
from blt_jax.config.rules import home_expanded
from blt_jax.system import installed

# Parsers by the type of a field; a field of several values is a tuple.
_PARSERS: dict[type, flags.ArgumentParser] = {
  bool: flags.BooleanParser(),
  int: flags.IntegerParser(),
  float: flags.FloatParser(),
  str: flags.ArgumentParser(),
  tuple: tuple_parser.TupleParser(),
}


def parse(arguments: Sequence[str]) -> list[str]:
  """Parses the flags; raises ValueError with a clear message."""
  arguments = [_found_config(each) for each in arguments]
  config = given(arguments, "config")
  if config is not None:
    path = config.partition(":")[0]
    if not os.path.isfile(path):
      raise ValueError(
        f"--config={path}: there is no such file; expected configs/NAME.py."
      )
    _check_fields(arguments, path)
  helps = {"-h", "-help", "--help"} & set(arguments)
  if config is not None:
    arguments = [a for a in arguments if a not in helps]
  try:
    rest = flags.FLAGS(arguments)
  except Exception as error:  # A configuration is a program.
    if config is None and not isinstance(error, flags.Error):
      raise
    raise ValueError(_flag_error(error, config)) from None
  if helps:
    _print_fields(config)
    sys.exit()
  return rest


def _print_fields(config: str | None) -> None:
  """Prints the fields of a configuration with their values."""
  print(f"Fields of --config={config}:\n")
  print(describe.help_text(check_config(flags.FLAGS.config)))


def _check_fields(arguments: Sequence[str], config: str) -> None:
  """Checks the names of --config.SECTION.FIELD and the types of their values.

  Raises:
    ValueError: names the flag.
  """
  for argument, following in _pairs(arguments):
    field = re.fullmatch(r"--?(?:no)?config\.([\w.]+)(?:=(.*))?", argument)
    if not field:
      continue
    name, value = field.groups()
    if name not in SCHEMA:
      raise ValueError(f"--{unknown_field(name)}")
    parser = _PARSERS.get(SCHEMA[name].kind, _PARSERS[tuple])
    value = following if value is None else value
    if name == "method":  # Alone, it would rename the run and train the same.
      raise ValueError(
        f"--config.method is {value!r}, which sets no field of that method; "
        f"expected --config={config}:method={value}."
      )
    if SCHEMA[name].kind is bool and "=" not in argument:
      continue
    try:
      parser.parse(value)
    except (TypeError, ValueError):
      raise ValueError(
        f"--config.{name} is {value!r}; expected {SCHEMA[name].rule.allowed}."
      ) from None


def _flag_error(error: Exception, config: str | None) -> str:
  """The message for wrong flags, or for a wrong file of --config."""
  if isinstance(error, flags.UnrecognizedFlagError):
    return f"{one_line(error)}; {installed.command()} --help lists all flags."
  if isinstance(error, flags.Error):
    # absl raises while it handles the parser's error, and the parser raises
    # while it handles what get_config raised.
    parsing = error.__context__
    error_of_config = parsing and parsing.__context__
    if not isinstance(error_of_config, Exception):
      return one_line(error)
    error = error_of_config
  if isinstance(error, ValueError):
    return f"--config={config}: {one_line(error)}"
  return (
    f"--config={config}: {type(error).__name__}: {one_line(error)}; expected "
    "a Python file with a function get_config, as configs/ have."
  )


def _found_config(argument: str) -> str:
  """Expands ~; names the installed file if --config=configs/NAME.py is none."""
  home = re.fullmatch(r"(--?config=)(~.*)", argument, re.DOTALL)
  if home:
    return home[1] + home_expanded(home[2])
  parts = re.fullmatch(r"(--?config=)(configs/\w+\.py)(.*)", argument)
  if not parts:
    return argument
  return f"{parts[1]}{installed.config_file(parts[2])}{parts[3]}"


def given(arguments: Sequence[str], name: str) -> str | None:
  """The value of --name=value or --name value, None without the flag."""
  for argument, following in _pairs(arguments):
    found = re.fullmatch(rf"--?{name}(?:=(.*))?", argument)
    if found:
      return following if found[1] is None else found[1]
  return None


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
  """Each argument with the one that follows it."""
  return list(zip(arguments, [*arguments[1:], ""], strict=True))


def one_line(error: BaseException) -> str:
  """The message of an error on one line; without the number of an OSError."""
  text = str(error) or type(error).__name__
  if isinstance(error, ImportError):
    text = installed.import_message(error)
  elif isinstance(error, OSError) and error.strerror and error.filename:
    text = f"{os.fsdecode(error.filename)}: {error.strerror}."
  return " ".join(text.split())
