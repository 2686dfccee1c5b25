"""From an observation to summaries to features."""
