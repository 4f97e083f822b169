"""Two people become contacts, see each other's presence and leave each other messages, while the modules behind all that
are updated under them (RFC 6121, XEP-0237, XEP-0160, XEP-0203)."""

import asyncio

from moult import DOMAIN, Scenario

MODULES = ["mod_roster", "mod_offline"]
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
MESSAGES = 40


def version_in(answer):
    """The version in a roster; an answer without a roster has none (slixmpp makes an empty one of it)."""
    return answer["roster"].xml.get("ver")


class Contacts(Scenario):
    async def log_in(self, user, collect=None):
        """A client that asks for its roster, as every client does, and answers requests as slixmpp does: with yes."""
        client = await self.client(self.server, user)
        client.register_plugin("xep_0203")
        if collect is not None:
            client.add_event_handler("message", collect.append)
        await client.get_roster()
        return await client.available()

    async def update(self, variant):
        for module in MODULES:
            self.server.install(module, variant)
        report = await self.server.ctl_json("update", "all")
        self.assertEqual(sorted(report["updated"]), sorted(MODULES), report)

    def sees(self, client, contact):
        """Whether the client knows an available resource of the contact."""
        return bool(client.client_roster.presence(contact))

    async def befriend(self, alice, bob):
        alice.send_presence_subscription(pto=BOB, ptype="subscribe")

        async def both():
            return (alice.client_roster[BOB]["subscription"] == "both"
                    and bob.client_roster[ALICE]["subscription"] == "both"
                    and self.sees(alice, BOB) and self.sees(bob, ALICE))

        await self.eventually("both see each other", both)

    async def kept(self):
        return await self.server.ctl_json("get_offline_count", "bob", DOMAIN)

    async def test_contacts_presence_and_kept_messages_survive_updates(self):
        self.server = await self.start(modules=MODULES)
        alice, bob = await self.log_in("alice"), await self.log_in("bob")
        await self.befriend(alice, bob)

        alice.send_presence(pshow="dnd", pstatus="writing")

        async def told():
            return bob.client_roster[ALICE].resources.get(alice.boundjid.resource, {}).get("status") == "writing"

        await self.eventually("bob is told what alice does", told)
        await bob.leave()

        async def gone():
            return not self.sees(alice, BOB)

        await self.eventually("alice sees bob go", gone)

        bodies = [f"message {number}" for number in range(MESSAGES)]
        for number, body in enumerate(bodies):
            alice.send_message(BOB, body, mtype="chat")
            if number % 10 == 5:
                await self.update(variant=number)

        async def all_kept():
            return await self.kept() == MESSAGES

        await self.eventually("all messages are kept", all_kept)

        received = []
        bob = await self.log_in("bob", collect=received)

        async def all_there():
            return len(received) >= MESSAGES

        await self.eventually("all messages arrived", all_there)
        # What would come twice is on its way before this answer.
        await bob.get_roster()
        self.assertEqual([message["body"] for message in received], bodies)
        self.assertTrue(all(message["delay"]["stamp"] for message in received))
        self.assertEqual(await self.kept(), 0)

        async def seen_again():
            return self.sees(alice, BOB) and self.sees(bob, ALICE)

        await self.eventually("they see each other again", seen_again)
        self.assertEqual(alice.disconnections, 0)

    async def test_a_roster_is_sent_only_where_the_client_has_another_version(self):
        self.server = await self.start(modules=MODULES)
        alice = await self.log_in("alice")
        self.assertIn("rosterver", alice.features)
        await alice.update_roster(f"romeo@{DOMAIN}", name="Romeo", groups=["Friends"])

        async def pushed():
            return alice.client_roster[f"romeo@{DOMAIN}"]["name"] == "Romeo"

        await self.eventually("the contact is pushed", pushed)
        answer = await alice.get_roster()
        self.assertIsNone(version_in(answer), "the client has this version")
        await self.update(variant=1)
        answer = await alice.get_roster()
        self.assertIsNone(version_in(answer), "an update changes no roster")
        alice.client_roster.version = ""
        answer = await alice.get_roster()
        self.assertIsNotNone(version_in(answer))
        self.assertEqual(list(answer["roster"]["items"]), [f"romeo@{DOMAIN}"])

    async def test_a_request_waits_and_a_removed_contact_is_told(self):
        self.server = await self.start(modules=MODULES)
        alice = await self.log_in("alice")
        alice.send_presence_subscription(pto=BOB, ptype="subscribe")

        async def asked():
            return alice.client_roster[BOB]["pending_out"]

        await self.eventually("the roster says that alice has asked", asked)
        bob = await self.log_in("bob")

        async def both():
            return bob.client_roster[ALICE]["subscription"] == "both"

        await self.eventually("bob was asked when he came", both)
        left = asyncio.get_running_loop().create_future()
        bob.add_event_handler("presence_unsubscribed", lambda _: left.done() or left.set_result(None))
        await alice.del_roster_item(BOB)
        await asyncio.wait_for(left, 30)

        async def parted():
            return bob.client_roster[ALICE]["subscription"] == "none" and not self.sees(bob, ALICE)

        await self.eventually("bob sees alice no more", parted)
