"""Originals, perturbations and results (supplement, figure 1)."""

from matplotlib.figure import Figure

from blt_jax.experiments.figures import parts
from blt_jax.report.examples_figure import perturbed
from blt_jax.report.record import RunRecord


@parts.figure_of
def images(results: parts.Results, paper: parts.Paper) -> Figure:
  """Images of the first run with perturbation.

  Raises:
    ValueError: if no setting perturbs, or the run kept no examples.
  """
  del paper
  record = _first_with_perturbation(results)
  return parts.needed(perturbed(record), record, "perturbed.npz").figure


def _first_with_perturbation(results: parts.Results) -> RunRecord:
  for records in results.values():
    if parts.hallucinates(records[0]):
      return records[0]
  raise ValueError(
    f"none of the settings {', '.join(results)} is with perturbation; expected "
    "one, to show its perturbed images."
  )
