"""Messages and presence between slixmpp clients."""

from moult import DOMAIN, Scenario


class Messaging(Scenario):
    async def test_messages_go_both_ways_with_their_bodies_unchanged(self):
        server = await self.start()
        alice = await (await self.client(server, "alice")).available()
        bob = await (await self.client(server, "bob")).available()
        for body in ["hello", "a < b & c > d 'e' \"f\"", "Grüße, 世界 🦀", "x" * 20_000]:
            alice.send_message(bob.boundjid.full, body, mtype="chat")
            received = await bob.message_from(alice.boundjid)
            self.assertEqual(received["body"], body)
            bob.send_message(alice.boundjid.full, body, mtype="chat")
            received = await alice.message_from(bob.boundjid)
            self.assertEqual(received["body"], body)

    async def test_a_bare_jid_reaches_the_resource_with_the_highest_priority(self):
        server = await self.start()
        alice = await self.client(server, "alice")
        desk = await (await self.client(server, "bob", resource="desk")).available()
        desk.send_presence(ppriority=5)
        await (await self.client(server, "bob", resource="phone")).available()
        alice.send_message(f"bob@{DOMAIN}", "to whom?", mtype="chat")
        received = await desk.message_from(alice.boundjid)
        self.assertEqual(received["body"], "to whom?")

    async def test_a_message_to_nobody_comes_back_as_an_error(self):
        server = await self.start()
        alice = await self.client(server, "alice")
        alice.send_message(f"nobody@{DOMAIN}", "hello?", mtype="chat")
        error = await alice.message_from(f"nobody@{DOMAIN}", event="message_error")
        self.assertEqual((error["type"], error["error"]["condition"]), ("error", "service-unavailable"))
