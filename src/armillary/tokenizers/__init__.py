"""From the world's units to the model's and back: text, actions, video."""
