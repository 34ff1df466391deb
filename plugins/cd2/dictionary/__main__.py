"""`python -m cd2.dictionary FILE`: writes the data dictionary of the replica that the variable CD2_DSN names.

The variable holds a URL such as postgresql://analyst:password@host:5432/canvas: in an argument, everybody on the
machine could read the password. Any role that may connect will do, also on a server for readers. TLS is verified unless
the URL says otherwise (sslmode=, sslrootcert=), by default with the shipped certificates of RDS.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from cd2.dictionary import catalog
from cd2.dictionary.page import render
from cd2.replication.errors import Cd2Error
from cd2.replication.failures import in_our_words

if TYPE_CHECKING:
    import asyncpg

    from cd2.dictionary.model import Dictionary

VARIABLE = "CD2_DSN"
CONNECT_TIMEOUT_S = 30.0
LOCAL_HOSTS = frozenset({"", "localhost", "127.0.0.1", "::1"})
CERTIFICATES = Path(__file__).parents[1] / "rds-global-bundle.pem"


class DictionaryError(Exception):
    """Why there is no dictionary, and what to do."""


def write(dsn: str, file: Path) -> int:
    """Write the dictionary of a database; an earlier file stays until the new one is complete.

    :param dsn: a URL with login and, unless PGPASSWORD or .pgpass has it, password.
    :returns: how many tables it has.
    :raises DictionaryError: the URL is not one, or the file cannot be written.
    :raises Cd2Error: the database refuses or cannot be reached.
    """
    dictionary = asyncio.run(_read(verified(dsn)))
    unfinished = file.with_name(f".{file.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as out:
            out.writelines(render(dictionary))
        unfinished.replace(file)
    except OSError as problem:
        unfinished.unlink(missing_ok=True)
        raise DictionaryError(f"{file} cannot be written: {problem.strerror}.") from None
    return len(dictionary.tables)


def verified(dsn: str) -> str:
    """The URL; to another machine without sslmode, with `verify-full` and the certificates of RDS.

    :raises DictionaryError: it is no URL of a PostgreSQL database; does not quote it, for it has a password.
    """
    try:
        parts = urlsplit(dsn.strip())
        named = parts.scheme in ("postgresql", "postgres") and parts.hostname and (parts.port or True)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        named = False
    if not named or not parts.path.strip("/"):
        raise DictionaryError(
            f"{VARIABLE} must look like postgresql://analyst:password@host:5432/database, with special characters of "
            "the password percent-encoded."
        )
    if parts.hostname not in LOCAL_HOSTS:
        options.setdefault("sslmode", "verify-full")
        if options["sslmode"].startswith("verify"):
            options.setdefault("sslrootcert", str(CERTIFICATES))
    return parts._replace(query=urlencode(options)).geturl()


async def _read(dsn: str) -> Dictionary:
    connection = await _connected(dsn)
    try:
        return await catalog.read(connection)
    finally:
        await connection.close(timeout=5)


async def _connected(dsn: str) -> asyncpg.Connection:
    import asyncpg

    parts = urlsplit(dsn)
    place = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
    settings = {"application_name": "cd2 dictionary"}
    with in_our_words(f"Connecting to PostgreSQL at {place}"):
        try:
            return await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
        except (OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
    raise DictionaryError(f"PostgreSQL at {place} cannot be reached ({reason}): check host, port, network and sslmode.")


def main(argv: list[str] | None = None) -> None:
    """Write the file (`make dictionary`)."""
    parser = argparse.ArgumentParser(prog="python -m cd2.dictionary", description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("file", type=Path, help="the HTML file to write")
    given = parser.parse_args(argv)
    dsn = os.environ.get(VARIABLE, "")
    if not dsn:
        sys.exit(f"Error: set {VARIABLE} to the URL of the replica: postgresql://analyst:password@host:5432/database")
    try:
        tables = write(dsn, given.file)
    except (DictionaryError, Cd2Error) as error:
        sys.exit(f"Error: {error}")
    if not tables:
        sys.exit(
            f"Error: the database has no table of Canvas Data 2, or this role may not see any; {given.file} is empty."
        )
    print(f"{given.file}: {tables:,} tables, {given.file.stat().st_size / 1e6:.1f} MB. Open it in a browser.")


if __name__ == "__main__":
    main()
