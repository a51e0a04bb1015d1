"""Pretraining on a genome: the stream of windows, objectives, the loop, Markov baselines."""
