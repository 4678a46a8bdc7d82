"""The Deliverer of the scheduler: the agent that knows a destination's kind of route starts its connection."""

from __future__ import annotations

from upesi.delivery.agents.discard import DiscardAgent
from upesi.delivery.agents.http import HttpAgent
from upesi.delivery.agents.maildir import MaildirAgent
from upesi.delivery.agents.pipe import PipeAgent
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.mail.route import DiscardRoute, HostRoute, HttpRoute, LmtpRoute, MaildirRoute, MxRoute, PipeRoute, Route
from upesi.scheduler.work import Deliverer, Running, Work

__all__ = ["AgentDeliverer"]


class AgentDeliverer:
    """Hands each `Work` to its agent."""

    __slots__ = ("_agents",)

    def __init__(
        self, smtp: SmtpAgent, maildir: MaildirAgent, pipe: PipeAgent, http: HttpAgent, discard: DiscardAgent
    ) -> None:
        self._agents: dict[type[Route], Deliverer] = {
            MxRoute: smtp,
            HostRoute: smtp,
            LmtpRoute: smtp,
            MaildirRoute: maildir,
            PipeRoute: pipe,
            HttpRoute: http,
            DiscardRoute: discard,
        }

    def start(self, work: Work) -> Running:
        """Start delivering `work.destination`'s mail over one connection."""
        return self._agents[type(work.destination.route)].start(work)
