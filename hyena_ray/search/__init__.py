"""A search of settings: the space in YAML, the Optuna study, the trials of Ray Tune, trackers.

The face of the room: `space.SearchSpace` with `parameter.Parameter` (read without an import of Ray,
Optuna or torch), `stored_study.StoredStudy` with `best_trial` and `write_trials`,
`tune_experiment.run_trials`, `trackers.parse_trackers`, and `trial_fields`, the names of what a
trial reports.
"""
