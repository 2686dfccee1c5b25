"""Training: the plan, where pairs come from, devices, checkpoints, the loop."""
