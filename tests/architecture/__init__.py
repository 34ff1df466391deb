"""Who may import whom, the map of the code, its size; what CI runs."""
