"""Rows of metrics.csv for tests."""

from blt_jax.workdir.progress import EpochRow


def make_row(stage: int, epoch: int, step: int, **changes) -> EpochRow:
  """A row of 8 + 2 s; 10 images are hallucinated in an epoch of stage 2."""
  values = {
    "loss": 1.5,
    "val_overall": 55.0,
    "val_many": 90.0,
    "val_medium": 80.0,
    "val_few": 25.0,
    "val_top5_overall": 95.0,
    "val_top5_many": 100.0,
    "val_top5_medium": 90.0,
    "val_top5_few": 85.0,
    "hallucinated": 10 if stage == 2 else 0,
    "hallucinated_share": 0.25 if stage == 2 else 0.0,
    "mean_updates": 3.5 if stage == 2 else 0.0,
    "reached_share": 0.8 if stage == 2 else 0.0,
    "overflow": 0,
    "replaced": 0,
    "seconds": 8.0,
    "data_wait_share": 0.25,
    "validation_seconds": 2.0,
    "images_per_second": 40.0,
    **changes,
  }
  return EpochRow(stage, epoch, step, **values)
