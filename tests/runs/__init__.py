"""Tests of hyena-ray: runs."""
