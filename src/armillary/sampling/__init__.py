"""From a request to what the model says happens: solver, guidance, memory, pictures, words."""
