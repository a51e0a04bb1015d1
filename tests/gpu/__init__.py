"""Tests that need a GPU; `make test` skips them on a machine without one."""
