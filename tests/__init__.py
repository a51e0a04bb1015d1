"""Tests of hyena-ray, in the rooms of the package."""
