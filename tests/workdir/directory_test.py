import errno
import json
import pathlib
import subprocess
import sys

import pytest

from blt_jax.config import check_config, with_values
from blt_jax.workdir import directory, files
from configs import digits_lt

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _config(arg=None):
  return check_config(digits_lt.get_config(arg))


def test_config_round_trips(tmp_path):
  config = _config("confidence=0.2,seed=4")
  directory.claim(tmp_path, config)
  assert directory.read_config(tmp_path) == config


def test_own_directory_is_welcome_again(tmp_path):
  directory.claim(tmp_path, _config())
  directory.claim(tmp_path, _config())
  assert directory.read_results(tmp_path) is None


def test_other_configuration_is_refused_with_the_fields(tmp_path):
  directory.claim(tmp_path, _config())
  message = r"perturb\.p \(0\.25 there, 0\.5 here\), seed \(0 there, 1 here\)"
  with pytest.raises(ValueError, match=message):
    directory.claim(tmp_path, _config("p=0.5,seed=1"))


def test_bad_value_in_a_config_is_named_with_its_file(tmp_path):
  content = digits_lt.get_config().to_dict()
  content["perturb"]["p"] = 2
  files.write_json(tmp_path / "config.json", content)
  message = r"config\.json: config\.perturb\.p is 2; expected a number"
  with pytest.raises(ValueError, match=message):
    directory.read_config(tmp_path)


def test_run_goes_on_with_more_epochs_and_other_free_fields(tmp_path):
  config = digits_lt.get_config()
  directory.claim(tmp_path, check_config(config))
  config.stage2.epochs += 1
  config.num_devices, config.checkpoint.every_minutes = 2, 0.5
  directory.check_config_of(tmp_path, check_config(config))
  config.stage1.epochs -= 1
  with pytest.raises(ValueError, match=r"stage1\.epochs \(35 there, 34 here\)"):
    directory.check_config_of(tmp_path, check_config(config))


def test_run_goes_on_with_images_in_another_place(tmp_path, capsys):
  config = _config()
  directory.claim(tmp_path, config)
  moved = with_values(
    config, {"dataset.root": "new", "dataset.test_list": "t", "num_devices": 2}
  )
  directory.check_config_of(tmp_path, moved)
  directory.record_places(tmp_path, moved)
  recorded = with_values(moved, {"num_devices": config.num_devices})
  assert directory.read_config(tmp_path) == recorded
  assert capsys.readouterr().out.splitlines() == [
    "config.dataset.root is now 'new', before ''",
    "config.dataset.test_list is now 't', before ''",
  ]


_COUNTS = {"training": [9, 5, 2], "validation": [3, 3, 0], "test": [4, 4, 1]}
_NAMES = ("ant", "bee", "cat")


@pytest.mark.parametrize(
  "counts, names, difference",
  [
    (
      {},
      ("ant", "bee", "kat"),
      "3 classes there, 3 here, 'cat' is missing her",
    ),
    (
      {},
      ("ant", "bee", "kat"),
      "missing here, 'kat' is new; expected the same",
    ),
    (
      {split: [*numbers, 1] for split, numbers in _COUNTS.items()},
      (*_NAMES, "dog"),
      "3 classes there, 4 here, 'dog' is new",
    ),
    ({}, ("bee", "ant", "cat"), "the order of the 3 classes"),
    (
      {"training": [9, 6, 2]},
      _NAMES,
      "bee has 5 training images there, 6 here",
    ),
    (
      {"validation": [3, 2, 0]},
      _NAMES,
      "bee has 3 validation images there, 2 here",
    ),
    (
      {"test": [4, 5, 2]},
      _NAMES,
      r"bee has 4 test images there, 5 here \(and 1 more of 3 classes\)",
    ),
  ],
)
def test_other_classes_or_counts_are_refused(
  tmp_path, counts, names, difference
):
  directory.check_classes(tmp_path, _COUNTS, _NAMES)
  directory.check_classes(tmp_path, _COUNTS, _NAMES)
  with pytest.raises(ValueError, match=difference):
    directory.compare_classes(
      tmp_path, {**_COUNTS, **counts}, names, remedy="Go."
    )


def test_missing_classes_are_refused_where_they_are_compared(tmp_path):
  with pytest.raises(ValueError, match=r"classes\.json is missing; expected"):
    directory.compare_classes(tmp_path, _COUNTS, _NAMES, remedy="Go.")


def test_write_error_is_explained_for_a_relative_work_directory(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  workdir = pathlib.Path("run")
  with (
    pytest.raises(OSError, match="--workdir=run can't be written: Input/out"),
    directory.explain_write_errors(workdir),
  ):
    raise OSError(errno.EIO, "Input/output error", str(tmp_path / "run" / "x"))


def test_error_of_a_neighbour_of_the_work_directory_is_not_its_own(tmp_path):
  with (
    pytest.raises(OSError, match="^\\[Errno 2\\] No such file"),
    directory.explain_write_errors(tmp_path / "run"),
  ):
    raise OSError(errno.ENOENT, "No such file", str(tmp_path / "run2" / "x"))


def test_directory_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match=r"holds no config\.json"):
    directory.read_config(tmp_path)


def test_file_in_the_way_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match="can't be written"):
    directory.claim(tmp_path / "file" / "run", _config())


def test_damaged_config_is_named(tmp_path):
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ValueError, match=r"config\.json is not JSON"):
    directory.read_config(tmp_path)


def test_reading_a_directory_loads_no_large_library():
  program = (
    "import sys, blt_jax.workdir.directory\n"
    "large = {'orbax', 'PIL', 'tensorflow', 'matplotlib'} & set(sys.modules)\n"
    "assert not large, large\n"
  )
  subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_results_that_lack_what_a_finished_run_writes_are_refused(tmp_path):
  config = _config()
  directory.claim(tmp_path, config)
  assert directory.finished_results(tmp_path, config) is None
  split = {"overall": 1, "accuracy": 1, "macro_f1": 1, "interval": {}}
  epoch = {"epoch": 1, "temperature": 1}
  for part in ("validation", "test"):
    epoch[part] = {**split, "calibrated": {"ece": 0}}
  results = dict.fromkeys(("method", "dataset", "seed", "class_counts"), "")
  results |= {"test_set": {"kind": "natural"}, "prior": ""}
  results |= {"best": epoch, "last": epoch}
  path = tmp_path / directory.RESULTS
  path.write_text(json.dumps(results))
  assert directory.finished_results(tmp_path, config) == results
  for field, damaged in (
    ("prior", {n: v for n, v in results.items() if n != "prior"}),
    ("test_set.kind", {**results, "test_set": []}),
    ("last.temperature", {**results, "last": {"epoch": 1}}),
    ("best.test.calibrated.ece", {**results, "best": {**epoch, "test": split}}),
  ):
    path.write_text(json.dumps(damaged))
    with pytest.raises(ValueError, match=f"results.json lacks {field}; expect"):
      directory.finished_results(tmp_path, config)
