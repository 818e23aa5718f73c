r"""Trains, evaluates, uses and exports networks: flags and dispatch.

python main.py --config=configs/digits_lt.py
python main.py --config=configs/cifar10_lt.py:method=neither,seed=1 \
        --config.stage2.epochs=10 --workdir=/data/run7
python main.py --mode=evaluate --workdir=runs/digits_lt
python main.py --mode=predict --workdir=runs/digits_lt --input=PHOTOS \
        --output=predictions.csv
python main.py --mode=export --workdir=runs/digits_lt --output=exported
python main.py --mode=report --workdirs=runs/a,runs/b --output=runs/report
python main.py --mode=check_data --config=configs/imagenet_lt.py
python main.py --mode=experiment --experiment=table4 --output=runs/paper
"""

import os
import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from blt_jax.system import installed

# TensorFlow only reads images here: it need not tell how it multiplies.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

MODES = (
  "train",
  "evaluate",
  "predict",
  "export",
  "report",
  "check_data",
  "experiment",
)
DATASETS = ("digits_lt", "cifar10_lt", "imagenet_lt", "places_lt")

# What parsers of values say, and what they mean.
_PLAIN_WORDS = (
  (r"invalid literal for int.*", "expected a whole number."),
  (r"could not convert string to float.*", "expected a number."),
  (r"\('Non-boolean argument.*", "expected true or false."),
  (r"Failed to parse .* as a ConfigDict.*", "expected one of its fields."),
  (r"Error while parsing string: .*", "expected values, such as '(1, 2)'."),
)

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "configs/NAME.py, with :key=value,... for its variants."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Directory of the run; runs/<config> by default."
)
_WORKDIRS = flags.DEFINE_list(
  "workdirs", [], "report: directories of runs to show side by side."
)
_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "predict: CSV file. export: folder. check_data: CSV file for all findings. "
  "report: folder of report.html. experiment: folder of the runs, tables and "
  "figures.",
)
_INPUT = flags.DEFINE_string(
  "input", "", "predict: an image file, or a folder of images."
)
_MODEL = flags.DEFINE_string(
  "model",
  "",
  "predict, export: a directory that --mode=export wrote, not --workdir.",
)
_FORMAT = flags.DEFINE_list(
  "format",
  ["safetensors", "jax"],
  "export: some of safetensors,jax,savedmodel,onnx.",
)
_CHECKPOINT = flags.DEFINE_enum(
  "checkpoint",
  "best",
  ("best", "last"),
  "evaluate, predict, export: which epoch of --workdir.",
)
_POSTHOC_TAU = flags.DEFINE_list(
  "posthoc_tau",
  [],
  "evaluate: values of model.posthoc_tau to try instead of the run's own. "
  "predict, export: the one to use.",
)
_EXPERIMENT = flags.DEFINE_list(
  "experiment", [], "experiment: names, such as table4,fig1, or all."
)
_DATASET = flags.DEFINE_enum(
  "dataset", "digits_lt", DATASETS, "experiment: the data set."
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "experiment: seeds of each setting.")
_SETTINGS = flags.DEFINE_list(
  "settings", [], "experiment: only settings with one of these words, or all."
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "experiment: print the runs and what they cost instead."
)


def main(arguments: list[str]) -> int:
  """Dispatches to the mode; returns the exit code."""
  logging.set_verbosity(logging.WARNING)
  if len(arguments) > 1:
    raise ValueError(
      f"unexpected argument {arguments[1]!r}; expected --flag=value."
    )
  if _MODE.value == "evaluate":
    if not _WORKDIR.value:
      raise ValueError("--mode=evaluate needs --workdir=DIR of a training run.")
    from blt_jax.system import compile_cache
    from blt_jax.training.train import evaluate_run

    compile_cache.enable()
    evaluate_run(
      pathlib.Path(_WORKDIR.value),
      checkpoint=_CHECKPOINT.value,
      posthoc_taus=_posthoc_taus(),
    )
    return 0
  if _MODE.value == "predict":
    return _predict()
  if _MODE.value == "export":
    return _export()
  if _MODE.value == "report":
    from blt_jax.report.command import report

    report(_WORKDIR.value, _WORKDIRS.value, _OUTPUT.value)
    return 0
  if _MODE.value == "experiment":
    return _experiment()
  if _CONFIG.value is None:
    raise ValueError("--config=configs/NAME.py is missing.")
  if _MODE.value == "check_data":
    from blt_jax.training.check_data import check_data

    return check_data(_CONFIG.value, _OUTPUT.value)
  from blt_jax.system import compile_cache, processes
  from blt_jax.system.interrupt import Interrupted
  from blt_jax.training.train import train

  processes.start()
  compile_cache.enable()
  try:
    train(_CONFIG.value, pathlib.Path(_WORKDIR.value or _default_workdir()))
  except Interrupted as interrupted:
    if processes.is_first():
      print(interrupted, file=sys.stderr)
    return 128 + interrupted.signal  # As if the signal had ended us.
  return 0


def _predict() -> int:
  """Classifies images; returns 1 if some could not be read."""
  if not _INPUT.value:
    raise ValueError(
      "--mode=predict needs --input=FILE_OR_FOLDER, the images to classify."
    )
  if not _OUTPUT.value:
    raise ValueError("--mode=predict needs --output=FILE.csv for its results.")
  from blt_jax.deploy.predict import predict
  from blt_jax.system import compile_cache

  compile_cache.enable()
  output = pathlib.Path(_OUTPUT.value)
  return 1 if predict(_trained(), _INPUT.value, output) else 0


def _export() -> int:
  """Writes a network for other programs; returns the exit code."""
  if not _OUTPUT.value:
    raise ValueError("--mode=export needs --output=DIR for what it writes.")
  from blt_jax.deploy.export import export

  export(
    _trained(),
    pathlib.Path(_OUTPUT.value),
    names=_FORMAT.value,
    workdir=pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None,
  )
  return 0


def _trained():
  """The network that --workdir or --model stands for."""
  workdir, model = _WORKDIR.value, _MODEL.value
  if bool(workdir) == bool(model):
    raise ValueError(
      f"--mode={_MODE.value} needs one of --workdir=DIR of a run and "
      "--model=DIR of an export."
    )
  taus = _posthoc_taus()
  if len(taus) > 1 or (taus and model):
    raise ValueError(
      f"--posthoc_tau={','.join(_POSTHOC_TAU.value)}: expected one value for "
      f"--mode={_MODE.value}, and the --workdir of a run."
    )
  if model:
    if flags.FLAGS["checkpoint"].present:
      raise ValueError(
        f"--checkpoint={_CHECKPOINT.value}: an export, --model={model}, holds "
        "one checkpoint; choose of a run's by --workdir."
      )
    from blt_jax.deploy.formats import safetensors_file

    return safetensors_file.read(pathlib.Path(model))
  from blt_jax.deploy import model as trained

  return trained.from_workdir(
    pathlib.Path(workdir or ""),
    checkpoint=_CHECKPOINT.value,
    posthoc_tau=taus[0] if taus else None,
  )


def _posthoc_taus() -> list[float]:
  """The numbers of --posthoc_tau."""
  try:
    return [float(text) for text in _POSTHOC_TAU.value]
  except ValueError:
    raise ValueError(
      f"--posthoc_tau={','.join(_POSTHOC_TAU.value)}: expected numbers."
    ) from None


def _experiment() -> int:
  """Experiments of the paper; returns the exit code."""
  if not _OUTPUT.value:
    raise ValueError("--mode=experiment needs --output=DIR for what it makes.")
  if not all(seed.isdecimal() for seed in _SEEDS.value):
    raise ValueError(
      f"--seeds={','.join(_SEEDS.value)}: expected whole numbers from 0."
    )
  from blt_jax.experiments.command import experiment

  return experiment(
    _EXPERIMENT.value,
    _DATASET.value,
    seeds=[int(seed) for seed in _SEEDS.value],
    output=pathlib.Path(_OUTPUT.value),
    overrides=config_flags.get_override_values(flags.FLAGS["config"]),
    command=["python", *installed.program(), *sys.argv[1:]],
    only=_SETTINGS.value,
    dry_run=_DRY_RUN.value,
  )


def _default_workdir() -> str:
  """runs/<config>, with the variant in the name: runs/digits_lt,seed=1."""
  path, _, variant = config_flags.get_config_filename(
    flags.FLAGS["config"]
  ).partition(":")
  name = pathlib.Path(path).stem + (f",{variant}" if variant else "")
  return f"runs/{re.sub(r'[^A-Za-z0-9_=,.-]', '_', name)}"


def _parse_flags(arguments: list[str]) -> list[str]:
  """Parses the flags; what is wrong with them becomes a ValueError."""
  arguments = [_found_config(a) for a in _with_config(arguments)]
  for argument in arguments:
    path = re.fullmatch(r"--?config=([^:]*).*", argument)
    if path and not os.path.isfile(path[1]):
      raise ValueError(
        f"--config={path[1]}: there is no such file; expected configs/NAME.py."
      )
  try:
    return flags.FLAGS(arguments)
  except Exception as error:  # A configuration is a program.
    raise ValueError(_flag_error(error, arguments)) from None


def _flag_error(error: Exception, arguments: list[str]) -> str:
  """What is wrong with the flags, or with the file that --config names."""
  text = _one_line(error)
  if isinstance(error, flags.UnrecognizedFlagError):
    return f"{text} {_command()} --help lists them."
  if isinstance(error, flags.Error):
    return _in_plain_words(text)
  unknown = re.search(r"'(\w+)", text)
  if unknown and isinstance(error, LookupError | AttributeError):
    for argument in arguments:
      flag = argument.partition("=")[0]
      if re.match(r"--?(no)?config\.", flag) and unknown[1] in flag.split("."):
        hint = re.search(r"Did you mean .*\?", text)
        return f"{flag}: there is no such field. {hint[0] if hint else ''}"
  config = _given(arguments, "config")
  if isinstance(error, AttributeError) and "'get_config'" in text:
    return f"--config={config} has no get_config; expected what configs/ have."
  if isinstance(error, ValueError):
    return f"--config={config}: {text}"
  return f"--config={config}: {type(error).__name__}: {text}"


def _found_config(argument: str) -> str:
  """--config=configs/NAME.py with the installed file where there is no such."""
  given = re.fullmatch(r"(--?config=)(configs/\w+\.py)(.*)", argument)
  if not given:
    return argument
  return f"{given[1]}{installed.config_file(given[2])}{given[3]}"


def _command() -> str:
  """How a user calls this program."""
  return "blt-jax" if installed.is_installed() else "python main.py"


def _with_config(arguments: list[str]) -> list[str]:
  """Adds the --config that the data set of an experiment stands for.

  With it --config.section.field=value is understood.
  """
  if _given(arguments, "mode") != "experiment":
    return arguments
  if _given(arguments, "config") is not None:
    raise ValueError(
      "--config can't be given with --mode=experiment; expected --dataset=NAME "
      "and, for other fields, --config.section.field=value."
    )
  dataset = _given(arguments, "dataset") or _DATASET.default
  if dataset not in DATASETS:
    return arguments
  return [arguments[0], f"--config=configs/{dataset}.py", *arguments[1:]]


def _given(arguments: list[str], name: str) -> str | None:
  """The value of --name=value or --name value, None without the flag."""
  for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
    found = re.fullmatch(rf"--?{name}(?:=(.*))?", argument)
    if found:
      return following if found[1] is None else found[1]
  return None


def _one_line(error: Exception) -> str:
  """The message without the traceback that config_flags puts into it."""
  text = str(error.args[0]) if error.args else str(error)
  *_, message = re.split(r"Traceback.*\n\w+Error: ", text, flags=re.DOTALL)
  return " ".join(message.split())


def _in_plain_words(text: str) -> str:
  """Says what a flag may be where Python's message only says what it is not."""
  for theirs, ours in _PLAIN_WORDS:
    text = re.sub(theirs, ours, text)
  return text


def _message(error: Exception) -> str:
  """The message; of an error of the system without its number."""
  if isinstance(error, OSError) and error.strerror and error.filename:
    return f"{os.fsdecode(error.filename)}: {error.strerror}."
  return str(error)


def run() -> None:
  """The command line: what users get wrong ends with one clear line."""
  # What --help shows.
  usage = str(__doc__).replace("python main.py", _command())
  sys.modules["__main__"].__doc__ = usage
  # absl knows the program as sys.argv[0], and the flags as this module's.
  for flag in flags.FLAGS.get_flags_for_module(__name__):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  installed.provide_configs()
  try:
    try:
      app.run(main, flags_parser=_parse_flags)
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
      sys.exit(f"error: {' '.join(_message(error).split())}")
    except KeyboardInterrupt:
      sys.exit("interrupted")
  except BaseException as error:
    from blt_jax.system import processes

    if processes.count() > 1:
      processes.leave(error)
    raise
