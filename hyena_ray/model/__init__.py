"""Models: HyenaDNA and its heads, baselines, LoRA, checkpoints and the readout of windows.

The face of the room: `settings` (checked without importing torch), `build.build_model`,
`saved.load_window_model` and `save_window_model`, `window.WindowModel`, `predictor.load`, and
`huggingface`, whose import registers the models with transformers' Auto classes.
"""
