"""The supervisor: small, and the only process that must not fail.

It owns the listening sockets, the spool's lock, and the list of who owns which shard. It starts workers, gives them shards, replaces
the dead and the hung, and passes signals on (`operators` answers the control socket). It takes no mail and runs no plugin code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from upesi.config.loading import load
from upesi.config.settings import Config, LogSettings
from upesi.control.channel import Call, Handler
from upesi.control.errors import ChannelClosed, RequestFailed, RequestTimeout
from upesi.control.hints import remove_hints
from upesi.control.lines import remove_lines
from upesi.limits.shares import Allocator
from upesi.mail.errors import UpesiError
from upesi.observe.events import Events
from upesi.runtime.check import Doubted, check_in_child
from upesi.runtime.fixed import fixed_that_differ
from upesi.runtime.messages import Configure, Drain, Idle, Shards, Yield, encode_config
from upesi.runtime.operators import Operators
from upesi.runtime.process import WorkerProcess
from upesi.runtime.roster import Moves, Roster
from upesi.runtime.share_ledger import ShareLedger
from upesi.runtime.sockets import Bound, bind_all, close_all, close_fresh, inherited, workers_of
from upesi.runtime.tasks import OwnTasks
from upesi.spool.admin import SpoolAdmin
from upesi.spool.room import check_room
from upesi.spool.store import SpoolError

__all__ = ["StartFailed", "Supervisor"]

T = TypeVar("T")

# a worker whose loop showed no sign of life for this long is killed and replaced (it says "alive" every second)
_HUNG = 5.0
# a worker opens the spool, loads plugins and says that it is ready
_START = 60.0
# a worker that dies at once is not started again at once for ever: waits double up to the second figure
_BACKOFF = (0.5, 30.0)
# between two tries to write to a spool that could not be written
_SPOOL_AGAIN = 1.0
# beyond the drain that was promised to a worker, before it is killed
_GRACE = 5.0


class StartFailed(UpesiError):
    """The server could not start, or a reload could not be done; the text says why."""


class Supervisor:
    """See the module. `path` and `overrides` are where the configuration is read again at a reload."""

    def __init__(
        self,
        path: Path | None,
        overrides: tuple[str, ...],
        config: Config,
        admin: SpoolAdmin,
        make_events: Callable[[LogSettings], Events],
    ) -> None:
        """`make_events` opens the log of this process; where it raises OSError, so do we."""
        # as a reload names it, to somebody who need not know in which folder the server was started
        self._path = path.absolute() if path else None
        self._overrides = overrides
        self._config = config
        self._make_events = make_events
        self._events = make_events(config.log)
        self._admin = admin
        # the store's administration is synchronous and used by one thread at a time, in order
        self._thread = ThreadPoolExecutor(1, "spool-admin")
        self._roster = Roster()
        self._shares = ShareLedger(Allocator(config.delivery.connections), self._worker)
        self._workers: dict[int, WorkerProcess] = {}
        self._sockets: Bound = {}
        self._failures: dict[int, int] = {}
        self._tasks = OwnTasks(lambda error: self._failed("task", error))
        self.doubted: Sequence[str] = ()
        # processes that are being started and not among the workers yet
        self._births = 0
        self._stopped = asyncio.Event()
        # set whenever the last worker has gone
        self._deserted = asyncio.Event()
        self._stopping = False
        self._reloading = asyncio.Lock()
        self._operators = Operators(self, admin, self._in_thread, self._failed)

    # -- life

    async def start(self) -> bool:
        """Bind, start the workers, give them their shards, and open for mail; raise StartFailed or ListenError.

        Return False where we were told to stop meanwhile: there is nothing to do then but `run`.
        """
        # before anything else: whoever is greeted may tell us to stop
        self._heed_signals()
        if trouble := check_room(Path(self._config.spool.path), int(self._config.spool.min_free)):
            self._events.emit("spool.room", {"text": trouble})
        remove_hints(self._config.spool.path)
        remove_lines(self._config.spool.path)
        try:
            # a reload that is asked for meanwhile waits
            async with self._reloading:
                self._sockets = bind_all(self._config.listener, workers_of(self._config))
                await self._operators.listen()
                await self._enter(await self._start_crew(self._config))
        except StartFailed:
            if self._stopping:
                return False
            raise
        self._tasks.run(self._watch())
        if not self._stopping:
            listeners = ", ".join(f"{address}:{port}" for address, port in self.addresses)
            self._events.emit(
                "server.started", {"pid": os.getpid(), "listeners": listeners, "spool": self._config.spool.path}
            )
        return not self._stopping

    def doubt(self, doubted: Doubted) -> None:
        """Log what is valid in the configuration that now counts, and yet cannot be meant; of certificates a worker tells."""
        self.doubted = [*doubted.settings, *doubted.certificates]
        for warning in doubted.settings:
            self._events.emit("config.doubted", {"text": warning})

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._tasks.run(self._reload_by_signal()))

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        await self._stopped.wait()

    def stop(self) -> None:
        """Drain the workers and end; a second call ends at once."""
        if self._stopping:
            for worker in self._workers.values():
                worker.kill()
            return
        self._stopping = True
        self._tasks.run(self._drain())

    async def _drain(self) -> None:
        bound = float(self._config.node.drain)
        self._events.emit("server.stopping", {"drain": bound})
        for worker in self._workers.values():
            if self._ready(worker):
                worker.notify("drain", Drain(bound))
            else:
                # it holds nothing yet, and could not hear us before it is configured
                worker.kill()
        await self._wait_for_ends(bound + _GRACE)
        for worker in list(self._workers.values()):
            worker.kill()
        await self._wait_for_ends(_GRACE)
        await self._close()
        self._events.emit("server.stopped", {})
        self._events.close()
        self._stopped.set()

    async def abandon(self) -> None:
        """Undo a start that failed."""
        self._stopping = True
        for worker in self._workers.values():
            worker.kill()
        await self._wait_for_ends(_GRACE)
        await self._close()
        self._events.close()

    async def _close(self) -> None:
        await self._operators.close()
        for sockets in self._sockets.values():
            close_all(sockets)
        self._sockets.clear()
        await self._in_thread(self._admin.close)
        self._thread.shutdown(wait=True)

    async def _wait_for_ends(self, seconds: float) -> None:
        """Wait until no worker is left or being born, or for so many seconds."""
        if self._workers or self._births:
            self._deserted.clear()
            try:
                await asyncio.wait_for(self._deserted.wait(), seconds)
            except TimeoutError:
                pass

    # -- listeners

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the listeners really listen (port 0 in the configuration: the kernel's choice)."""
        return [sockets[0].getsockname()[:2] for sockets in self._sockets.values()]

    # -- workers

    async def _start_crew(self, config: Config, bound: Bound | None = None) -> list[WorkerProcess]:
        """Start one worker per slot, all at once, on the sockets `bound` (ours); on failure none is left. Raise StartFailed."""
        results = await asyncio.gather(
            *(self._start_worker(config, slot, bound) for slot in range(workers_of(config))), return_exceptions=True
        )
        crew = [result for result in results if isinstance(result, WorkerProcess)]
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            for worker in crew:
                worker.kill()
            raise (
                errors[0] if isinstance(errors[0], StartFailed) else StartFailed(f"a worker did not start: {errors[0]}")
            )
        return crew

    async def _start_worker(self, config: Config, slot: int, bound: Bound | None = None) -> WorkerProcess:
        epoch = await self._in_thread(self._admin.register_member)
        if self._stopping:
            raise StartFailed("the server is stopping")
        listeners = inherited(config, slot, self._sockets if bound is None else bound)
        try:
            worker = await self._bear(epoch, slot, [listener.fd for listener in listeners], config.node.user)
            request = Configure(
                encode_config(config), str(self._path or ""), epoch, slot, workers_of(config), listeners
            )
            await worker.request("configure", request, timeout=_START)
        except (RequestFailed, RequestTimeout, ChannelClosed, OSError, KeyError) as error:
            # OSError: no more processes or memory; KeyError: node.user has gone
            if epoch in self._workers:
                self._workers[epoch].kill()
            raise StartFailed(f"worker {slot} did not start: {error}") from error
        worker.seen = asyncio.get_running_loop().time()
        return worker

    async def _bear(self, epoch: int, slot: int, inherit: list[int], user: str) -> WorkerProcess:
        """Start a process and enter it among the workers; one that is born while we stop is killed at once. Raise OSError or KeyError."""
        self._births += 1
        try:
            worker = self._workers[epoch] = await WorkerProcess.start(
                epoch,
                slot,
                inherit=inherit,
                handlers=self._worker_handlers(epoch),
                failed=self._failed,
                ended=self._ended,
                user=user,
            )
        finally:
            self._births -= 1
            self._look_for_desertion()
        if self._stopping:
            worker.kill()
        return worker

    def _ready(self, worker: WorkerProcess) -> bool:
        """Whether it has taken its place in the crew: from then on it may hold mail."""
        return worker.epoch in self._roster.active or worker.epoch in self._roster.retiring

    def _look_for_desertion(self) -> None:
        if not self._workers and not self._births:
            self._deserted.set()

    async def _enter(self, crew: list[WorkerProcess]) -> None:
        """Take a crew that is ready into the roster: shares, shards, then the doors open."""
        crew = [worker for worker in crew if worker.alive]
        for worker in crew:
            self._shares.join(worker.epoch)
        await self._apply(self._roster.joined(worker.epoch for worker in crew))
        for worker in crew:
            if self._stopping or not worker.alive:
                continue
            self._failures.pop(worker.slot, None)
            worker.notify("open")
            self._events.emit("worker.started", {"worker": worker.slot, "pid": worker.pid, "epoch": worker.epoch})

    async def _apply(self, moves: Moves) -> None:
        """Write assignments to the store, then tell the workers."""
        if moves.assign:
            await self._written(lambda: self._admin.assign(moves.assign))
        for epoch, shards in moves.yields.items():
            if (worker := self._worker(epoch)) is not None:
                worker.notify("yield", Yield(sorted(shards)))
        if moves.assign or moves.yields:
            self._publish()

    def _publish(self) -> None:
        """Tell every worker what it owns and whom to hint for the rest."""
        owned: dict[int, list[int]] = {}
        for shard, epoch in self._roster.owners.items():
            owned.setdefault(epoch, []).append(shard)
        for worker in self._workers.values():
            others = {str(epoch): shards for epoch, shards in owned.items() if epoch != worker.epoch}
            worker.notify("shards", Shards(sorted(self._roster.shards_of(worker.epoch)), others))

    def _worker(self, epoch: int) -> WorkerProcess | None:
        worker = self._workers.get(epoch)
        return worker if worker is not None and worker.alive else None

    def _worker_handlers(self, epoch: int) -> Mapping[str, Handler]:
        def alive(call: Call) -> None:
            if (worker := self._worker(epoch)) is not None:
                worker.seen = asyncio.get_running_loop().time()

        def idle(call: Call) -> None:
            self._tasks.run(self._apply(self._roster.idle(epoch, call.arguments_as(Idle).shards)))

        def counted(call: Call) -> None:
            # also of one that has ended: what it said last may be read behind its exit status
            if epoch in self._workers and isinstance(call.arguments, bytes):
                self._operators.counted(epoch, call.arguments)

        return {
            "alive": alive,
            "idle": idle,
            "counted": counted,
            # ETRN
            "queue.retry": self._operators.retry,
            **self._shares.handlers(epoch),
        }

    # -- death and replacement

    def _ended(self, worker: WorkerProcess) -> None:
        self._tasks.run(self._bury(worker))

    async def _bury(self, worker: WorkerProcess) -> None:
        """A worker's process has ended: its mail has a new owner at once, its slot a new worker."""
        self._operators.retired(worker.epoch)
        was_ready = self._ready(worker)
        remove_hints(self._config.spool.path, str(worker.epoch))
        remove_lines(self._config.spool.path, str(worker.epoch))
        expected = self._stopping or worker.retiring
        # at a stop the next start takes everything from everybody
        with contextlib.suppress(SpoolError):
            weight = 0 if expected else worker.weight
            for event in (await self._written(lambda: self._admin.expel(worker.epoch, weight))).held:
                self._events.emit(event.kind, {"message": event.message.hex(), **event.fields})
        # what it was receiving is worth nothing: kept until a full stop, killed workers would fill the disk
        await self._in_thread(lambda: self._admin.clear_temporary_of(worker.pid))
        self._workers.pop(worker.epoch, None)
        self._look_for_desertion()
        self._shares.gone(worker.epoch)
        await self._apply(self._roster.gone(worker.epoch))
        fields = {"worker": worker.slot, "pid": worker.pid, "epoch": worker.epoch, "status": worker.exit_status or 0}
        self._events.emit("worker.ended" if expected else "worker.died", fields)
        # one that never became ready is the business of whoever started it
        if was_ready and not expected:
            await self._replace(worker)

    async def _written(self, change: Callable[[], T]) -> T:
        """Make a change of the spool. Where it cannot be written now (a full disk), go on trying, unless we stop: raise SpoolError then."""
        while True:
            try:
                return await self._in_thread(change)
            except SpoolError as error:
                if self._stopping:
                    raise
                self._events.emit("spool.failed", {"error": type(error).__name__, "text": str(error)})
                await asyncio.sleep(_SPOOL_AGAIN)

    async def _replace(self, worker: WorkerProcess) -> None:
        quick = asyncio.get_running_loop().time() - worker.started < _BACKOFF[1]
        count = self._failures[worker.slot] = self._failures.get(worker.slot, 0) + 1 if quick else 0
        while not self._stopping:
            if count > 1:
                await asyncio.sleep(min(_BACKOFF[0] * 2.0 ** (count - 2), _BACKOFF[1]))
            try:
                await self._enter([await self._start_worker(self._config, worker.slot)])
                return
            except (StartFailed, SpoolError) as error:
                count += 1
                self._events.emit("worker.failed", {"worker": worker.slot, "text": str(error)})

    async def _watch(self) -> None:
        """Look once a second for workers that hang, and let shares take turns."""
        loop = asyncio.get_running_loop()
        while not self._stopped.is_set():
            before = loop.time()
            await asyncio.sleep(1)
            late = loop.time() - before - 1
            for worker in [worker for worker in self._workers.values() if worker.alive]:
                # when we were stopped ourselves (SIGSTOP, a starved machine), silence says nothing about them
                worker.seen += late if late > 0.5 else 0
                if loop.time() - worker.seen > _HUNG and self._ready(worker):
                    self._events.emit("worker.hung", {"worker": worker.slot, "pid": worker.pid, "epoch": worker.epoch})
                    worker.hung = True
                    worker.kill()
            self._shares.balance()

    # -- reload

    async def reload(self) -> int:
        """Replace configuration, plugin code and workers; return how many there are.

        Raise UpesiError, with nothing changed, where the new ones are no good; the log says so too, whoever asked.
        """
        try:
            return await self._reload()
        except UpesiError as error:
            self._events.emit("server.reload_refused", {"text": str(error)})
            raise

    async def _reload(self) -> int:
        async with self._reloading:
            if self._stopping:
                raise StartFailed("the server is stopping")
            doubted = await check_in_child(self._path, self._overrides)
            config = load(self._path, self._overrides)
            if self._stopping:
                raise StartFailed("the server is stopping")
            if changed := fixed_that_differ(config, self._config):
                raise StartFailed(
                    f"{', '.join(changed)} cannot change while the server runs: stop it and start it again"
                )
            bound = bind_all(config.listener, workers_of(config), self._sockets)
            old = [worker for worker in self._workers.values() if not worker.retiring]
            try:
                events = self._make_events(config.log)
                crew = await self._start_crew(config, bound)
            except BaseException as error:
                # a socket that listens, and that nobody accepts from, would swallow its share of the connections
                close_fresh(bound, self._sockets)
                if isinstance(error, OSError):
                    raise StartFailed(f"log.file cannot be opened: {error.strerror}: {config.log.file}") from error
                raise
            self._sockets.update(bound)
            self._config = config
            self._events, before = events, self._events
            before.close()
            self.doubt(doubted)
            self._failures.clear()
            for worker in old:
                worker.retiring = True
            await self._enter(crew)
            for worker in old:
                worker.notify("retire")
            await self._apply(self._roster.retire(worker.epoch for worker in old))
            self._unbind(config)
            self._shares.resize(config.delivery.connections)
            self._events.emit("server.reloaded", {"workers": len(crew)})
            return len(crew)

    def _unbind(self, config: Config) -> None:
        """Let go of addresses that the new configuration does not name; retiring workers have stopped accepting there."""
        wanted = {(listener.address, listener.port) for listener in config.listener}
        for key in [key for key in self._sockets if key not in wanted]:
            close_all(self._sockets.pop(key))

    async def _reload_by_signal(self) -> None:
        with contextlib.suppress(UpesiError):
            # the log has said it, and there is nobody else to tell
            await self.reload()

    # -- operators

    @property
    def trouble(self) -> str:
        """Why we are not ready for mail; empty if we are."""
        if self._stopping:
            return "stopping"
        return "" if self._roster.active else "no worker is ready"

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._config

    def crew(self) -> list[dict[str, object]]:
        """Return what is known here of every worker."""
        return [
            {
                "slot": worker.slot,
                "pid": worker.pid,
                "epoch": worker.epoch,
                "state": "retiring" if worker.retiring else "active",
                "shards": len(self._roster.shards_of(worker.epoch)),
            }
            for worker in self._workers.values()
        ]

    def tell_all(self, name: str) -> None:
        """Send every worker a notice."""
        for worker in self._workers.values():
            worker.notify(name)

    async def ask_all(self, name: str, timeout: float, arguments: object = None) -> dict[int, object]:
        """Ask every living worker, and return the answers by epoch; one that does not answer is left out."""

        async def ask(worker: WorkerProcess) -> tuple[int, object]:
            try:
                return worker.epoch, await worker.request(name, arguments, timeout=timeout)
            except (RequestFailed, RequestTimeout, ChannelClosed) as error:
                self._events.emit("worker.silent", {"worker": worker.slot, "request": name, "text": str(error)})
                return worker.epoch, None

        answers = await asyncio.gather(*(ask(worker) for worker in list(self._workers.values()) if worker.alive))
        return {epoch: answer for epoch, answer in answers if answer is not None}

    # -- help

    def _failed(self, name: str, error: BaseException) -> None:
        self._events.failure("supervisor.failed", error, {"request": name})

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
