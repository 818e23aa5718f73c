r"""Trains, evaluates, uses and exports networks: flags and dispatch.

python main.py --config=configs/digits_lt.py
python main.py --config=configs/cifar10_lt.py:method=neither,seed=1 \
        --config.stage2.epochs=10 --workdir=/data/run7
python main.py --mode=evaluate --workdir=runs/digits_lt
python main.py --mode=evaluate --workdir=runs/digits_lt --input=LABELLED \
        --output=results.csv
python main.py --mode=predict --workdir=runs/digits_lt --input=PHOTOS \
        --output=predictions.csv
python main.py --mode=export --workdir=runs/digits_lt --output=exported
python main.py --mode=report --workdirs=runs/a,runs/b --output=runs/report
python main.py --mode=check_data --config=configs/imagenet_lt.py
python main.py --mode=experiment --experiment=table4 --output=runs/paper
python main.py --mode=compare --config=configs/digits_lt.py \
        --methods=plain,sampling,neither,blt --seeds=0,1,2 --output=runs/compare

--config.SECTION.FIELD=VALUE sets a field of the configuration;
python main.py --config=configs/digits_lt.py --help
lists all fields with their values there.
"""

import os
import pathlib
import sys
from logging import Formatter
from typing import TYPE_CHECKING

from blt_jax.system import installed

try:
  from absl import app, flags, logging
  from ml_collections import config_flags

  from blt_jax.data import lazy_tensorflow
  from blt_jax.system import command_line, nameless_lines, path_flags
except ImportError as error:
  sys.exit(f"error: {installed.import_message(error)}")

if TYPE_CHECKING:
  from blt_jax.deploy.model import TrainedModel

# TensorFlow only reads images here: hide its messages about arithmetic.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

DATASETS = ("digits_lt", "cifar10_lt", "imagenet_lt", "places_lt")

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "configs/NAME.py, with :key=value,... for its variants."
)
_WORKDIR = path_flags.define(
  "workdir", None, "Directory of the run; runs/<config> by default."
)
_WORKDIRS = path_flags.define_list(
  "workdirs", "report: directories of runs to show side by side."
)
_OUTPUT = path_flags.define(
  "output",
  "",
  "predict, evaluate --input: CSV file. export: folder. check_data: CSV file "
  "of all findings. report: folder of report.html. experiment, compare: "
  "folder of the runs, tables and figures.",
)
_INPUT = path_flags.define(
  "input",
  "",
  "predict: an image file, or a folder of images. evaluate: a folder of class "
  "folders, or a table of labelled images, instead of the run's test images.",
  any_bytes=True,
)
_MODEL = path_flags.define(
  "model",
  "",
  "predict, export, evaluate --input: a directory that --mode=export wrote, "
  "not --workdir.",
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
flags.DEFINE_list(
  "posthoc_tau",
  [],
  "evaluate: values of model.posthoc_tau to try instead of the run's own. "
  "predict, export: the one to use.",
)
_CALIBRATE = flags.DEFINE_bool(
  "calibrate",
  True,
  "predict, export, evaluate --input: divide the logits by the temperature of "
  "the network, so that a probability of 0.9 is right nine times out of ten.",
)
flags.DEFINE_string(
  "min_confidence",
  None,
  "predict: the probability, 0 to 1, below which no class is given.",
)
_EXPERIMENT = flags.DEFINE_list(
  "experiment", [], "experiment: names, such as table4,fig1, or all."
)
_DATASET = flags.DEFINE_enum(
  "dataset", "digits_lt", DATASETS, "experiment: the data set."
)
_SEEDS = flags.DEFINE_list(
  "seeds", ["0"], "experiment, compare: seeds of each setting or method."
)
_METHODS = flags.DEFINE_list(
  "methods",
  [],
  "compare: methods and losses, such as plain,balanced_softmax,blt+alpha=10.",
)
_FOLDS = flags.DEFINE_integer(
  "folds", 0, "compare: test every image once, in so many runs of a method."
)
_SETTINGS = flags.DEFINE_list(
  "settings",
  [],
  "experiment: settings to run, by words in their names; all by default.",
)
_DRY_RUN = flags.DEFINE_bool(
  "dry_run",
  False,
  "experiment, compare: only print the runs and what they cost.",
)
_PROFILE = flags.DEFINE_integer(
  "profile",
  0,
  "train: trace so many steps of each stage for XProf and TensorBoard.",
  lower_bound=0,
)


def _train() -> int:
  """Trains, tests and reports; resumes a run that has begun."""
  _check_needed("config", "configs/NAME.py")
  from blt_jax.library import train
  from blt_jax.system import console, processes
  from blt_jax.system.interrupt import Interrupted

  processes.start()
  for line in command_line.without_effect():
    console.say(line)
  workdir = pathlib.Path(_WORKDIR.value or command_line.default_workdir())
  try:
    train(_CONFIG.value, workdir, profile_steps=_PROFILE.value)
  except Interrupted as interrupted:
    if processes.is_first():
      print(interrupted, file=sys.stderr)
    # The exit code of a process that the signal ended.
    return 128 + interrupted.signal
  return 0


def _evaluate() -> int:
  """Tests an epoch of a run again, or a network on other labelled images."""
  from blt_jax.system import compile_cache

  if _INPUT.value:
    root, columns = command_line.given_table(_INPUT.value)
    from blt_jax.data.sources import Columns
    from blt_jax.deploy.evaluate import evaluate
    from blt_jax.deploy.from_run import images_folder

    compile_cache.enable()
    tested = evaluate(
      _trained(),
      _INPUT.value,
      output=pathlib.Path(_OUTPUT.value) if _OUTPUT.value else None,
      root=root,
      columns=Columns(**columns),
      run_root=images_folder(pathlib.Path(_WORKDIR.value))
      if _WORKDIR.value
      else "",
    )
    return 1 if tested.problems else 0
  for flag in ("model", "output", "calibrate"):
    if flags.FLAGS[flag].present and flags.FLAGS[flag].value != "":
      raise ValueError(
        f"--input is missing; --mode=evaluate --{command_line.as_given(flag)} "
        "needs --input=FOLDER of class folders, or a table of labelled images."
      )
  _check_needed("workdir", "DIR of a training run")
  from blt_jax.training.evaluate import evaluate_run

  compile_cache.enable()
  evaluate_run(
    pathlib.Path(_WORKDIR.value or ""),
    checkpoint=_CHECKPOINT.value,
    posthoc_taus=command_line.numbers("posthoc_tau"),
    places=command_line.given_places(),
  )
  return 0


def _predict() -> int:
  """Classifies images; returns 1 if some could not be read."""
  _check_needed("input", "FILE_OR_FOLDER, the images to classify")
  _check_needed("output", "FILE.csv for the results")
  min_confidence = command_line.share("min_confidence")
  from blt_jax.deploy.predict import predict
  from blt_jax.system import compile_cache

  compile_cache.enable()
  problems = predict(
    _trained(),
    _INPUT.value,
    pathlib.Path(_OUTPUT.value),
    min_confidence=min_confidence,
  )
  return 1 if problems else 0


def _export() -> int:
  """Writes a network for other programs."""
  _check_needed("output", "DIR for what it writes")
  from blt_jax.deploy.export import export

  export(
    _trained(),
    pathlib.Path(_OUTPUT.value),
    names=_FORMAT.value,
    workdir=pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None,
  )
  return 0


def _report() -> int:
  """Writes the report of one or several runs."""
  from blt_jax.report.command import report

  report(_WORKDIR.value, _WORKDIRS.value, _OUTPUT.value)
  return 0


def _check_data() -> int:
  """Checks every image of a data set; returns 1 if something is wrong."""
  _check_needed("config", "configs/NAME.py")
  from blt_jax.training.check_data import check_data

  return check_data(_CONFIG.value, _OUTPUT.value)


def _experiment() -> int:
  """Trains and evaluates experiments of the paper."""
  _check_needed("output", "DIR for what it makes")
  from blt_jax.experiments.plan import seeds_of
  from blt_jax.experiments.run_experiments import run_experiments

  return run_experiments(
    _EXPERIMENT.value,
    _DATASET.value,
    seeds=seeds_of(_SEEDS.value),
    output=pathlib.Path(_OUTPUT.value),
    overrides=config_flags.get_override_values(flags.FLAGS["config"]),
    command=["python", *installed.program(), *sys.argv[1:]],
    only=_SETTINGS.value,
    dry_run=_DRY_RUN.value,
  )


def _compare() -> int:
  """Trains methods on a data set, and chooses one by validation."""
  _check_needed("config", "configs/NAME.py")
  _check_needed("output", "DIR for what it makes")
  from blt_jax.experiments.compare import compare
  from blt_jax.experiments.plan import seeds_of

  return compare(
    config_flags.get_config_filename(flags.FLAGS["config"]),
    _METHODS.value,
    seeds=seeds_of(_SEEDS.value),
    folds=_FOLDS.value,
    output=pathlib.Path(_OUTPUT.value),
    overrides=config_flags.get_override_values(flags.FLAGS["config"]),
    command=["python", *installed.program(), *sys.argv[1:]],
    dry_run=_DRY_RUN.value,
  )


def _check_needed(flag: str, value: str) -> None:
  """Refuses a command without a flag that its mode needs."""
  if not flags.FLAGS[flag].value:
    raise ValueError(
      f"--{flag} is missing; --mode={_MODE.value} needs --{flag}={value}."
    )


def _trained() -> "TrainedModel":
  """The network of --workdir or --model."""
  from blt_jax.deploy import command

  given = flags.FLAGS["checkpoint"].present
  return command.network(
    _MODE.value,
    workdir=_WORKDIR.value,
    model=_MODEL.value,
    checkpoint=_CHECKPOINT.value if given else None,
    posthoc_taus=command_line.numbers("posthoc_tau"),
    calibrate=_CALIBRATE.value,
    pretrained=command_line.given_weights(),
  )


MODES = {
  "train": _train,
  "evaluate": _evaluate,
  "predict": _predict,
  "export": _export,
  "report": _report,
  "check_data": _check_data,
  "experiment": _experiment,
  "compare": _compare,
}
_MODE = flags.DEFINE_enum("mode", "train", tuple(MODES), "What to do.")


def main(arguments: list[str]) -> int:
  """Dispatches to the mode; returns the exit code."""
  logging.set_verbosity(logging.WARNING)
  # Without it, the time, the thread and a line of code stand before a message.
  logging.get_absl_handler().setFormatter(Formatter("warning: %(message)s"))
  if len(arguments) > 1:
    raise ValueError(
      f"unexpected argument {arguments[1]!r}; expected --flag=value."
    )
  command_line.check_flags(_MODE.value)
  return MODES[_MODE.value]()


def _parse_flags(arguments: list[str]) -> list[str]:
  """Parses the flags; raises ValueError with a clear message.

  An experiment gets the --config of its data set, so that it understands
  --config.section.field=value.
  """
  if command_line.given(arguments, "mode") != "experiment":
    return command_line.parse(arguments)
  if command_line.given(arguments, "config") is not None:
    raise ValueError(
      "--config can't be given with --mode=experiment; expected --dataset=NAME "
      "and, for other fields, --config.section.field=value."
    )
  dataset = command_line.given(arguments, "dataset") or _DATASET.default
  if dataset in DATASETS:
    config = f"--config=configs/{dataset}.py"
    arguments = [arguments[0], config, *arguments[1:]]
  return command_line.parse(arguments)


def run() -> None:
  """Runs the command line; an error of the user ends it with one line."""
  command_line.print_any_text()
  # --help prints this.
  usage = str(__doc__).replace("python main.py", installed.command())
  sys.modules["__main__"].__doc__ = usage
  # absl knows the program as sys.argv[0], and the flags as this module's.
  for flag in flags.FLAGS.get_flags_for_module(__name__):
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  installed.provide_configs()
  lazy_tensorflow.before_import.append(nameless_lines.start)
  try:
    try:
      app.run(main, flags_parser=_parse_flags)
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
      sys.exit(f"error: {command_line.one_line(error)}")
    except KeyboardInterrupt:
      sys.exit("interrupted")
  except BaseException as error:
    if "jax" in sys.modules:  # Without it there is one process only.
      from blt_jax.system import processes

      if processes.count() > 1:
        processes.leave(error)
    raise
