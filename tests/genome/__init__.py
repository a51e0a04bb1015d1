"""Tests of hyena-ray: genome."""
