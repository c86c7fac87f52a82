"""The role of those who only need to know how much work waits, such as an autoscaler."""

from psycopg import Connection as Psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, func, select

from hearsight_core.errors import ReaderRoleError

READER = "hearsight_reader"
LOAD_VIEW = "queue_load"


def let_read(connection: Connection, password: str) -> None:
    """Makes the role with this password, or gives it this password; it may read the load alone.

    The server is sent a SCRAM verifier (RFC 5803), never the password: statements can end up in its
    log.

    Raises:
        ReaderRoleError: the connection's user may not do that.
    """
    [database, schema] = connection.execute(
        select(func.current_database(), func.current_schema())
    ).one()
    server = connection.connection.driver_connection
    assert isinstance(server, Psycopg)  # noqa: S101  the one driver in use
    verifier = server.pgconn.encrypt_password(
        password.encode(), READER.encode(), b"scram-sha-256"
    ).decode()
    known = server.execute("SELECT FROM pg_roles WHERE rolname = %s", [READER]).fetchone()
    role = "CREATE ROLE" if known is None else "ALTER ROLE"
    statements = (
        f"{role} {{reader}} LOGIN PASSWORD {{verifier}}",
        "GRANT CONNECT ON DATABASE {database} TO {reader}",
        "GRANT USAGE ON SCHEMA {schema} TO {reader}",
        "GRANT SELECT ON {schema}.{view} TO {reader}",
    )
    names = {
        "reader": sql.Identifier(READER),
        "verifier": sql.Literal(verifier),
        "database": sql.Identifier(database),
        "schema": sql.Identifier(schema),
        "view": sql.Identifier(LOAD_VIEW),
    }
    try:
        for statement in statements:
            server.execute(sql.SQL(statement).format(**names))
    except InsufficientPrivilege as error:
        detail = str(error).partition("\n")[0]
        raise ReaderRoleError(role=READER, detail=detail) from error
