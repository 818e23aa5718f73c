"""The shares of the classes where a network is used."""

import numpy as np
import pytest

from blt_jax.config import check_config
from blt_jax.training import prior
from tests.small_run import make_config

NAMES = ("lynx", "wild boar", "deer")
COUNTS = np.array([70, 20, 10])


def _shares(value):
  return prior.target_shares(value, class_names=NAMES, class_counts=COUNTS)


def _file(tmp_path, text):
  path = tmp_path / "prior.csv"
  path.write_text(text)
  return str(path)


def test_shares_by_name():
  assert _shares("") is None
  np.testing.assert_allclose(_shares("natural"), [0.7, 0.2, 0.1], rtol=1e-12)
  np.testing.assert_array_equal(_shares("balanced"), np.full(3, 1 / 3))


def test_class_without_training_images_has_no_natural_share():
  found = prior.target_shares(
    "natural", class_names=NAMES, class_counts=np.array([3, 0, 1])
  )
  np.testing.assert_allclose(found, [0.75, 0, 0.25], rtol=1e-12)


@pytest.mark.parametrize(
  "text",
  [
    "class,share\ndeer,0.25\nlynx,0.5\nwild boar,0.25\n",
    "class,count\nlynx,20\nwild boar,10\ndeer,10\n",
    "share,class\n2,lynx\n\n1,wild  boar\n1,deer\n",
    "class;count\nlynx;20\nwild boar;10\ndeer;10\n",
    "\ufeffclass, share\nlynx, 0.5\nwild boar, 0.25\ndeer, 0.25",
  ],
)
def test_shares_of_a_file_are_in_the_order_of_the_classes(tmp_path, text):
  np.testing.assert_array_equal(
    _shares(_file(tmp_path, text)), [0.5, 0.25, 0.25]
  )


@pytest.mark.parametrize(
  "text, message",
  [
    (
      "class,share\nlynx,1\n",
      "has no row for class 'wild boar' nor 1 more; ex",
    ),
    (
      "class,share\nlynx,1\ndeer,1\n",
      "for class 'wild boar'; expected one for",
    ),
    (
      "class,share\nlinx,1\n",
      "csv:2: class is 'linx'; expected one of the 3 c",
    ),
    ("class,share\nlynx,1\nlynx,1\n", "csv:3: class 'lynx' has a row before"),
    (
      "class,share\nlynx,0\n",
      "csv:2: class 'lynx' has '0'; expected a number a",
    ),
    (
      "class,share\nlynx,nan\n",
      "class 'lynx' has 'nan'; expected a number abo",
    ),
    (
      "class,share\nlynx,-1\n",
      "class 'lynx' has '-1'; expected a number above",
    ),
    ("class,share\nlynx,half\n", "class 'lynx' has 'half'; expected a number"),
    (
      "class,share\nlynx,1,2\n",
      "csv: line 2 has 3 cells; expected 2; expected",
    ),
    (
      "lynx,1\n",
      "the first line is 'lynx,1'; expected class,share or class,co",
    ),
    ("", "the first line is ''; expected class,share or class,count"),
    ('class,share\n"lynx,1\n', "csv: unexpected end of data; expected natural"),
  ],
)
def test_bad_file_is_refused(tmp_path, text, message):
  with pytest.raises(ValueError) as error:
    _shares(_file(tmp_path, text))
  assert str(error.value).startswith("config.dataset.prior=")
  assert message in str(error.value)


def test_file_that_is_not_there_is_refused():
  with pytest.raises(
    ValueError, match="prior=Natural: there is no such file; exp"
  ):
    _shares("Natural")


def _record(workdir, file):
  prior.record(workdir, file, shares=_shares(file), class_names=NAMES)


def test_shares_of_a_file_are_kept_and_may_not_change(tmp_path):
  file = _file(tmp_path, "class,count\nlynx,1\nwild boar,1\ndeer,5\n")
  workdir = tmp_path / "run"
  workdir.mkdir()
  config = check_config(make_config(dataset__prior=file))
  assert prior.as_begun(workdir, config) is config
  _record(workdir, file)
  kept = prior.as_begun(workdir, config).dataset.prior
  np.testing.assert_array_equal(_shares(kept), _shares(file))
  _record(workdir, _file(tmp_path, "class,count\nlynx,2\nwild boar,2\ndeer,10"))
  file = _file(tmp_path, "class,count\nlynx,1\nwild boar,1\ndeer,8\n")
  with pytest.raises(
    ValueError,
    match=r"prior=.*csv gives class 'lynx' a share of 0\.1; expected 0\.1429, "
    r"as when .*run began \(.*prior.csv\)\. Choose another --workdir",
  ):
    _record(workdir, file)
  np.testing.assert_allclose(_shares(kept), [1 / 7, 1 / 7, 5 / 7])


@pytest.mark.parametrize("word", ["natural", "balanced"])
def test_shares_of_a_word_are_not_kept(tmp_path, word):
  _record(tmp_path, word)
  assert list(tmp_path.iterdir()) == []


def test_line_says_what_a_prior_does():
  def line(**fields):
    fields["dataset__prior"] = "natural"
    return prior.line(check_config(make_config(**fields)))

  assert line() == (
    "config.dataset.prior is natural: it weighs the measures alone; "
    "config.model.loss cross_entropy does not correct for it, as "
    "balanced_softmax, logit_adjustment or config.model.posthoc_tau=1 would"
  )
  assert line(model__loss="balanced_softmax") == (
    "config.dataset.prior is natural: it weighs the measures, and "
    "config.model.loss balanced_softmax corrects from the frequencies in "
    "training to it"
  )
  assert "and config.model.posthoc_tau 0.5 corrects" in line(
    model__posthoc_tau=0.5
  )
