"""What the simulator keeps on disk: the journal of everything that happened, the jobs, and their objects.

Imports `local.simulator.data`; the HTTP interface above it is in `local.simulator.service`.
"""
