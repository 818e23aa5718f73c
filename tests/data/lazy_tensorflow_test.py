import builtins
import logging
import sys
import types

import pytest

from blt_jax.data import input_pipeline, lazy_tensorflow
from blt_jax.data.reading.pillow_reader import PillowReader
from blt_jax.system import tensorboard

BROKEN = [
  (
    ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core"),
    "No module named 'numpy.core'",
  ),
  (
    ImportError("libcudart.so.12:\n no such file", name="tensorflow.python"),
    "libcudart.so.12: no such file",
  ),
  (TypeError("Descriptors cannot be created"), "Descriptors cannot be created"),
]


@pytest.fixture
def broken(monkeypatch):
  """Makes the import of TensorFlow raise an error."""
  lazy_tensorflow.tensorflow.cache_clear()
  input_pipeline.default_reader.cache_clear()
  real = builtins.__import__

  def break_it(error):
    def fake(name, *given):
      if name == "tensorflow":
        raise error
      return real(name, *given)

    monkeypatch.setattr(builtins, "__import__", fake)

  yield break_it
  lazy_tensorflow.tensorflow.cache_clear()
  input_pipeline.default_reader.cache_clear()


@pytest.mark.parametrize("error, reason", BROKEN)
def test_broken_tensorflow_is_not_called_missing(broken, error, reason):
  broken(error)
  with pytest.raises(ImportError) as raised:
    lazy_tensorflow.tensorflow()
  assert str(raised.value) == (
    f"TensorFlow is installed but can't be used ({reason}); expected: pip "
    "install --force-reinstall tensorflow-cpu"
  )


def test_missing_tensorflow_is_called_missing(broken):
  broken(ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow"))
  with pytest.raises(ImportError, match="^TensorFlow is not installed; expect"):
    lazy_tensorflow.tensorflow()


def test_half_removed_tensorflow_can_not_be_used(monkeypatch, broken):
  monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
  with pytest.raises(ImportError, match="can't be used .*no attribute 'config"):
    lazy_tensorflow.tensorflow()


def test_pillow_reads_where_tensorflow_is_broken(broken, caplog):
  broken(TypeError("Descriptors"))
  with caplog.at_level(logging.WARNING):
    assert input_pipeline.default_reader() is PillowReader
  assert caplog.messages == [
    "TensorFlow is installed but can't be used (Descriptors): Pillow reads "
    "images, more slowly"
  ]


def test_without_events_a_run_says_why(broken, tmp_path, capsys):
  broken(TypeError("Descriptors"))
  with tensorboard.Events(tmp_path) as events:
    events.write(1, {"loss": 1.0})
    events.write(2, {"loss": 1.0})
  (line,) = capsys.readouterr().out.splitlines()
  assert line.startswith(
    "no TensorBoard events, which need TensorFlow, clu and tensorboard: "
    "TensorFlow is installed but can't be used (Descriptors)"
  )
  assert not list(tmp_path.iterdir())
