"""Programs on this machine: starting them, watching them, and ending them with everything they started.

Nothing is left running, whatever is killed, and whenever; imports only `local.errors` and `local.settings`.
"""
