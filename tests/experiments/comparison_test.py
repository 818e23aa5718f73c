"""Which runs a comparison takes, on any data."""

import pathlib

import pytest

from blt_jax.config import check_config, config_dict, with_values
from blt_jax.experiments import run_status
from blt_jax.experiments.comparison import make_comparison
from blt_jax.training.resume import check_reuse
from blt_jax.workdir import directory, files

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS, FOLDER = "configs/digits_lt.py", "configs/image_folder.py"


@pytest.fixture(autouse=True)
def _root(monkeypatch):
  monkeypatch.chdir(ROOT)


def _make(config, names, output, *, seeds=(0,), folds=0, **overrides):
  return make_comparison(
    config,
    names,
    seeds=seeds,
    folds=folds,
    output=pathlib.Path(output),
    overrides={name.replace("__", "."): v for name, v in overrides.items()},
  )


def _names(comparison):
  return [run.name for run in comparison.runs]


def test_all_methods_of_a_seed_come_before_the_next_seed(tmp_path):
  found = _make(DIGITS, ["plain", "focal", "blt+p=0.5"], tmp_path, seeds=(0, 2))
  assert _names(found) == [
    "plain,seed=0",
    "plain,loss=focal,seed=0",
    "blt,p=0.5,seed=0",
    "plain,seed=2",
    "plain,loss=focal,seed=2",
    "blt,p=0.5,seed=2",
  ]
  assert found.names["focal"] == (
    "plain,loss=focal,seed=0",
    "plain,loss=focal,seed=2",
  )
  assert found.runs[0].workdir == tmp_path / "runs/plain,seed=0"


def test_pairs_and_fields_of_the_command_are_in_every_run():
  found = _make(
    f"{FOLDER}:batch=16,alpha=15",
    ["plain", "blt", "blt+alpha=10"],
    "out",
    dataset__root="a b",
  )
  for run, alpha in zip(found.runs, (15, 15, 10), strict=True):
    assert run.config.stage1.batch_size == run.config.stage2.batch_size == 16
    assert run.config.dataset.root == "a b"
    assert run.config.model.alpha == alpha
  assert found.runs[2].flags == (
    f"--config={FOLDER}:batch=16,alpha=10,method=blt,seed=0",
    "--config.dataset.root=a b",
  )


def test_folds_set_the_fold_of_every_run():
  found = _make(DIGITS, ["plain", "blt"], "out", folds=3, seeds=(7,))
  assert _names(found) == [
    f"{method},seed=7,fold={fold}of3"
    for fold in (1, 2, 3)
    for method in ("plain", "blt")
  ]
  last = found.runs[-1]
  assert (last.config.dataset.folds, last.config.dataset.fold) == (3, 3)
  assert last.config.seed == 7
  assert last.flags[1:] == (
    "--config.dataset.folds=3",
    "--config.dataset.fold=3",
  )


def _begin(run, **chosen):
  """Claims a run's directory with what it chooses, and finishes it."""
  fields = {name.replace("__", "."): value for name, value in chosen.items()}
  config = with_values(run.config, fields)
  directory.claim(run.workdir, config)
  files.write_json(run.workdir / directory.RESULTS, {"method": "x"})
  return config


CHOSEN = {
  "dataset__image_size": 32,
  "dataset__resize_size": 36,
  "model__backbone": "small_resnet10",
  "stage1__batch_size": 32,
  "stage2__batch_size": 32,
}


def test_run_that_chose_what_was_left_open_is_finished(tmp_path):
  plain, sampling = _make(FOLDER, ["plain", "sampling"], tmp_path).runs
  _begin(plain, **CHOSEN)
  assert run_status.is_finished(plain)
  assert not run_status.is_finished(sampling)
  other = _make(FOLDER, ["plain"], tmp_path, dataset__rotation=5.0).runs[0]
  with pytest.raises(ValueError, match=r"rotation \(10.0 there, 5.0 here\)"):
    run_status.is_finished(other)


def test_stage_1_of_a_run_that_chose_is_taken_over(tmp_path):
  plain, sampling = _make(FOLDER, ["plain", "sampling"], tmp_path).runs
  _begin(plain, **CHOSEN)
  in_order = list(run_status.in_order([plain, sampling]))
  assert [stage1 for _, _, stage1 in in_order] == [None, plain.workdir]
  config = config_dict(with_values(sampling.config, {}))
  for name, value in CHOSEN.items():
    section, _, field = name.partition("__")
    config[section][field] = value
  config.stage1.reuse = str(plain.workdir)
  check_reuse(check_config(config))


def test_each_fold_trains_a_stage_1_of_its_own(tmp_path):
  runs = _make(DIGITS, ["plain", "sampling"], tmp_path, folds=2).runs
  stage1 = [path for _, _, path in run_status.in_order(runs)]
  assert stage1 == [None, runs[0].workdir, None, runs[2].workdir]


@pytest.mark.parametrize(
  "config, names, options, message",
  [
    (
      f"{DIGITS}:method=blt",
      ["blt"],
      {},
      "method is given; expected it in --m",
    ),
    (f"{DIGITS}:seed=3", ["blt"], {}, "seed is given; expected it in --seeds"),
    (
      DIGITS,
      ["plain", "bilt"],
      {},
      "--methods=bilt: variant method is 'bilt'; expected one of plain, sam.*"
      "Losses are names, too: focal, class_balanced, balanced_softmax",
    ),
    (DIGITS, ["blt+p=x"], {}, "--methods=blt.p=x: variant p is 'x'; expected"),
    (DIGITS, ["blt+q=1"], {}, "--methods=blt.q=1: variant 'q=1' is not known"),
    (
      DIGITS,
      ["blt", "blt+gamma=0.9"],
      {},
      "--methods: blt and blt.gamma=0.9 are the same configuration",
    ),
    (
      FOLDER,
      ["blt", "blt+batch=32"],
      {},
      "blt.batch=32 sets config.stage1.batch_size and blt leaves it open",
    ),
    (DIGITS, ["blt"], {"folds": 3, "seeds": (0, 1)}, "--folds=3 is given with"),
    (DIGITS, ["blt"], {"folds": 1}, "--folds=1: expected 2 or more"),
    (
      DIGITS,
      ["blt"],
      {"folds": 3, "dataset__folds": 5},
      "--config.dataset.folds is given, but --folds=3 sets it",
    ),
    (
      DIGITS,
      ["plain", "blt"],
      {"stage2__perturb": False},
      "--config.stage2.perturb is given, but the experiment sets it",
    ),
  ],
)
def test_what_cannot_be_compared_is_refused(config, names, options, message):
  with pytest.raises(ValueError, match=message):
    _make(config, names, "out", **options)
