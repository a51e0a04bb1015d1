"""Search of settings: YAML to Optuna, Ray Tune, resume."""
