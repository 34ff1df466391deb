"""Every failure in our own words, as one of five kinds.

The kind decides what happens next (docs/operations.md tells people the same):

====================  ==========================================================================================
class                 what the DAG does
====================  ==========================================================================================
TransientError        the task fails, and Airflow retries it
WaitError             the same, but not before the time that the service set
ReinitRequired        the table is re-initialized in the same run
TableFailure          the table fails at once: a retry would fail the same way; a person must act
StopAll               like TableFailure, but for every table (credentials, account, database)
====================  ==========================================================================================

`cd2.replication.failures` turns the exceptions of libraries into these. This module imports none of the libraries, so
Airflow's processes can load it cheaply.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from cd2.replication.results import TableResult

_PROMISE = re.compile(r"\b([Ii])t will be retried(?: from there| after [\w ]+)?")
_NEW_JOB = "the retry asks for a new one"
_OF_A_TABLE = re.compile(r"^\w+\.\w+: ")
"""The beginning of a sentence about one table: `canvas.users: `."""
AFTER_THE_LAST = " Clear the task, or wait for the next run."
"""The end of a sentence that once promised a retry."""


def without_retry(message: str) -> str:
    """The sentence of a failure that is not retried any more: it must not promise that."""
    text = _PROMISE.sub(lambda found: "No retry is left" if found[1] == "I" else "no retry is left", message)
    text = text.replace(_NEW_JOB, "the next try asks for a new one")
    return text if text == message else text + AFTER_THE_LAST


def without_table(message: str) -> str:
    """A sentence without the table that it begins with, for a text that has named the table already."""
    return _OF_A_TABLE.sub("", message, count=1)


@dataclass(frozen=True)
class ErrorInfo:
    """What went wrong with a table, as XCom and the notification carry it.

    :param name: the error's class (`class` in JSON).
    :param type: DAP's machine-readable error type, or the SQLSTATE.
    :param uuid: DAP's identifier of the failure, which Instructure's support needs.
    """

    name: str
    message: str
    type: str | None = None
    uuid: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form that docs/reference.md describes."""
        return {"class": self.name, "message": self.message, "type": self.type, "uuid": self.uuid}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ErrorInfo:
        """Read what `to_json` returned."""
        return cls(data["class"], data["message"], data.get("type"), data.get("uuid"))


class Cd2Error(Exception):
    """A failure in our own words.

    :param message: what is wrong, where, and what to do; free of secrets, signed URLs and row values.
    :param cause: class name of the original exception.
    :param type: DAP's machine-readable error type, or the SQLSTATE.
    :param uuid: DAP's identifier of the failure, which Instructure's support needs.

    `result` is the failed table's result, if the failure belongs to one table.
    """

    result: TableResult | None = None

    def __init__(
        self, message: str, *, cause: str | None = None, type: str | None = None, uuid: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.type = type
        self.uuid = uuid

    def is_last(self) -> None:
        """No try follows this failure: its sentence no longer promises one."""
        self.message = without_retry(self.message)
        self.args = (self.message,)

    def met_by(self, table: object) -> Self:
        """The same failure for another table that it concerns too: its sentence begins with that table's name."""
        other = copy.copy(self)
        other.result = None
        if _OF_A_TABLE.match(self.message):
            other.message = f"{table}: {without_table(self.message)}"
            other.args = (other.message,)
        return other

    @property
    def undecided(self) -> str:
        """The sentence for the log of a trigger, which does not know whether another try follows."""
        text = _PROMISE.sub(lambda found: f"{found[1]}t is retried, unless this was the last try", self.message)
        return text.replace(_NEW_JOB, "the next try asks for a new one")

    @property
    def info(self) -> ErrorInfo:
        """The error as results and notifications carry it."""
        return ErrorInfo(self.cause or type(self).__name__, self.message, self.type, self.uuid)


class TransientError(Cd2Error):
    """Temporary: a retry may succeed."""


class WaitError(TransientError):
    """The service tells us to wait: retry later.

    :param seconds: the least time to wait.
    """

    def __init__(self, message: str, *, seconds: float = 60.0, **details: str | None) -> None:
        super().__init__(message, **details)
        self.seconds = seconds


OLDER_SCHEMA = "OlderSchema"
"""Type of the failure of a job whose data does not fit the newest schema, and whose own is not known."""


class FailedJobError(TransientError):
    """DAP could not complete a job: a new one may succeed."""


class ReinitRequired(Cd2Error):
    """DAP no longer has the table's changes: it needs a new snapshot."""


class TableFailure(Cd2Error):
    """Fails until somebody acts."""

    @classmethod
    def because_of(cls, error: Exception, message: str) -> Self:
        """Tell in our words what an error of PostgreSQL is about; its class and SQLSTATE stay."""
        return cls(message, cause=type(error).__name__, type=getattr(error, "sqlstate", None))


class StopAll(TableFailure):
    """Affects every table, not just this one."""


class RefusedCredentials(StopAll):
    """A password or key is refused: it is looked up once more, because it may just have been changed."""


KINDS: dict[str, type[Cd2Error]] = {
    kind.__name__: kind for kind in (TransientError, WaitError, ReinitRequired, TableFailure, StopAll)
}


def to_json(error: Cd2Error) -> dict[str, Any]:
    """The form in which one process hands on an error; a subclass of one of the five kinds becomes that kind."""
    kind = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in (*KINDS, "Cd2Error"))
    data = {"kind": kind, "message": error.message, "cause": error.cause, "type": error.type, "uuid": error.uuid}
    return data | {"seconds": error.seconds} if isinstance(error, WaitError) else data


def from_json(data: Mapping[str, Any]) -> Cd2Error:
    """Read what `to_json` returned."""
    kind = KINDS.get(data["kind"], TransientError)
    details = {"cause": data["cause"], "type": data["type"], "uuid": data["uuid"]}
    if kind is WaitError:
        return WaitError(data["message"], seconds=data["seconds"], **details)
    return kind(data["message"], **details)
