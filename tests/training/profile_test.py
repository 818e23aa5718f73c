"""--profile=STEPS: which steps are traced, and what is said about it."""

import jax
import pytest

from blt_jax.training import profile


@pytest.fixture
def events(monkeypatch):
  """What the profiler is asked for."""
  found = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda x: found.append("on"))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: found.append("off"))
  return found


def _epoch(tracer, events, steps, *, stage=1, number=1, fails_at=None):
  def step(state, batch):
    if batch == fails_at:
      raise ValueError("no")
    events.append(batch)
    return state

  with tracer.traced(step, stage, number) as train_fn:
    for batch in range(steps):
      train_fn(0.0, batch)


def test_steps_after_those_that_compile_are_traced(events, tmp_path, capsys):
  tracer = profile.Tracer(tmp_path / "my run", 2)
  _epoch(tracer, events, 5)
  assert events == [0, 1, "on", 2, 3, "off", 4]
  folder = f"'{tmp_path / 'my run' / 'profile'}'"
  assert capsys.readouterr().out == (
    f"profile: 2 steps of stage 1 epoch 1 in {folder}; pip install xprof and "
    f"xprof --logdir={folder} show them\n"
  )


def test_each_stage_is_traced_once(events, tmp_path):
  tracer = profile.Tracer(tmp_path, 1)
  for stage, number in ((1, 1), (1, 2), (2, 2)):
    _epoch(tracer, events, 3, stage=stage, number=number)
  assert events == [0, 1, "on", 2, "off", 0, 1, 2, 0, 1, "on", 2, "off"]


def test_a_trace_ends_with_its_epoch(events, tmp_path, capsys):
  _epoch(profile.Tracer(tmp_path, 9), events, 4)
  assert events == [0, 1, "on", 2, 3, "off"]
  assert "profile: 2 steps of stage 1" in capsys.readouterr().out


def test_an_epoch_that_is_too_short_is_named(events, tmp_path, capsys):
  tracer = profile.Tracer(tmp_path, 3)
  _epoch(tracer, events, 2)
  assert events == [0, 1]
  assert capsys.readouterr().out == (
    "profile: no step of stage 1 epoch 1 was traced: it had 2 steps, and the "
    "first 2 are left out\n"
  )
  _epoch(tracer, events, 3)  # The next epoch is tried.
  assert "on" in events


def test_an_error_ends_the_trace(events, tmp_path):
  with pytest.raises(ValueError, match="no"):
    _epoch(profile.Tracer(tmp_path, 9), events, 5, fails_at=3)
  assert events == [0, 1, "on", 2, "off"]
