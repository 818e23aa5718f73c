"""Short names of fields, for the variants behind the colon of --config."""

SHORT_NAMES: dict[str, tuple[str, ...]] = {
  "backbone": ("model.backbone",),
  "batch": ("stage1.batch_size", "stage2.batch_size"),
  "p": ("perturb.p",),
  "gamma": ("stage2.gamma",),
  "alpha": ("model.alpha",),
  "beta": ("model.beta",),
  "momentum": ("perturb.momentum",),
  "loss": ("model.loss",),
  "reweight": ("model.reweight_epoch",),
  "seed": ("seed",),
}
