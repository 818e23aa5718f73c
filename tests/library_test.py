"""blt_jax.train as a program calls it, with what the program has."""

import copy
import csv
import dataclasses
import json
import pathlib
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

import blt_jax
from blt_jax import library
from blt_jax.config import (
  GIVEN,
  check_config,
  config_dict,
  given,
)
from blt_jax.deploy import export
from blt_jax.deploy.formats import jax_program, saved_model
from blt_jax.deploy.from_run import from_workdir
from blt_jax.report import command
from blt_jax.report.record import read_run
from blt_jax.system.interrupt import NOTHING, STOP, Interrupted, Watch
from blt_jax.training import evaluate, own_network, train
from blt_jax.workdir.checkpoint import Checkpoints
from tests import small_run
from tests.marks import long_test

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIMINGS = (
  *("seconds", "data_wait_share", "validation_seconds", "images_per_second"),
)


class Plain(nn.Module):
  """Without batch statistics or a part that is called classifier."""

  width: int = 16

  @nn.compact
  def __call__(self, images, *, train):
    features = nn.relu(nn.Conv(self.width, (3, 3), 2)(images)).mean((1, 2))
    features = nn.Dropout(0.1, deterministic=not train)(features)
    return nn.Dense(10)(features)


def make_config(**fields):
  config = blt_jax.config_dict()
  for name, value in fields.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  return config


@dataclasses.dataclass
class Call:
  """A finished call of `blt_jax.train`."""

  config: object
  workdir: pathlib.Path
  dataset: object
  model: nn.Module
  results: dict
  rows: list

  def again(self, workdir, **others):
    """Calls it with another work directory, and perhaps other arguments."""
    values = {"config": self.config, "dataset": self.dataset} | others
    return blt_jax.train(workdir=workdir, **{"model": self.model, **values})


@pytest.fixture(autouse=True, scope="module")
def _quick():
  """Runs of one configuration share their steps, and lack what takes long.

  No examples at the end, whose program takes long to compile, and no figures,
  which runs of main.py have in other tests: reports are empty files.
  """
  networks = {}

  def network(config, own, num_classes):
    key = (config, repr(own))
    if key not in networks:
      networks[key] = make(config, own, num_classes)
    return networks[key]

  def attempt(write, what):
    if "report" in what:
      write()

  def write_report(workdirs, folder):
    assert workdirs == [folder]
    (folder / "report.html").touch()
    return folder / "report.html"

  make = own_network.network
  with pytest.MonkeyPatch.context() as patch, small_run.steps_traced_once():
    patch.setattr(train, "attempt", attempt)
    patch.setattr(command, "write_report", write_report)
    patch.setattr(own_network, "network", network)
    yield


def quick_config():
  """`config_dict` for one device and few slots, ascending in one width."""
  config = config_dict()
  config.num_devices, config.perturb.p = 1, 0.05
  return config


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
  """What the example of docs/api.md leaves; it has batch statistics."""
  page = (ROOT / "docs" / "api.md").read_text()
  (program,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
  names = {}
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(tmp_path_factory.mktemp("documented"))
    patch.setattr(blt_jax, "config_dict", quick_config, raising=False)
    exec(compile(program, "docs/api.md", "exec"), names)
    workdir = pathlib.Path("runs/mine").absolute()
  return Call(
    *(names["config"], workdir, names["data"], names["network"]),
    *(names["results"], names["rows"]),
  )


def metrics(workdir):
  with (workdir / "metrics.csv").open() as file:
    rows = csv.DictReader(file)
    return [{n: v for n, v in r.items() if n not in TIMINGS} for r in rows]


def arrays(workdir):
  """The newest checkpoint, as Orbax reads it without a template."""
  import orbax.checkpoint as ocp

  folder = workdir / "checkpoints"
  last = max(int(path.name) for path in folder.glob("[0-9]*"))
  with ocp.CheckpointManager(
    folder, item_names=("state", "progress")
  ) as manager:
    args = ocp.args.Composite(state=ocp.args.StandardRestore())
    return manager.restore(last, args=args)["state"]


def assert_same_run(first, second):
  assert metrics(first) == metrics(second)
  jax.tree.map(np.testing.assert_array_equal, arrays(first), arrays(second))


def test_run_leaves_what_main_does_and_returns_the_results(documented):
  workdir = documented.workdir
  for name in ("config.json", "classes.csv", "report.html"):
    assert (workdir / name).exists()
  text = (workdir / "results.json").read_text()
  assert documented.results == json.loads(text)
  assert [row.stage for row in documented.rows] == [1, 2, 2]
  written = metrics(workdir)
  assert [r.val_few for r in documented.rows] == [
    float(row["val_few"]) for row in written
  ]
  assert any(row.hallucinated for row in documented.rows)
  assert "digits, blt, Small, seed 0" in read_run(workdir).origin


def test_loaded_network_is_the_one_that_was_tested(documented):
  model = blt_jax.load(documented.workdir, model=documented.model)
  test = documented.dataset.test
  right = model.predict(test.images) == test.labels
  by_class = [100 * right[test.labels == c].mean() for c in range(10)]
  best = documented.results["best"]
  assert np.mean(by_class) == pytest.approx(best["test"]["overall"])
  mean, std = model.preprocessing[2:4]
  images = (test.images / 255 - mean) / std
  images = jax.numpy.asarray(images, jax.numpy.float32)
  expected = documented.model.apply(model.variables, images, train=False)
  np.testing.assert_allclose(
    model.uncalibrated().logits(test.images), expected, atol=1e-4
  )


class Scripted(Watch):
  """Asks for a stop at one poll, in place of a signal."""

  stop_at, polls = 0, 0

  def poll(self):
    type(self).polls += 1
    return STOP if self.polls == self.stop_at else NOTHING


def assert_stop_changes_nothing(call, workdir, *, stop_at, **others):
  """Calls it twice: stopped in stage 2 epoch 1, and to the same end."""
  watch = type("_Watch", (Scripted,), {"stop_at": stop_at})
  rows = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, "Watch", watch)
    with pytest.raises(Interrupted, match="in stage 2 epoch 1 after step"):
      call.again(workdir, after_epoch=rows.append, **others)
  assert 0 < len(rows) < len(call.rows)
  call.again(workdir, after_epoch=rows.append, **others)
  # Each epoch once, in both calls together.
  assert [(row.stage, row.epoch) for row in rows] == [
    (row.stage, row.epoch) for row in call.rows
  ]
  assert [row.loss for row in rows] == [row.loss for row in call.rows]
  assert_same_run(call.workdir, workdir)


def test_stopped_run_goes_on_to_the_same_bits(documented, tmp_path):
  assert_stop_changes_nothing(documented, tmp_path, stop_at=25)


@long_test("trains twice")
def test_network_without_statistics_goes_on_to_the_same_bits(
  documented, tmp_path
):
  model, rows, workdir = Plain(), [], tmp_path / "whole"
  call = dataclasses.replace(
    documented, workdir=workdir, model=model, rows=rows
  )
  call.again(workdir, after_epoch=rows.append)
  assert any(row.hallucinated for row in rows)
  assert_stop_changes_nothing(call, tmp_path / "stopped", stop_at=25)
  with pytest.raises(ValueError, match=r"is of a program, Plain\("):
    from_workdir(workdir)
  loaded = blt_jax.load(workdir, model=model)
  assert loaded.variables["batch_stats"] == {}
  assert loaded.logits(documented.dataset.test.images).shape == (340, 10)


@long_test("trains again")
def test_images_of_a_configuration_train_to_the_same_bits_as_in_memory(
  documented, tmp_path
):
  config = copy.deepcopy(documented.config)
  config.dataset.name, config.dataset.source = "digits", "digits"
  config.dataset.profile, config.dataset.imbalance = "exponential", 24.0
  config.dataset.max_per_class, config.dataset.validation_per_class = 120, 20
  assert_stop_changes_nothing(
    documented, tmp_path, stop_at=25, config=config, dataset=None
  )
  with pytest.raises(ValueError, match="handed in the network of --workdir"):
    evaluate.evaluate_run(tmp_path)


def test_error_after_an_epoch_ends_the_call_after_its_checkpoint(
  documented, tmp_path
):
  def stop(row):
    raise RuntimeError(f"enough after epoch {row.epoch}")

  with pytest.raises(RuntimeError, match="enough after epoch 1"):
    documented.again(tmp_path, after_epoch=stop)
  with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
    assert [r.epoch for r in checkpoints.progress().rows] == [1]


def test_finished_run_calls_nothing_and_returns_its_results(documented):
  found = documented.again(documented.workdir, after_epoch=lambda row: 1 / 0)
  assert found == documented.results


def changed(dataset, **fields):
  train = dataclasses.replace(dataset.train, **fields)
  return dataclasses.replace(dataset, train=train)


def test_other_images_or_another_network_are_refused(documented):
  train, workdir = documented.dataset.train, documented.workdir
  images = train.images.copy()
  images[7, 0, 0, 0] ^= 1
  for other in (
    changed(documented.dataset, images=images),
    changed(
      documented.dataset, images=train.images[::-1], labels=train.labels[::-1]
    ),
  ):
    with pytest.raises(ValueError, match="images are not those that .* began"):
      documented.again(workdir, dataset=other)
  with pytest.raises(ValueError, match=r"network is not .*8 .*there, .*9 .*h"):
    documented.again(workdir, model=documented.model.clone(width=9))
  with pytest.raises(ValueError, match="config.dataset.name is "):
    documented.again(workdir, dataset=None, model=None)


def test_who_lacks_images_or_network_is_told(documented):
  workdir = documented.workdir
  with pytest.raises(ValueError, match="handed in the images and the network"):
    evaluate.evaluate_run(workdir)
  with pytest.raises(ValueError, match=r"is of a program, Small\( ?width = 8"):
    from_workdir(workdir)
  with pytest.raises(ValueError, match=r"model is a Plain; expected it with"):
    blt_jax.load(workdir / "predictions", model=Plain())
  with pytest.raises(ValueError, match=r"of another network.*8.*there, .*9"):
    blt_jax.load(workdir, model=documented.model.clone(width=9))


def test_configuration_of_handed_in_images_or_network_is_not_enough(tmp_path):
  settled, _ = given.settle(make_config(), images="mine", network=True)
  with pytest.raises(ValueError, match="'given', and no data set is handed in"):
    blt_jax.train(settled, tmp_path)
  config = config_dict(settled)
  config.dataset.name = config.dataset.source = "digits"
  config.dataset.profile, config.dataset.imbalance = "exponential", 24.0
  config.dataset.max_per_class, config.dataset.validation_per_class = 120, 20
  with pytest.raises(ValueError, match="'given', and no network is handed in"):
    blt_jax.train(config, tmp_path)


def test_network_is_exported_where_no_names_of_tensors_are_needed(
  documented, tmp_path, monkeypatch
):
  # Formats are not loaded in another process, which takes seconds.
  monkeypatch.setattr(
    export, "compare", lambda model, folder, names: dict.fromkeys(names, 0.0)
  )
  model = blt_jax.load(documented.workdir, model=documented.model)
  with pytest.raises(ValueError, match="safetensors: the network is none of"):
    export.export(model, tmp_path / "out")
  export.export(model, tmp_path / "out", names=["jax", "savedmodel"])
  images = documented.dataset.test.images[:3]
  for module in (jax_program, saved_model):
    exported = module.load(tmp_path / "out")
    np.testing.assert_allclose(
      exported(images), model.logits(images), atol=1e-4
    )
  assert "a network of the program" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
  "given, message",
  [
    (
      {"dataset": (np.zeros((4, 8, 8, 3)), np.zeros(4))},
      r"dataset is a tuple; expected a data set .*from_arrays",
    ),
    ({"after_epoch": []}, "after_epoch is a list; expected a function"),
  ],
)
def test_what_is_handed_in_by_mistake_is_refused(tmp_path, given, message):
  with pytest.raises(ValueError, match=message):
    blt_jax.train(make_config(), tmp_path / "run", **given)
  assert not (tmp_path / "run").exists()


def test_fields_without_effect_are_named_and_others_refused():
  config = make_config(
    dataset__profile="step", dataset__few_up_to=9, model__backbone="resnet18"
  )
  settled, lines = given.settle(config, images="mine", network=True)
  assert settled.dataset.name == "mine"
  assert settled.dataset.source == settled.model.backbone == GIVEN
  assert settled.dataset.profile == "natural"
  assert settled.dataset.few_up_to == 9
  assert [line.partition(": config.")[2] for line in lines] == [
    "dataset.profile 'step'",
    "model.backbone 'resnet18'",
  ]
  # A configuration that a run wrote says nothing that has no effect.
  again = given.settle(dataclasses.asdict(settled), images="x", network=True)
  assert again == (settled, [])
  for fields in (
    {"model__pretrained": "timm:resnet18.a1_in1k"},
    {"model__train": "classifier"},
    {"model__classifier_init": "class_means"},
    {"optimizer__layer_decay": 0.7},
  ):
    name = next(iter(fields)).replace("__", ".")
    with pytest.raises(ValueError, match=rf"config.{name} is .*; expected .*"):
      given.settle(make_config(**fields), images="x", network=True)


def test_places_of_images_are_read_as_their_kind(tmp_path):
  (tmp_path / "photos").mkdir()
  for name in ("labels.csv", "arrays.npz"):
    (tmp_path / name).touch()
  for name, source, field in (
    ("photos", "image_folder", "root"),
    ("labels.csv", "image_table", "table"),
    ("arrays.npz", "npz", "root"),
  ):
    config = check_config(given.at(make_config(), tmp_path / name))
    assert config.dataset.source == source
    assert getattr(config.dataset, field) == str(tmp_path / name)
    assert config.dataset.name == name.partition(".")[0]
  with pytest.raises(ValueError, match="no such file or folder; expected a f"):
    library.train(make_config(), tmp_path / "run", dataset=tmp_path / "none")
