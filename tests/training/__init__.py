"""Tests of hyena-ray: training."""
