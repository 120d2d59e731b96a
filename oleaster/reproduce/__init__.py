"""Published evaluations, computed anew and set beside their figures."""
