"""Several processes on one machine: the same result, and nobody waits."""

import csv
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from blt_jax.system import processes
from blt_jax.workdir import records
from tests import command_line, program_cache
from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Rates so small that rounding errors stay rounding errors, and few slots: the
# ascent of up to three a device is compiled for one width.
SMALL = (
  "--config=configs/digits_lt.py:batch=64,seed=3,p=0.1",
  "--config.dataset.image_size=8",
  "--config.dataset.resize_size=8",
  "--config.stage1.epochs=1",
  "--config.stage2.epochs=2",
  "--config.stage1.backbone_rate=1e-4",
  "--config.stage1.classifier_rate=1e-4",
  "--config.stage2.backbone_rate=1e-4",
  "--config.stage2.classifier_rate=1e-4",
)
EXACT = ("stage", "epoch", "step", "hallucinated", "overflow", "replaced")


def _start(number, port, *command, count=2, devices=2):
  """One of `count` processes with its part of the emulated devices."""
  # How fast the programs are plays no part here, nor does the network: compile
  # them quickly.
  flags = (
    f"--xla_force_host_platform_device_count={devices // count} "
    + program_cache.FLAGS
  )
  environment = {
    **os.environ,
    "XLA_FLAGS": flags,
    "PYTHONPATH": command_line.ONE_BLOCK,
  }
  if count > 1:
    environment |= {
      processes.COORDINATOR: f"127.0.0.1:{port}",
      processes.COUNT: str(count),
      processes.INDEX: str(number),
    }
  return subprocess.Popen(
    [sys.executable, *command],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _start_all(*arguments, command=("main.py",), count=2, devices=2):
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  return [
    _start(number, port, *command, *arguments, count=count, devices=devices)
    for number in range(count)
  ]


def _finish(*arguments, count=2, devices=2):
  """Outputs of the processes, each of which has to succeed."""
  outputs = []
  for process in _start_all(*arguments, count=count, devices=devices):
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    outputs.append(output)
  return outputs


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """(work directory, outputs) of a run by two processes."""
  # Orbax takes brackets in a path for a pattern.
  workdir = tmp_path_factory.mktemp("processes") / "two [2] *"
  return workdir, _finish(*SMALL, f"--workdir={workdir}")


@pytest.fixture(scope="module")
def one(command_lines, tmp_path_factory):
  """Work directory of one process with as many devices."""
  workdir = tmp_path_factory.mktemp("processes") / "one"
  arguments = [*SMALL, "--config.num_devices=2", f"--workdir={workdir}"]
  finished = command_lines.run(arguments, ROOT, seconds=400, one_block=True)
  assert finished.code == 0, finished.stderr
  return workdir


def _wait_for(path):
  for _ in range(3000):
    if path.exists():
      return
    time.sleep(0.1)
  raise AssertionError(f"{path} did not come")


def _rows(workdir):
  with (workdir / "metrics.csv").open() as file:
    return list(csv.DictReader(file))


def _params(workdir):
  folder = workdir / "checkpoints"
  last = max(int(path.name) for path in folder.iterdir())
  with ocp.CheckpointManager(folder, item_names=("state", "progress")) as one:
    args = ocp.args.Composite(state=ocp.args.StandardRestore())
    return one.restore(last, args=args)["state"]["params"]


def _assert_same_training(workdir, expected):
  rows, wanted = _rows(workdir), _rows(expected)
  assert [[row[name] for name in EXACT] for row in rows] == [
    [row[name] for name in EXACT] for row in wanted
  ]
  for row, other in zip(rows, wanted, strict=True):
    assert float(row["loss"]) == pytest.approx(float(other["loss"]), rel=1e-4)
  mine, theirs = _params(workdir), _params(expected)
  for name in ("backbone", "hidden", "classifier"):
    _assert_close(mine[name], theirs[name])


def _assert_close(mine, theirs):
  if isinstance(mine, dict):
    assert mine.keys() == theirs.keys()
    for key in mine:
      _assert_close(mine[key], theirs[key])
  else:
    np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)


def test_two_processes_train_what_one_trains(two, one):
  _assert_same_training(two[0], one)
  assert int(_rows(one)[-1]["hallucinated"]) > 0


def test_two_processes_predict_what_one_predicts(two, one):
  for split, images in (("validation", 200), ("test", 340)):
    found, expected = (
      records.read_predictions(workdir, f"{split}-best")
      for workdir in (two[0], one)
    )
    assert found.row.tolist() == list(range(images))
    np.testing.assert_array_equal(found.label, expected.label)
    # Rounding may decide between classes that are equally likely.
    assert np.mean(found.prediction == expected.prediction) > 0.98
    for name in ("log_likelihood", "calibrated_log_likelihood"):
      np.testing.assert_allclose(
        getattr(found, name), getattr(expected, name), rtol=1e-2, atol=1e-3
      )
  assert (two[0] / "classes.csv").exists()


def test_the_first_process_alone_talks_and_writes(two):
  workdir, (first, second) = two
  assert "2 x cpu" in first
  assert "last epoch (2) test" in first
  # What the library of the collectives says on standard output.
  assert [line for line in second.splitlines() if "[Gloo]" not in line] == []
  assert (workdir / "results.json").exists()
  assert (workdir / "perturbed.npz").exists()
  assert len(list((workdir / "confusion").glob("*.npz"))) == 5
  assert not list(workdir.rglob("*.tmp*"))


# Adds numbers of all processes, again and again.
_COMPUTES = """
from blt_jax.system import processes
from blt_jax.workdir import records
processes.start()
try:
  while True:
    print(processes.total(1), flush=True)
except BaseException as error:
  processes.leave(error)
"""


def _assert_ends_without(killed, started):
  """Kills one of two processes; the other has to notice."""
  started[killed].send_signal(signal.SIGKILL)
  start = time.monotonic()
  _, errors = started[1 - killed].communicate(timeout=100)
  assert time.monotonic() - start < 60
  assert started[1 - killed].returncode != 0
  assert "lost the others" in errors or "another task died" in errors
  started[killed].communicate()


@pytest.mark.parametrize("killed", [0, 1])
def test_one_process_killed_ends_the_other(killed):
  started = _start_all(command=("-c", _COMPUTES))
  for process in started:
    assert "2\n" in process.stdout
  _assert_ends_without(killed, started)


@long_test("half a minute each")
@pytest.mark.parametrize("killed", [0, 1])
def test_one_process_killed_ends_the_others_training(tmp_path, killed):
  workdir = tmp_path / "run"
  started = _start_all(*SMALL, f"--workdir={workdir}")
  _wait_for(workdir / "metrics.csv")
  _assert_ends_without(killed, started)
  assert not (workdir / "results.json").exists()


@pytest.mark.parametrize(
  "error, lost",
  [
    (jax.errors.JaxRuntimeError("INTERNAL: no such peer"), True),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GB"), False),
    (SystemExit("error: UNKNOWN: Gloo all-reduce failed: closed"), True),
    (SystemExit("error: config.seed is -1"), False),
    (RuntimeError("a defect"), False),
  ],
)
def test_a_collective_that_fails_is_told_as_lost(
  monkeypatch, capsys, error, lost
):
  monkeypatch.setattr(os, "_exit", lambda code: None)
  processes.leave(error)
  told = capsys.readouterr().err
  assert ("lost the others" in told) == lost
  text = str(error.code if isinstance(error, SystemExit) else error)
  assert text in told


@long_test("four processes compile for two minutes")
def test_signal_to_one_of_four_stops_all_and_one_goes_on(tmp_path, one):
  workdir = tmp_path / "run"
  started = _start_all(*SMALL, f"--workdir={workdir}", count=4, devices=4)
  _wait_for(workdir / "metrics.csv")
  started[2].send_signal(signal.SIGTERM)
  start = time.monotonic()
  ends = [process.communicate(timeout=100) for process in started]
  assert time.monotonic() - start < 60
  assert [process.returncode for process in started] == [143] * 4, ends
  assert "stopped by SIGTERM in stage 2 epoch" in ends[0][1]
  assert len(list((workdir / "midway").iterdir())) == 1
  _finish(*SMALL, f"--workdir={workdir}", count=1, devices=4)
  _assert_same_training(workdir, one)


@long_test("another three compilations")
def test_two_processes_go_on_with_what_one_began(tmp_path, one):
  workdir = tmp_path / "run"
  (alone,) = _start_all(*SMALL, f"--workdir={workdir}", count=1)
  _wait_for(workdir / "metrics.csv")
  alone.send_signal(signal.SIGINT)
  _, errors = alone.communicate(timeout=100)
  assert alone.returncode == 130, errors
  outputs = _finish(*SMALL, f"--workdir={workdir}")
  assert "continuing" in outputs[0]
  _assert_same_training(workdir, one)


def test_processes_of_different_configurations_do_not_wait(two):
  wrong = (*SMALL, "--config.seed=5", f"--workdir={two[0]}")
  for process in _start_all(*wrong):
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "seed (3 there, 5 here)" in errors
    assert "Traceback" not in errors


# A run of noise that is of another kind in each process.
_HANDS_IN = """
import sys
import numpy as np
import blt_jax
from blt_jax.system import processes
processes.start()
rng = np.random.default_rng(processes.index())
images = rng.integers(0, 256, (80, 8, 8, 3), np.uint8)
config = blt_jax.config_dict()
config.dataset.image_size = config.dataset.resize_size = 8
config.stage1.batch_size = config.stage2.batch_size = 16
try:
  blt_jax.train(
    config,
    sys.argv[1],
    dataset=blt_jax.sources.from_arrays(
      images,
      np.arange(80) % 4,
      options=blt_jax.sources.SplitOptions(validation_per_class=2),
    ),
  )
except ValueError as error:
  processes.leave(SystemExit(f"error: {error}"))
"""


def test_processes_of_different_images_are_refused(tmp_path):
  for process in _start_all(str(tmp_path), command=("-c", _HANDS_IN)):
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "process 1 has other images than process 0" in errors
  assert not (tmp_path / "config.json").exists()


# What each says when it ends by itself so many seconds after the start.
_ENDS = """
import sys, time
from blt_jax.system import processes
from blt_jax.workdir import records
processes.start()
time.sleep(float(sys.argv[1 + processes.index()]))
processes.leave(SystemExit(f"error: {processes.index()} refuses"))
"""


@pytest.mark.parametrize("delays", [("0", "2"), ("2", "0")])
def test_each_says_why_it_ends(delays):
  started = _start_all(*delays, command=("-c", _ENDS))
  for number, process in enumerate(started):
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert f"error: {number} refuses" in errors.splitlines()


# What a program knows that joined the others by itself.
_JOINED = """
import sys
import jax
from blt_jax.system import processes
from blt_jax.workdir import records
before = (processes.index(), processes.count())
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
print(before, (processes.index(), processes.count()), processes.is_first())
"""


def test_processes_that_the_caller_joined_are_counted():
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  started = [
    _start(number, 0, "-c", _JOINED, address, str(number), count=1, devices=1)
    for number in range(2)
  ]
  for number, process in enumerate(started):
    output, errors = process.communicate(timeout=100)
    assert f"(0, 1) ({number}, 2) {number == 0}" in output, errors


@pytest.mark.parametrize(
  "variables, message",
  [
    ({"COUNT": "2"}, "JAX_COORDINATOR_ADDRESS is not set; expected it"),
    ({"COUNT": "two"}, "JAX_NUM_PROCESSES is 'two'; expected a whole number"),
    ({"COUNT": "0"}, "JAX_NUM_PROCESSES is '0'; expected a whole number"),
    ({"INDEX": "0"}, "JAX_NUM_PROCESSES is not set; expected the number"),
    (
      {"COUNT": "2", "COORDINATOR": "a:1", "INDEX": "2"},
      "JAX_PROCESS_ID is '2'; expected 0 to 1",
    ),
    (
      {"COUNT": "2", "COORDINATOR": "a", "INDEX": "0"},
      "JAX_COORDINATOR_ADDRESS is 'a'; expected host:port",
    ),
  ],
)
def test_contradicting_variables_are_refused(variables, message):
  named = {getattr(processes, name): v for name, v in variables.items()}
  with pytest.raises(ValueError, match=message):
    processes.from_environment(named)


@pytest.mark.parametrize(
  "variables, expected",
  [
    ({}, None),
    ({"JAX_NUM_PROCESSES": "1"}, None),
    # A job of one task, and a shell in a job of several.
    ({"SLURM_NTASKS": "1", "SLURM_STEP_NODELIST": "a"}, None),
    ({"SLURM_NTASKS": "4"}, None),
    ({"SLURM_NTASKS": "4", "SLURM_STEP_NODELIST": "a[1-4]"}, {}),
    ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, {}),
    (
      {
        "JAX_COORDINATOR_ADDRESS": "[::1]:1234",
        "JAX_NUM_PROCESSES": "4",
        "JAX_PROCESS_ID": "3",
        "SLURM_NTASKS": "8",
      },
      {
        "coordinator_address": "[::1]:1234",
        "num_processes": 4,
        "process_id": 3,
      },
    ),
  ],
)
def test_environments_of_clusters(variables, expected):
  assert processes.from_environment(variables) == expected
