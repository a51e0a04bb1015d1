"""Tests of hyena-ray: foundation."""
