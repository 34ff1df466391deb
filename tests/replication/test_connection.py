"""TLS is honoured for real, and a failed connection says what is wrong without secrets."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from cd2.replication.database.client import client_context
from cd2.replication.database.connection import DatabaseTarget, connect
from cd2.replication.errors import Cd2Error, StopAll, TransientError
from local.postgres import EmbeddedPostgres
from tests.replication.tls import tls_proxy

TargetWith = Callable[..., DatabaseTarget]


@dataclass(frozen=True)
class TlsServer:
    """A PostgreSQL reached over TLS whose certificate is for 127.0.0.1.

    :param seen: how each connection came in.
    :param trusted: a PEM file with the authority that signed its certificate.
    :param foreign: one with another authority.
    """

    port: int
    seen: list[str]
    trusted: Path
    foreign: Path


@pytest.fixture
def tls_server(postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[TlsServer]:
    ours, other = trustme.CA(), trustme.CA()
    trusted, foreign = tmp_path / "ours.pem", tmp_path / "foreign.pem"
    ours.cert_pem.write_to_path(str(trusted))
    other.cert_pem.write_to_path(str(foreign))
    with tls_proxy(ours.issue_cert("127.0.0.1"), postgres.port) as (port, seen):
        yield TlsServer(port, seen, trusted, foreign)


def query(target: DatabaseTarget) -> int:
    async def run() -> int:
        connection = await connect(target, patience_s=0)
        try:
            return int(await connection.fetchval("SELECT 42"))
        finally:
            await connection.close()

    return asyncio.run(run())


def failure(target: DatabaseTarget) -> Cd2Error:
    with pytest.raises(Cd2Error) as caught:
        query(target)
    assert target.password not in str(caught.value)
    assert "direct cause" not in (shown := "".join(traceback.format_exception(caught.value)))
    assert "During handling" not in shown
    assert target.password not in shown
    return caught.value


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_trusted_server_is_reached_over_tls(tls_server: TlsServer, target_with: TargetWith, sslmode: str) -> None:
    assert query(target_with(port=tls_server.port, sslmode=sslmode, sslrootcert=str(tls_server.trusted))) == 42
    assert tls_server.seen == ["tls"]


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_a_server_signed_by_somebody_else_is_refused(
    tls_server: TlsServer, target_with: TargetWith, sslmode: str
) -> None:
    error = failure(target_with(port=tls_server.port, sslmode=sslmode, sslrootcert=str(tls_server.foreign)))
    assert isinstance(error, StopAll)
    assert "is not trusted" in error.message
    assert "database_sslrootcert" in error.message


def test_a_wrong_host_name_is_refused_by_verify_full_only(tls_server: TlsServer, target_with: TargetWith) -> None:
    there = {"host": "localhost", "port": tls_server.port, "sslrootcert": str(tls_server.trusted)}
    assert query(target_with(**there, sslmode="verify-ca")) == 42
    error = failure(target_with(**there, sslmode="verify-full"))
    assert isinstance(error, StopAll)
    assert "localhost" in error.message


def test_the_default_bundle_does_not_trust_a_private_authority(tls_server: TlsServer, target_with: TargetWith) -> None:
    from cd2.settings import RDS_CA_BUNDLE

    error = failure(target_with(port=tls_server.port, sslmode="verify-full", sslrootcert=str(RDS_CA_BUNDLE)))
    assert "is not trusted" in error.message


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
def test_the_authorities_that_the_machine_trusts_may_be_used(
    tls_server: TlsServer, target_with: TargetWith, monkeypatch: pytest.MonkeyPatch, sslmode: str
) -> None:
    target = target_with(port=tls_server.port, sslmode=sslmode, sslrootcert="system")
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.foreign))
    assert "is not trusted" in failure(target).message
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_server.trusted))
    assert query(target) == 42
    elsewhere = target_with(port=tls_server.port, sslmode=sslmode, sslrootcert="system", host="localhost")
    if sslmode == "verify-full":
        assert "localhost" in failure(elsewhere).message
    else:
        assert query(elsewhere) == 42


def test_disable_really_disables(tls_server: TlsServer, target_with: TargetWith) -> None:
    assert query(target_with(port=tls_server.port, sslmode="disable")) == 42
    assert tls_server.seen == ["clear"]


def test_require_fails_where_the_server_has_no_tls(target_with: TargetWith) -> None:
    error = failure(target_with(sslmode="require"))
    assert isinstance(error, TransientError)
    assert "rejected SSL" in error.message


def test_the_official_clients_loader_uses_the_same_verified_connection(
    tls_server: TlsServer, target_with: TargetWith
) -> None:
    async def open_with(rootcert: Path) -> None:
        target = target_with(port=tls_server.port, sslmode="verify-full", sslrootcert=str(rootcert))
        async with client_context(target):
            pass

    asyncio.run(open_with(tls_server.trusted))
    assert tls_server.seen == ["tls"]
    with pytest.raises(StopAll, match="is not trusted"):
        asyncio.run(open_with(tls_server.foreign))


def test_a_wrong_password_is_told_without_it(target_with: TargetWith) -> None:
    error = failure(target_with(password="wrong-pw-7"))
    assert isinstance(error, StopAll)
    assert "PostgreSQL refused the login" in error.message


def test_a_missing_database_is_told(target_with: TargetWith) -> None:
    error = failure(target_with(dbname="no_such_db"))
    assert isinstance(error, StopAll)
    assert 'database "no_such_db" does not exist' in error.message


def test_a_server_that_is_not_there_is_worth_another_try(target_with: TargetWith) -> None:
    error = failure(target_with(port=1))
    assert type(error) is TransientError
    assert "127.0.0.1:1" in error.message
    assert "cannot be reached" in error.message
