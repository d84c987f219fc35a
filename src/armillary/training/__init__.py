"""Learning: what is drawn, how it is marked, one step, the loop around it, and the stages of the bundled model."""
