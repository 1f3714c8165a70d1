"""What a GPU can do: images a second by path and batch size, beside its limits."""
