"""Tests of hyena-ray: jobs."""
