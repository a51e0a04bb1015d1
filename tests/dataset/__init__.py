"""Tests of hyena-ray: dataset."""
