"""Search of settings: a space in YAML, the Optuna study, the trials of Ray Tune, trackers."""
