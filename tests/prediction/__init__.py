"""Tests of hyena-ray: prediction."""
