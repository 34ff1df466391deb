"""The HTTP interfaces of the simulator: DAP itself, the object store, and the control calls of tests and of the runner.

Imports everything else in the simulator; only `local.simulator.__main__` puts it together.
"""
