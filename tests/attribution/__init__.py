"""Tests of hyena-ray: attribution."""
