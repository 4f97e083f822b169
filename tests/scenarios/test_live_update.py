"""Twenty clients talk for half a minute while modules are updated in all four ways under them.

Every request is answered exactly once, every message arrives exactly once, and every session is the same at the end.
"""

import asyncio
import collections
import itertools
import random
import signal
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError, IqTimeout

from moult import DOMAIN, Scenario

CLIENTS = 20
SECONDS = 30
MODULES = ["mod_echo", "mod_ping", "mod_cputime"]
WATCHING = """
[modules]
watch = "{watch}"
update_on_hup = true
"""


class Talker:
    """One client: sends messages to others and to the echo service, and IQs, and counts what comes back."""

    def __init__(self, client, ledger):
        self.client = client
        self.ledger = ledger
        self.jid = client.boundjid.full
        client.register_plugin("xep_0199")
        client.add_event_handler("message", self.notice)

    def notice(self, message):
        self.ledger.arrived[message["body"]] += 1

    def say(self, to):
        body = f"message {next(self.ledger.numbers)}"
        self.ledger.sent.append(body)
        self.client.send_message(to, body, mtype="chat")

    async def ask(self, namespace, tag):
        iq = self.client.make_iq_get(ito=DOMAIN)
        iq.append(ET.Element(f"{{{namespace}}}{tag}"))
        self.ledger.requests += 1
        try:
            await iq.send(timeout=20)
            self.ledger.answers += 1
        except IqError as error:
            self.ledger.failures.append(f"{namespace}: {error.condition}: {error.text}")
        except IqTimeout:
            self.ledger.failures.append(f"{namespace}: no answer")

    async def talk(self, others, stop):
        while not stop.is_set():
            self.say(random.choice(others))
            self.say(f"echo.{DOMAIN}")
            await self.ask("urn:xmpp:ping", "ping")
            await self.ask("ejabberd:cputime", "query")
            await asyncio.sleep(random.uniform(0, 0.05))


class Ledger:
    """What was sent and what came of it."""

    def __init__(self):
        self.numbers = itertools.count()
        self.sent = []
        self.arrived = collections.Counter()
        self.requests = 0
        self.answers = 0
        self.failures = []


class LiveUpdate(Scenario):
    async def test_twenty_clients_notice_nothing_of_updates_in_all_four_ways(self):
        users = [f"user{number}" for number in range(CLIENTS)]
        self.server = await self.start(modules=MODULES, users=users, config=WATCHING.format(watch="off"))
        ledger, stop = Ledger(), asyncio.Event()
        clients = [await (await self.client(self.server, user)).available() for user in users]
        talkers = [Talker(client, ledger) for client in clients]
        jids = [talker.jid for talker in talkers]
        sessions = await self.sessions()
        talking = [asyncio.create_task(talker.talk([jid for jid in jids if jid != talker.jid], stop))
                   for talker in talkers]
        end = asyncio.get_running_loop().time() + SECONDS
        self.rounds = itertools.count(1)
        ways = [self.by_ctl, self.by_hangup, self.by_http, self.by_file_drop]
        for way in itertools.cycle(ways):
            await self.updated_by(way)
            if way is ways[-1] and asyncio.get_running_loop().time() > end:
                break
        stop.set()
        await asyncio.gather(*talking)
        await self.eventually("all messages arrived", lambda: self.all_arrived(ledger))

        self.assertEqual(ledger.failures, [])
        self.assertEqual(ledger.answers, ledger.requests)
        self.assertEqual({body: 1 for body in ledger.sent}, dict(ledger.arrived))
        self.assertEqual([client.disconnections for client in clients], [0] * CLIENTS)
        self.assertEqual(await self.sessions(), sessions)
        rounds = next(self.rounds) - 1
        self.assertGreaterEqual(rounds, len(ways))
        print(f"{ledger.requests} requests, {len(ledger.sent)} messages, {rounds} updates of {len(MODULES)} modules")

    async def all_arrived(self, ledger):
        return len(ledger.arrived) == len(ledger.sent)

    async def sessions(self):
        return sorted((await self.server.ctl("connected_users")).split())

    async def updated_by(self, way):
        """New libraries by this way; waits until all of them are running."""
        before = [await self.server.generation(module) for module in MODULES]
        await way(next(self.rounds))

        async def all_newer():
            now = [await self.server.generation(module) for module in MODULES]
            return all(new > old for new, old in zip(now, before))

        await self.eventually(f"all modules updated by {way.__name__}", all_newer)
        if way == self.by_file_drop:
            # The other ways must not find the watcher at work.
            await self.watch("off")

    async def watch(self, mode):
        self.server.write_config(WATCHING.format(watch=mode))
        await self.server.ctl("reload_config")

    def drop_files(self, variant):
        for module in MODULES:
            self.server.install(module, variant)

    async def by_ctl(self, variant):
        self.drop_files(variant)
        await self.server.ctl("update", "all")

    async def by_hangup(self, variant):
        self.drop_files(variant)
        self.server.signal(signal.SIGHUP)

    async def by_http(self, variant):
        self.drop_files(variant)
        status, answer = await self.server.http("POST", "/update-modules", MODULES)
        self.assertEqual((status, answer["status"], sorted(answer["updated"])), (200, "ok", sorted(MODULES)))

    async def by_file_drop(self, variant):
        await self.watch("auto")
        self.drop_files(variant)
