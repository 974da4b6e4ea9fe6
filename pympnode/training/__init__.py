"""Training: one loop for both engines and both halves. A Task is all that differs."""
