"""What only a GPU can show; `make test` skips it elsewhere."""
