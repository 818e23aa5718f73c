"""Parses a command line whose --config is a program, with clear messages.

absl and ml_collections describe a wrong flag in their own words, with a
traceback if the configuration's file raises. So this module first checks fields
of the configuration against the schema, and turns any other error into a line.
"""

import io
import math
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from blt_jax.config import (
  PLACES,
  SCHEMA,
  check_config,
  check_used,
  describe,
  unknown_field,
)
from blt_jax.config.rules import home_expanded
from blt_jax.config.short_names import SHORT_NAMES
from blt_jax.config.unused import unused
from blt_jax.system import installed, path_flags

# Parsers by the type of a field; a field of several values is a tuple.
_PARSERS: dict[type, flags.ArgumentParser] = {
  bool: flags.BooleanParser(),
  int: flags.IntegerParser(),
  float: flags.FloatParser(),
  str: flags.ArgumentParser(),
  tuple: tuple_parser.TupleParser(),
}


# Mode -> the flags that it uses. An experiment takes the --config of its
# --dataset, and only fields of it are given.
USED_FLAGS: dict[str, tuple[str, ...]] = {
  "train": ("config", "workdir", "profile"),
  "evaluate": (
    *("workdir", "model", "input", "output", "checkpoint", "posthoc_tau"),
    "calibrate",
  ),
  "predict": (
    *("workdir", "model", "input", "output", "checkpoint", "posthoc_tau"),
    *("calibrate", "min_confidence"),
  ),
  "export": (
    *("workdir", "model", "output", "format", "checkpoint", "posthoc_tau"),
    "calibrate",
  ),
  "report": ("workdir", "workdirs", "output"),
  "check_data": ("config", "output"),
  "experiment": (
    *("experiment", "dataset", "seeds", "settings", "output", "dry_run"),
  ),
  "compare": ("config", "methods", "seeds", "folds", "output", "dry_run"),
}

# Fields that evaluate takes beside the run's own.
_EVALUATED = (*PLACES, "dataset.prior", "dataset.five_crop")
# Where weights are that a run left as they were, in part.
_WEIGHTS = "model.pretrained"
# Modes without --config -> fields that they take.
_TAKEN: dict[str, tuple[str, ...]] = {
  "evaluate": _EVALUATED,
  "predict": (_WEIGHTS,),
  "export": (_WEIGHTS,),
}
# Fields that evaluate --input takes for a table: the names of its columns.
_COLUMNS = tuple(f"dataset.{n}" for n in ("path", "label", "split", "group"))

_FIELD = re.compile(r"--?(?:no)?config\.([\w.]+)(?:=(.*))?", re.DOTALL)


def check_flags(mode: str) -> None:
  """Refuses what a mode would ignore: flags, and fields of --config.

  Raises:
    ValueError: names the flag or field, and what uses it.
  """
  for name in dict.fromkeys(n for used in USED_FLAGS.values() for n in used):
    if (mode, name) == ("experiment", "config"):
      continue
    if flags.FLAGS[name].present and name not in USED_FLAGS[mode]:
      raise ValueError(
        f"--{as_given(name)} is not used by --mode={mode}; expected it only "
        f"with --mode={_modes_of(name)}.{_HINTS.get((mode, name), '')}"
      )
  if flags.FLAGS["config"].present:
    config = check_config(flags.FLAGS["config"].value)
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    # What the file sets is for the file's source, not for another one.
    is_other = "dataset.source" in overrides
    check_used(config, overrides if is_other else SCHEMA)
    dataset = config.dataset
    if "dataset.imbalance" in overrides and dataset.profile == "natural":
      raise ValueError(
        f"config.dataset.imbalance is {dataset.imbalance:g}; expected none "
        "with config.dataset.profile natural, which does not use it: it is for "
        "exponential and step."
      )


def without_effect() -> list[str]:
  """A line about each field of --config that is given and has no effect."""
  holder = flags.FLAGS["config"]
  _, _, variant = config_flags.get_config_filename(holder).partition(":")
  given = list(config_flags.get_override_values(holder))
  short = {**SHORT_NAMES, "confidence": ("perturb.confidence",)}
  for pair in variant.split(","):
    given += short.get(pair.partition("=")[0], ())
  return unused(check_config(holder.value), given)


_HINTS = {
  ("evaluate", "config"): (
    " The work directory holds the run's configuration; "
    "--config.dataset.root=NEW alone says where its images are now."
  ),
}


def _modes_of(flag: str) -> str:
  """The modes that use a flag, in words."""
  return ", ".join(mode for mode, used in USED_FLAGS.items() if flag in used)


def as_given(flag: str) -> str:
  """How a flag is given: a switch that is off as noNAME."""
  return f"no{flag}" if flags.FLAGS[flag].value is False else flag


def numbers(flag: str) -> list[float]:
  """The numbers of a flag that lists some.

  Raises:
    ValueError: names the flag.
  """
  texts = flags.FLAGS[flag].value or []
  try:
    return [float(text) for text in texts]
  except ValueError:
    raise ValueError(f"--{flag}={','.join(texts)}: expected numbers.") from None


def share(flag: str) -> float | None:
  """The number of a flag that takes 0 to 1, None where it is not given.

  Raises:
    ValueError: names the flag.
  """
  text = flags.FLAGS[flag].value
  if text is None:
    return None
  try:
    value = float(text)
  except ValueError:
    value = math.nan
  if not 0 <= value <= 1:
    raise ValueError(f"--{flag}={text}: expected a number from 0 to 1.")
  return value


def given_places() -> dict[str, Any]:
  """{field: value} of what evaluate takes on a command without --config."""
  return _given_fields(_EVALUATED)


def given_weights() -> str | None:
  """`model.pretrained` on a command without --config, None if not given."""
  return _given_fields([_WEIGHTS]).get(_WEIGHTS)


def given_table(source: str) -> tuple[str, dict[str, str]]:
  """What a command without --config says about the table of --input.

  Args:
    source: the table, or a folder, about which nothing may be said.

  Returns:
    (folder of the images or "", {"path", "label", ...: name of the column}).

  Raises:
    ValueError: names a field that is not for --input.
  """
  places, columns = given_places(), _given_fields(_COLUMNS)
  places.pop(_WEIGHTS, None)  # It is for the network.
  root = "" if os.path.isdir(source) else places.pop("dataset.root", "")
  unused = [*places, *(columns if os.path.isdir(source) else ())]
  if unused:
    raise ValueError(
      f"--config.{unused[0]} is not used with --input={source}; expected at "
      "most, with a table, --config.dataset.root, the folder of its images, "
      f"and the names of its columns: {_flags_of(_COLUMNS)}."
    )
  return root, {n.removeprefix("dataset."): v for n, v in columns.items()}


def _given_fields(names: Sequence[str]) -> dict[str, Any]:
  """{field: value} of some fields on a command without --config."""
  values = {
    name: flags.FLAGS[f"config.{name}"].value
    for name in names
    if f"config.{name}" in flags.FLAGS
  }
  return {name: v for name, v in values.items() if v is not None}


def _flags_of(fields: Sequence[str]) -> str:
  return ", ".join(f"--config.{name}" for name in fields)


def _define_places(arguments: Sequence[str]) -> None:
  """Defines flags for the fields of a command that has no --config.

  Raises:
    ValueError: names a field that its mode does not use.
  """
  mode = given(arguments, "mode") or "train"
  for argument in arguments:
    field = _FIELD.fullmatch(argument)
    if not field or mode not in USED_FLAGS or mode == "experiment":
      continue
    name = field[1]
    if name not in SCHEMA:
      raise ValueError(f"--{unknown_field(name)}")
    if "config" in USED_FLAGS[mode]:
      raise ValueError(
        f"--config is missing; --config.{name} needs --config=configs/NAME.py."
      )
    is_taken = name in _TAKEN.get(mode, ())
    if mode != "evaluate" and not is_taken:
      others = [m for m, taken in _TAKEN.items() if name in taken]
      if name in _COLUMNS:
        others = ["evaluate"]
      raise ValueError(
        f"--config.{name} is not used by --mode={mode}; expected it only with "
        f"--mode={', '.join([_modes_of('config'), 'experiment', *others])}."
      )
    is_column = name in _COLUMNS and bool(given(arguments, "input"))
    if not is_taken and not is_column:
      raise ValueError(
        f"--config.{name} is not used by --mode=evaluate, which takes the "
        "run's own; expected only where its images and weights are now, how "
        "frequent its classes are in use, and by which crops of an image to "
        "evaluate: "
        f"{_flags_of(_EVALUATED)}; with --input=TABLE also the names of its "
        "columns: "
        f"{_flags_of(_COLUMNS)}."
      )
    if f"config.{name}" in flags.FLAGS:
      continue
    if SCHEMA[name].kind is bool:
      flags.DEFINE_bool(f"config.{name}", None, SCHEMA[name].help)
    elif is_column:
      flags.DEFINE_string(f"config.{name}", None, SCHEMA[name].help)
    else:
      path_flags.define(
        f"config.{name}", None, SCHEMA[name].help, any_bytes=True
      )


def print_any_text() -> None:
  r"""Prints what a terminal can't show, such as \u4e2d, as it is written here.

  Without this, a class name can end a run on a terminal that is not UTF-8.
  """
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="backslashreplace")


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
  else:
    _define_places(arguments)
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
    field = _FIELD.fullmatch(argument)
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


def default_workdir() -> str:
  """runs/<config>, with the variant in the name: runs/digits_lt,seed=1."""
  path, _, variant = config_flags.get_config_filename(
    flags.FLAGS["config"]
  ).partition(":")
  name = pathlib.Path(path).stem + (f",{variant}" if variant else "")
  return f"runs/{re.sub(r'[^A-Za-z0-9_=,.-]', '_', name)}"


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
