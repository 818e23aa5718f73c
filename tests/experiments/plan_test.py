"""Which runs are planned, who shares them, and the commands that they are."""

import pathlib
import sys
from unittest import mock

import pytest
from absl import flags
from ml_collections import config_flags

from blt_jax.config import check_config, config_dict
from blt_jax.experiments import run_status
from blt_jax.experiments.catalog import EXPERIMENTS, choose
from blt_jax.experiments.plan import make_plan
from blt_jax.experiments.protocols import PROTOCOLS
from blt_jax.models.pretrained import sha256
from blt_jax.training.resume import check_reuse
from blt_jax.workdir import directory, files

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = PROTOCOLS["digits_lt"]


@pytest.fixture(autouse=True)
def _root(monkeypatch):
  monkeypatch.chdir(ROOT)


def _plan(names, output, *, dataset="digits_lt", seeds=(0,), **options):
  return make_plan(
    choose(names), PROTOCOLS[dataset], seeds=seeds, output=output, **options
  )


def _names(plan):
  return [run.name for run in plan.runs]


def _parsed(command):
  """The configuration that main.py makes of a command's flags."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  with mock.patch.object(sys, "argv", command):  # config_flags looks there.
    values(command)
  return values.config, values.workdir


def test_runs_of_an_experiment_in_order(tmp_path):
  plan = _plan(["extra_images"], tmp_path, seeds=(0, 3))
  assert _names(plan) == [
    "blt,p=0.5,seed=0",
    "augmentations,p=0.5,seed=0",
    "neither,seed=0",
    "sampling,seed=0",
    "blt,p=0.5,seed=3",
    "augmentations,p=0.5,seed=3",
    "neither,seed=3",
    "sampling,seed=3",
  ]
  assert plan.experiments[0].runs["blt"] == (
    "blt,p=0.5,seed=0",
    "blt,p=0.5,seed=3",
  )
  assert plan.runs[0].workdir == tmp_path / "runs/digits_lt/blt,p=0.5,seed=0"


def test_equal_runs_are_shared_between_experiments(tmp_path):
  plan = _plan(["extra_images", "table4", "gamma"], tmp_path)
  for planned in plan.experiments[:2]:
    assert planned.runs["blt"] == ("blt,p=0.5,seed=0",)
  assert plan.experiments[2].runs["0.9"] == ("blt,p=0.5,seed=0",)
  assert len(plan.runs) == 4 + 3 + 4


@pytest.mark.parametrize("dataset", PROTOCOLS)
def test_names_differ_exactly_where_configurations_do(tmp_path, dataset):
  plan = _plan(["all"], tmp_path, dataset=dataset, seeds=(0, 1))
  fields = {str(run.config) for run in plan.runs}
  assert len(set(_names(plan))) == len(fields) == len(plan.runs)
  assert len(plan.runs) > 2 * 45


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("dataset", PROTOCOLS)
def test_commands_make_the_planned_configurations(tmp_path, dataset):
  overrides = {"dataset.crop_scale": (0.25, 1.0), "dataset.root": "a b/c"}
  plan = _plan(
    ["all"], tmp_path, dataset=dataset, seeds=(5,), overrides=overrides
  )
  for run, _, stage1 in run_status.in_order(plan.runs):
    config, workdir = _parsed(run.command(stage1))
    assert workdir == str(run.workdir)
    assert config.stage1.reuse == (str(stage1) if stage1 else "")
    config.stage1.reuse = ""
    assert check_config(config) == run.config
    assert config.dataset.crop_scale == (0.25, 1.0)
    assert config.seed == 5


def test_shared_stage_1_is_trained_first_and_the_trainer_accepts_it(tmp_path):
  # Losses act in stage 1, so that theirs can't be shared.
  papers = [name for name in EXPERIMENTS if name != "losses"]
  plan = _plan(papers, tmp_path, seeds=(0, 1))
  trained = set()
  shared = 0
  for run, _, stage1 in run_status.in_order(plan.runs):
    config = config_dict(run.config)
    config.stage1.reuse = str(stage1 or "")
    if stage1:
      assert stage1 in trained
      shared += 1
      check_reuse(check_config(config))
    else:
      trained.add(run.workdir)
    directory.claim(run.workdir, check_config(config))
  assert shared > len(plan.runs) / 2
  keys = [run.stage1_key() for run in plan.runs]
  assert len(trained) == len(set(keys))


def test_methods_share_the_stage_1_of_a_loss_and_classifier(tmp_path):
  plan = _plan(["losses"], tmp_path)
  stage1 = {run.name: path for run, _, path in run_status.in_order(plan.runs)}
  ldam = stage1["blt,loss=ldam,reweight=9,seed=0"]
  assert ldam.name == "plain,loss=ldam,reweight=9,seed=0"
  assert [path for path in stage1.values() if path] == [ldam]


def test_another_seed_head_or_rate_trains_a_stage_1_of_its_own(tmp_path):
  plan = _plan(["table4", "table1"], tmp_path, seeds=(0, 1))
  stage1 = {run.name: path for run, _, path in run_status.in_order(plan.runs)}
  assert stage1["blt,p=0.5,seed=1"] is None
  assert stage1["blt_softmax,p=0.5,seed=0"] is None
  assert stage1["blt,lr=small,seed=0"] is None
  uniform = stage1["blt_uniform,p=0.5,seed=1"]
  assert uniform.name == "blt,p=0.5,seed=1"


def _finish(run, *, reuse=""):
  config = config_dict(run.config)
  config.stage1.reuse = reuse
  directory.claim(run.workdir, check_config(config))
  files.write_json(run.workdir / directory.RESULTS, {"method": "x"})


def test_stage_1_is_taken_from_a_finished_run_of_another_experiment(tmp_path):
  neither = _plan(["fig3"], tmp_path).runs[0]
  assert neither.name == "neither,seed=0"
  _finish(neither)
  runs = _plan(["table4"], tmp_path).runs
  stage1 = {run.name: path for run, _, path in run_status.in_order(runs)}
  assert stage1["blt,p=0.5,seed=0"] == neither.workdir
  assert stage1["blt_softmax,p=0.5,seed=0"] is None


def test_run_that_took_stage_1_over_does_not_serve_others(tmp_path):
  _finish(_plan(["fig3"], tmp_path).runs[0], reuse="elsewhere")
  run = _plan(["table4"], tmp_path).runs[0]
  assert [path for _, _, path in run_status.in_order([run])] == [None]


def test_run_that_has_begun_stays_with_its_stage_1(tmp_path):
  finished, begun = _plan(["fig3"], tmp_path).runs
  _finish(finished)
  config = config_dict(begun.config)
  directory.claim(begun.workdir, check_config(config))
  assert [path for _, _, path in run_status.in_order([begun])] == [None]


def test_finished_run_counts_whatever_stage_1_it_took(tmp_path):
  run, other = _plan(["fig3"], tmp_path).runs
  _finish(run, reuse="elsewhere")
  assert run_status.is_finished(run)
  assert not run_status.is_finished(other)


def test_run_of_another_configuration_in_its_place_is_refused(tmp_path):
  _finish(_plan(["fig3"], tmp_path).runs[0])
  other = _plan(["fig3"], tmp_path, overrides={"dataset.rotation": 5.0}).runs[0]
  with pytest.raises(ValueError, match=r"rotation \(10.0 there, 5.0 here\)"):
    run_status.is_finished(other)


def test_finished_run_counts_wherever_its_weights_are(tmp_path):
  places = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
  for path, content in zip(places, (b"1", b"1", b"2"), strict=True):
    path.write_bytes(content)
  first, copy, other = (
    _plan(["fig3"], tmp_path, overrides={"model.pretrained": str(path)}).runs[0]
    for path in places
  )
  config = config_dict(first.config)
  config.model.pretrained_sha256 = sha256(places[0])
  directory.claim(first.workdir, check_config(config))
  files.write_json(first.workdir / directory.RESULTS, {})
  assert run_status.is_finished(copy)
  with pytest.raises(ValueError, match=r"another configuration: model.pretrai"):
    run_status.is_finished(other)


def test_overrides_win_over_the_data_sets_schedule(tmp_path):
  run = _plan(["fig1"], tmp_path, overrides={"stage2.epochs": 2}).runs[0]
  assert run.config.stage2.epochs == 2
  assert run.config.stage1.epochs == DIGITS.fields["stage1.epochs"]
  assert run.flags.count("--config.stage2.epochs=2") == 1
  assert sum("stage2.epochs" in flag for flag in run.flags) == 1


@pytest.mark.parametrize(
  "name, field, value",
  [
    ("gamma", "stage2.gamma", 0.5),
    ("table1", "stage1.batch_size", 7),
    ("fig1", "seed", 3),
    ("fig1", "stage1.reuse", "x"),
  ],
)
def test_override_of_what_an_experiment_sets_is_refused(
  tmp_path, name, field, value
):
  with pytest.raises(ValueError, match=f"--config.{field} is given"):
    _plan([name], tmp_path, overrides={field: value})


@pytest.mark.parametrize("seeds", [(), (-1,), (1, 1)])
def test_bad_seeds_are_refused(tmp_path, seeds):
  with pytest.raises(ValueError, match="--seeds=.*different whole numbers"):
    _plan(["fig1"], tmp_path, seeds=seeds)


def test_settings_are_chosen_by_words_of_their_labels(tmp_path):
  plan = _plan(["table3"], tmp_path, only=["small_resnet10"])
  assert _names(plan) == [
    "sampling,gamma=1.0,seed=0",
    "blt,gamma=1.0,p=0.5,seed=0",
  ]


def test_words_that_no_label_has_are_refused(tmp_path):
  with pytest.raises(ValueError, match="--settings=resnet9"):
    _plan(["table3"], tmp_path, only=["resnet9"])


def test_digits_train_a_short_schedule_and_the_others_the_papers():
  for name, protocol in PROTOCOLS.items():
    short = any("epochs" in field for field in protocol.fields)
    assert short == (name == "digits_lt")
  assert EXPERIMENTS["table5"].dataset == "places_lt"
