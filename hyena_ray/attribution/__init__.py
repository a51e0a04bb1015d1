"""Attribution of predictions to bases, and its reduction to k-mer tables. Knows no Ray."""
