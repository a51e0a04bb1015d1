"""Attribution of predictions to bases, and its reduction to k-mer tables; knows no Ray.

`AttributionSettings` and `definition` (settings) say what is computed, `METHODS` (methods) how;
`attribute_windows` (engine) scores the bases of windows; `fold_kmers` and `kmer_table` (kmers,
tables) turn scores into tables, with what chance would give (rotations); `consensus_ranking`
(consensus) compares methods, `spread_over_models` (model_spread) models; `ShardPlan`, `run_shard`
and `merge_shards` (shards) do all of it for a whole split exactly once, `write_tracks` (tracks)
draws the scores along the genome, and `check_attribution` (sanity_checks) asks whether they can be
believed.
"""
