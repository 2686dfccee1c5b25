"""What training minimises, and the contrasts it is minimised over."""
