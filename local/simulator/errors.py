"""The errors that the simulator shows to people."""

CANNOT_START = 2
"""Exit status of a simulator that cannot start."""
OTHER_VERSION = 3
"""The same, because another version of it has written the state directory."""


class StateError(RuntimeError):
    """The simulator cannot start: one sentence that says why."""


class OtherVersionError(StateError):
    """The state directory was written by another version of the simulator."""


class ControlError(ValueError):
    """A control request that cannot be carried out: one sentence that says why."""
