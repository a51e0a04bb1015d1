"""Tests of hyena-ray: tuning."""
