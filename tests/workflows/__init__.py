"""Tests of hyena-ray: workflows."""
