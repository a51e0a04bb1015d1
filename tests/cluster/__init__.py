"""Tests of hyena-ray: cluster."""
