"""Prediction of a whole genome: probabilities of every base, a track and regions; knows no Ray.

`plan_prediction`, `run_piece` (pieces) score a genome in pieces, exactly once; `call_regions` and
`write_results` (region_calling) turn probabilities into regions and files, by `RegionSettings`
(settings); `PredictionRecord` (prediction_record) is the manifest.
"""
