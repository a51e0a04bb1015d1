"""Tests of hyena-ray: cli."""
