"""Tests of hyena-ray: pretraining."""
