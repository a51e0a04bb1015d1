"""Models: the Hyena operator, HyenaDNA and its heads, baselines, checkpoints and LoRA targets."""
