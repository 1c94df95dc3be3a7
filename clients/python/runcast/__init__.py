"""Publishes to a Runcast hub, and follows what others publish.

>>> import runcast
>>> with runcast.connect("http://127.0.0.1:4600") as client:
...     session = client.session("build-42")
...     session.publish("execution_started", {"by": "ci"})
"""

from ._client import Batch, Client, Command, Commands, Holding, Session, Subscription, Worker, connect
from ._core import Event, HubError, HubUnavailable, Published, RuncastError
from .logs import LogHandler

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "Client",
    "Command",
    "Commands",
    "Event",
    "Holding",
    "HubError",
    "HubUnavailable",
    "LogHandler",
    "Published",
    "RuncastError",
    "Session",
    "Subscription",
    "Worker",
    "connect",
]
