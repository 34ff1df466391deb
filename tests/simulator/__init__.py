"""The DAP simulator, as the official client sees it."""
