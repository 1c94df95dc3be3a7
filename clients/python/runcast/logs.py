"""A handler of the standard `logging` that publishes each record as an event."""

from __future__ import annotations

import logging

from ._client import Worker


class LogHandler(logging.Handler):
    """Publishes records as events `log` with `{ level, logger, message, error? }`, in batches.

    >>> logging.getLogger().addHandler(LogHandler(session.worker("agent")))
    """

    def __init__(self, worker: Worker, level: int = logging.NOTSET, type: str = "log") -> None:
        super().__init__(level)
        self._type = type
        self._batch = worker.batch(seconds=0.2)

    def emit(self, record: logging.LogRecord) -> None:
        # What the client itself logs while it sends would be sent again, for ever.
        if record.name.split(".", 1)[0] in ("runcast", "httpx", "httpcore"):
            return
        try:
            data = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
            if record.exc_info and record.exc_info[1] is not None:
                data["error"] = (self.formatter or logging.Formatter()).formatException(record.exc_info)
            self._batch.publish(self._type, data, time=int(record.created * 1000))
        except Exception:  # noqa: BLE001 - a log must not end what it logs
            self.handleError(record)

    def flush(self) -> None:
        try:
            self._batch.flush()
        except Exception:  # noqa: BLE001 - as above
            pass

    def close(self) -> None:
        try:
            self._batch.close()
        except Exception:  # noqa: BLE001 - as above
            pass
        super().close()
