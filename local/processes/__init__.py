"""Programs on this machine: starting them, watching them, and ending them with everything they started.

Nothing stays behind, whoever is killed at whatever moment; imports only `local.errors` and `local.settings`.
"""
