"""Connections are cut under clients that talk, with module updates in between (XEP-0198), and clients sleep (XEP-0352).

Nothing is lost and nothing is doubled, in either direction and through a module.
"""

import asyncio
import collections
import itertools

from moult import DEADLINE, DOMAIN, Client, Scenario

CUTS = 8


class Survivor:
    """A client whose session outlives its connections; counts what arrives."""

    def __init__(self, client):
        self.client = client
        self.arrived = collections.Counter()
        self.resumed = 0
        self.is_connected = True
        client.register_plugin("xep_0198", {"window": 3})
        client.register_plugin("xep_0352")
        client.add_event_handler("message", self.notice)
        client.add_event_handler("session_resumed", self.count_resumption)

    def notice(self, message):
        self.arrived[message["body"]] += 1

    def count_resumption(self, _):
        self.resumed += 1

    async def happens(self, event):
        happened = asyncio.get_running_loop().create_future()
        self.client.add_event_handler(event, lambda _: happened.done() or happened.set_result(None), disposable=True)
        return happened

    async def cut(self):
        """The connection is gone without a word."""
        gone = await self.happens("disconnected")
        # What slixmpp has not written when its connection goes, it may drop itself.
        self.is_connected = False
        while not self.client.waiting_queue.empty():
            await asyncio.sleep(0)
        self.client.abort()
        await asyncio.wait_for(gone, DEADLINE)

    async def come_back(self):
        """On a new connection, to the same session."""
        resumed = await self.happens("session_resumed")
        self.client.connect(*self.client.moult.listeners["c2s"])
        await asyncio.wait_for(resumed, DEADLINE)
        self.is_connected = True


class StreamManagement(Scenario):
    async def survivor(self, user):
        client = Client(self.server, user, resource="phone")
        survivor = Survivor(client)
        enabled = await survivor.happens("sm_enabled")
        await client.log_in()
        self.addAsyncCleanup(client.leave)
        await asyncio.wait_for(enabled, DEADLINE)
        await client.available()
        return survivor

    async def test_cut_connections_and_updates_lose_and_double_nothing(self):
        self.server = await self.start(modules=["mod_echo"])
        alice, bob = await self.survivor("alice"), await self.survivor("bob")
        numbers, sent = itertools.count(), {alice: [], bob: []}
        stop = asyncio.Event()

        async def talk(speaker, listener):
            while not stop.is_set():
                if not speaker.is_connected:
                    await asyncio.sleep(0.005)
                    continue
                for to, hears in ((listener.client.boundjid.full, listener), (f"echo.{DOMAIN}", speaker)):
                    body = f"message {next(numbers)}"
                    sent[hears].append(body)
                    speaker.client.send_message(to, body, mtype="chat")
                await asyncio.sleep(0.005)

        talking = [asyncio.create_task(talk(alice, bob)), asyncio.create_task(talk(bob, alice))]
        for number in range(CUTS):
            before = len(alice.arrived) + len(bob.arrived)
            await self.eventually("they talk", lambda: self.more_than(before + 20, alice, bob))
            await bob.cut()
            self.server.install("mod_echo", variant=number + 1)
            await self.server.ctl("update", "mod_echo")
            await bob.come_back()
        stop.set()
        await asyncio.gather(*talking)
        await self.eventually("everything has arrived", lambda: self.all_arrived(sent))

        for survivor in (alice, bob):
            self.assertEqual({body: 1 for body in sent[survivor]}, dict(survivor.arrived))
        self.assertEqual((alice.resumed, bob.resumed), (0, CUTS))
        self.assertEqual(len((await self.server.ctl("connected_users")).split()), 2)
        print(f"{len(sent[alice]) + len(sent[bob])} messages, {CUTS} cuts, {CUTS} updates")

    async def test_a_client_that_comes_back_finds_what_came_meanwhile(self):
        self.server = await self.start()
        alice, bob = await self.survivor("alice"), await self.survivor("bob")
        await bob.cut()
        await self.eventually("the session waits", lambda: self.is_detached("bob"))
        for number in range(30):
            alice.client.send_message(bob.client.boundjid.bare, f"meanwhile {number}", mtype="chat")
        await bob.come_back()
        await self.eventually("all have arrived", lambda: self.arrived(bob, 30))
        self.assertEqual(dict(bob.arrived), {f"meanwhile {number}": 1 for number in range(30)})
        self.assertFalse(await self.is_detached("bob"))

    async def test_a_restart_of_the_server_loses_and_doubles_nothing(self):
        self.server = await self.start()
        alice, bob = await self.survivor("alice"), await self.survivor("bob")
        await bob.cut()
        await self.eventually("the session waits", lambda: self.is_detached("bob"))
        for number in range(30):
            alice.client.send_message(bob.client.boundjid.full, f"before {number}", mtype="chat")
        # Its own answer shows that the server has taken what came before.
        alice.client.register_plugin("xep_0030")
        await alice.client.plugin["xep_0030"].get_info(jid=alice.client.boundjid.full)
        gone = await alice.happens("disconnected")
        await self.server.restart()
        await asyncio.wait_for(gone, DEADLINE)
        await alice.come_back()
        alice.client.send_message(bob.client.boundjid.full, "after", mtype="chat")
        await bob.come_back()
        await self.eventually("all have arrived", lambda: self.arrived(bob, 31))
        expected = {f"before {number}": 1 for number in range(30)} | {"after": 1}
        self.assertEqual(dict(bob.arrived), expected)
        self.assertEqual((alice.resumed, bob.resumed), (1, 1))

    async def test_presence_waits_for_a_sleeping_client_and_messages_wake_it(self):
        self.server = await self.start()
        bob = await self.survivor("bob")
        seen = []
        bob.client.add_event_handler("changed_status", lambda presence: seen.append(presence["status"]))
        bob.client.plugin["xep_0352"].send_inactive()
        # Its own answer shows that the server has read what came before.
        bob.client.register_plugin("xep_0030")
        await bob.client.plugin["xep_0030"].get_info(jid=bob.client.boundjid.full)
        other = await self.client(self.server, "bob", resource="desk")
        own = other.boundjid.full
        for number in range(10):
            other.send_presence(pstatus=f"status {number}")
        other.send_message(bob.client.boundjid.full, "wake up", mtype="chat")
        await self.eventually("the message has arrived", lambda: self.arrived(bob, 1))
        self.assertEqual([status for status in seen if status.startswith("status")], ["status 9"], own)

    async def more_than(self, count, *survivors):
        return sum(len(survivor.arrived) for survivor in survivors) > count

    async def all_arrived(self, sent):
        return all(len(survivor.arrived) >= len(bodies) for survivor, bodies in sent.items())

    async def arrived(self, survivor, count):
        return sum(survivor.arrived.values()) >= count

    async def is_detached(self, user):
        rows = await self.server.ctl_json("user_sessions_info", user, DOMAIN)
        return any(row["detached"] for row in rows)
