"""Where the cluster's scheduler is, as Redis knows it.

`init(redis_address="host:6379")` asks a Redis server for the Dask scheduler.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ray_on_dask.errorlog.first_words import ask
from ray_on_dask.errorlog.server import Shard, connection_options

_KEY = "ray_on_dask:scheduler_address"


def url_of(redis_address: str, password: str | None = None) -> str:
    """A URL for `"host:port"` and a password; what is a URL already is given back as it is."""
    if "://" in redis_address:
        return redis_address
    secret = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{secret}{redis_address}/0"


def set_address(url: str, scheduler_address: str) -> None:
    """Let it be known at the Redis server `url` that the scheduler is at `scheduler_address`.

    Raises
    ------
    ConnectionError
        If the server cannot be reached or refuses us.
    """
    _ask(url, lambda client: client.set(_KEY, scheduler_address))


def set_address_at(shard: Shard, scheduler_address: str) -> None:
    """The same at a server of our own; `OSError` if it cannot be reached or refuses us."""
    ask(shard.host, shard.port, shard.password, "SET", _KEY, scheduler_address)


def get_address(redis_address: str, password: str | None = None) -> str:
    """The scheduler's address, as the Redis server at `redis_address` knows it.

    Parameters
    ----------
    redis_address : str
        `"host:port"`, or a URL.
    password : str, optional
        Of the server, unless the URL has it.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, refuses us, or knows no scheduler.
    """
    found = _ask(url_of(redis_address, password), lambda client: client.get(_KEY))
    if found is None:
        raise ConnectionError(f"Redis at {_shown(redis_address)} knows of no scheduler")
    address: str = found.decode()
    return address


def _ask(url: str, request: Any) -> Any:
    import redis

    client = redis.Redis.from_url(url, **connection_options())
    try:
        return request(client)
    except redis.exceptions.AuthenticationError as error:
        raise ConnectionError(f"Redis at {_shown(url)} refuses the password") from error
    except (redis.RedisError, OSError) as error:
        raise ConnectionError(f"Redis at {_shown(url)} cannot be used: {error}") from error
    finally:
        client.close()


def _shown(url: str) -> str:
    """The address without the password."""
    return url.rpartition("@")[2]
