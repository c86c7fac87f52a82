"""TCP ports of this machine: which is free, and who holds one."""

import socket
from contextlib import closing

import psutil

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server of ours could listen on `port` of the loopback address now."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody holds at this moment, chosen by the kernel."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def next_free(port: int) -> int:
    """The first free port above `port`, or any free one when none is left above."""
    for candidate in range(port + 1, 65536):
        if is_free(candidate):
            return candidate
    return free_port()


def holder(port: int) -> str | None:
    """Who listens on `port`, such as `nginx (pid 812)`; None where the system does not tell."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for connection in connections:
        if (
            connection.status != psutil.CONN_LISTEN
            or getattr(connection.laddr, "port", None) != port
        ):
            continue
        if connection.pid is None:
            return None
        try:
            return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
        except psutil.Error:
            return f"pid {connection.pid}"
    return None
