"""Tests of hyena-ray: report."""
