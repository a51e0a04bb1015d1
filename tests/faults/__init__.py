"""Tests of hyena-ray: faults."""
