"""Real examples: sources (what they are), order (which ones make batch t), loader (how they reach the device)."""
