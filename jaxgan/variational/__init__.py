"""What algorithms with an encoder share: densities, objectives, and what is done with encoded examples."""
