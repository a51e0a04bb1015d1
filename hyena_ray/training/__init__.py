"""Training of supervised runs and of pretraining; knows no Ray.

`trainer.Trainer` is the one loop that updates weights. A supervised run is `supervised.train_run`,
and `train_and_test.train_and_test` with its evaluation and model card; a pretraining is
`pretraining.pretrain` on windows of `genome_stream.WindowStream`. Both are described by
`settings.RunSettings` and `settings.PretrainSettings`, which load no torch; `preflight` checks the
former against the data, and `evaluation.evaluate_on_split` scores a model with all figures.
"""
