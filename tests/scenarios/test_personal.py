"""What a person with several clients uses: private data, vCards, blocking, carbons, last activity, statistics,
external services.

Each feature once with slixmpp's own plugin where there is one, and once with what a hostile client would send.
"""

import asyncio
import base64
import hashlib
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError

from moult import DOMAIN, Scenario

MODULES = ["mod_disco", "mod_private", "mod_vcard", "mod_blocking", "mod_carbons", "mod_stats", "mod_extdisco", "mod_last",
           "mod_contact_info"]
CONFIG = """
[modules.mod_contact_info]
abuse_addresses = ["mailto:abuse@example.org"]
[modules.mod_extdisco]
secret = "north"
services = ["stun:stun.@HOST@:3478", "turn:turn.@HOST@:3478?transport=udp"]
"""


async def refused(iq):
    """The condition of the error that answers."""
    try:
        await iq.send()
    except IqError as error:
        return error.condition
    raise AssertionError("it was answered with a result")


class Personal(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES, config=CONFIG)
        self.alice = await (await self.client(self.server, "alice", resource="desk")).available()

    def iq(self, client, kind, payload, to=None):
        iq = client.make_iq(ito=to, itype=kind)
        iq.append(ET.fromstring(payload))
        return iq

    async def test_private_data_is_kept_over_a_swap_and_is_its_owners_alone(self):
        notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:example:notes'>{}</notes></query>"
        await self.iq(self.alice, "set", notes.format("milk")).send()
        self.server.install("mod_private", variant=1)
        await self.server.ctl("update", "mod_private")
        answer = await self.iq(self.alice, "get", notes.format("")).send()
        self.assertEqual(answer.xml.find(".//{urn:example:notes}notes").text, "milk")
        bob = await self.client(self.server, "bob")
        for kind in ["get", "set"]:
            self.assertEqual(await refused(self.iq(bob, kind, notes.format(""), f"alice@{DOMAIN}")), "forbidden")
        shown = await self.server.ctl("private_get", "alice", DOMAIN, "notes", "urn:example:notes")
        self.assertIn("milk", shown)
        await self.server.ctl("unregister", "alice", DOMAIN)
        await self.server.ctl("register", "alice", DOMAIN, "sesame")
        again = await self.client(self.server, "alice")
        answer = await self.iq(again, "get", notes.format("")).send()
        self.assertIsNone(answer.xml.find(".//{urn:example:notes}notes").text)

    async def test_a_vcard_and_its_picture_are_seen_by_others(self):
        bob = await self.client(self.server, "bob", resource="desk")
        for client in [self.alice, bob]:
            client.register_plugin("xep_0054")
        with self.assertRaises(IqError) as caught:
            await bob.plugin["xep_0054"].get_vcard(f"alice@{DOMAIN}")
        self.assertEqual(caught.exception.condition, "service-unavailable")
        picture = b"a very small picture"
        card = self.alice.plugin["xep_0054"].make_vcard()
        card["FN"] = "Alice & co"
        card["PHOTO"]["TYPE"] = "image/png"
        card["PHOTO"]["BINVAL"] = picture
        await self.alice.plugin["xep_0054"].publish_vcard(card)
        seen = await bob.plugin["xep_0054"].get_vcard(f"alice@{DOMAIN}")
        self.assertEqual(seen["vcard_temp"]["FN"], "Alice & co")

        presence = asyncio.get_running_loop().create_future()
        bob.add_event_handler("presence_available", lambda p: presence.done() or presence.set_result(p))
        self.alice.send_presence(pto=bob.boundjid.full)
        received = await asyncio.wait_for(presence, 30)
        photo = received.xml.find("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
        self.assertEqual(photo.text, hashlib.sha1(picture).hexdigest())

        forged = "<vCard xmlns='vcard-temp'><FN>Mallory</FN></vCard>"
        self.assertEqual(await refused(self.iq(bob, "set", forged, f"alice@{DOMAIN}")), "forbidden")
        self.assertEqual((await self.server.ctl("get_vcard", "alice", DOMAIN, "FN")).strip(), "Alice & co")

    async def test_who_is_blocked_neither_writes_nor_asks_nor_is_written_to(self):
        bob = await (await self.client(self.server, "bob", resource="desk")).available()
        for client in [self.alice, bob]:
            client.register_plugin("xep_0191")
        phone = await (await self.client(self.server, "alice", resource="phone")).available()
        phone.register_plugin("xep_0191")
        await phone.plugin["xep_0191"].get_blocked()
        pushed = asyncio.get_running_loop().create_future()
        phone.add_event_handler("blocked", lambda iq: pushed.done() or pushed.set_result(iq))
        await self.alice.plugin["xep_0191"].block(f"bob@{DOMAIN}")
        self.assertEqual((await asyncio.wait_for(pushed, 30))["from"].bare, f"alice@{DOMAIN}")
        blocked = await self.alice.plugin["xep_0191"].get_blocked()
        self.assertEqual({item["jid"] for item in blocked["blocklist"]["items"]}, {f"bob@{DOMAIN}"})

        bob.send_message(self.alice.boundjid.full, "hello?", mtype="chat")
        error = await bob.message_from(self.alice.boundjid, event="message_error")
        self.assertEqual(error["error"]["condition"], "service-unavailable")
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        self.assertEqual(await refused(self.iq(bob, "get", ping, self.alice.boundjid.full)), "service-unavailable")
        self.alice.send_message(bob.boundjid.full, "go away", mtype="chat")
        error = await self.alice.message_from(bob.boundjid, event="message_error")
        self.assertEqual(error["error"]["condition"], "not-acceptable")

        self.server.install("mod_blocking", variant=1)
        await self.server.ctl("update", "mod_blocking")
        bob.send_message(self.alice.boundjid.full, "still?", mtype="chat")
        await bob.message_from(self.alice.boundjid, event="message_error")
        await self.alice.plugin["xep_0191"].unblock(f"bob@{DOMAIN}")
        bob.send_message(self.alice.boundjid.full, "and now?", mtype="chat")
        self.assertEqual((await self.alice.message_from(bob.boundjid))["body"], "and now?")
        foreign = "<blocklist xmlns='urn:xmpp:blocking'/>"
        self.assertEqual(await refused(self.iq(bob, "get", foreign, f"alice@{DOMAIN}")), "forbidden")

    async def test_all_clients_of_a_person_see_the_conversation_over_a_swap(self):
        phone = await (await self.client(self.server, "alice", resource="phone")).available()
        bob = await (await self.client(self.server, "bob", resource="desk")).available()
        phone.register_plugin("xep_0280")
        await phone.plugin["xep_0280"].enable()
        for variant in [0, 1]:
            if variant:
                self.server.install("mod_carbons", variant=variant)
                await self.server.ctl("update", "mod_carbons")
            received = self.next_event(phone, "carbon_received")
            bob.send_message(self.alice.boundjid.full, "to the desk", mtype="chat")
            copy = await received
            self.assertEqual(copy["from"].full, f"alice@{DOMAIN}")
            self.assertEqual(copy["carbon_received"]["body"], "to the desk")
            self.assertEqual(copy["carbon_received"]["from"], bob.boundjid)
            sent = self.next_event(phone, "carbon_sent")
            self.alice.send_message(bob.boundjid.full, "from the desk", mtype="chat")
            self.assertEqual((await sent)["carbon_sent"]["body"], "from the desk")
        # A private message is not copied: the next copy is that of the message behind it.
        received = self.next_event(phone, "carbon_received")
        private = bob.make_message(self.alice.boundjid.full, "between us", mtype="chat")
        private.append(ET.Element("{urn:xmpp:carbons:2}private"))
        private.send()
        bob.send_message(self.alice.boundjid.full, "for all", mtype="chat")
        self.assertEqual((await received)["carbon_received"]["body"], "for all")
        enable = "<enable xmlns='urn:xmpp:carbons:2'/>"
        self.assertEqual(await refused(self.iq(bob, "set", enable, f"alice@{DOMAIN}")), "forbidden")

    async def test_the_last_activity_is_for_its_owner(self):
        bob = await (await self.client(self.server, "bob", resource="desk")).available()
        for client in [self.alice, bob]:
            client.register_plugin("xep_0012")
        own = await self.alice.plugin["xep_0012"].get_last_activity(f"alice@{DOMAIN}")
        self.assertEqual(own["last_activity"]["seconds"], 0)
        with self.assertRaises(IqError) as caught:
            await bob.plugin["xep_0012"].get_last_activity(f"alice@{DOMAIN}")
        self.assertEqual(caught.exception.condition, "forbidden")
        uptime = await bob.plugin["xep_0012"].get_last_activity(DOMAIN)
        self.assertGreaterEqual(uptime["last_activity"]["seconds"], 0)
        phone = await (await self.client(self.server, "alice", resource="phone")).available()
        await self.alice.leave()
        await phone.leave()

        async def stored():
            try:
                return "ONLINE" not in await self.server.ctl("get_last", "alice", DOMAIN)
            except AssertionError:
                # The sessions have ended, and the moment is being written.
                return False

        await self.eventually("the last activity is stored", stored)

    async def test_the_server_tells_whom_to_write_about_abuse(self):
        info = await self.iq(self.alice, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", DOMAIN).send()
        form = info.xml.find(".//{jabber:x:data}x")
        values = {field.get("var"): field[0].text for field in form}
        self.assertEqual(values["FORM_TYPE"], "http://jabber.org/network/serverinfo")
        self.assertEqual(values["abuse-addresses"], "mailto:abuse@example.org")

    async def test_statistics_and_external_services_are_told(self):
        stats = "<query xmlns='http://jabber.org/protocol/stats'><stat name='users/online'/><stat name='none'/></query>"
        answer = await self.iq(self.alice, "get", stats, DOMAIN).send()
        online, unknown = answer.xml.find("{http://jabber.org/protocol/stats}query")
        self.assertEqual((online.get("value"), online.get("units")), ("1", "users"))
        self.assertEqual(unknown[0].get("code"), "404")
        services = "<services xmlns='urn:xmpp:extdisco:2'/>"
        answer = await self.iq(self.alice, "get", services, DOMAIN).send()
        stun, turn = answer.xml.find("{urn:xmpp:extdisco:2}services")
        self.assertEqual((stun.get("host"), stun.get("port")), (f"stun.{DOMAIN}", "3478"))
        self.assertEqual(len(base64.b64decode(turn.get("password"))), 20)
        self.assertTrue(turn.get("username").endswith(":alice"))
        self.assertEqual(await refused(self.iq(self.alice, "set", services, DOMAIN)), "not-allowed")

    def next_event(self, client, name):
        """A future of the next event of that name."""
        happened = asyncio.get_running_loop().create_future()
        client.add_event_handler(name, lambda event: happened.done() or happened.set_result(event), disposable=True)
        return asyncio.wait_for(happened, 30)
