"""Prediction of a whole genome: probabilities of every base, a track and regions; knows no Ray.

`plan_prediction`, `run_piece` (pieces) score a genome in pieces, exactly once; `write_results`
(results) turns probabilities into track and regions, whose tables region_tables writes;
expected_precision says how many calls may be right; `PredictionRecord` (prediction_record) is the
manifest. embedding_shards writes hidden states of regions or of prepared windows.
"""
