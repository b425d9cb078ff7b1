"""Real examples: sources (what they are), order (which ones make batch t), pipeline (how they reach the device)."""
