"""Tests of hyena-ray: model."""
