"""How a request can fail, apart from the frames themselves (`frames.FrameError`)."""

from __future__ import annotations

from upesi.mail.errors import UpesiError

__all__ = ["ChannelClosed", "RequestFailed", "RequestTimeout", "ServerDown"]


class ChannelClosed(UpesiError):
    """The other end has gone, or does not read."""


class RequestFailed(UpesiError):
    """The other end answered that it could not."""


class RequestTimeout(UpesiError):
    """There was no answer before the deadline; whether it was done is not known."""


class ServerDown(UpesiError):
    """Nobody answers on the control socket."""
