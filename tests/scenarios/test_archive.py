"""Archives of users: stored while modules are swapped, read in pages, chosen by the user, deleted by the administrator."""

import asyncio
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from moult import DOMAIN, Scenario

MODULES = ["mod_disco", "mod_mam", "mod_carbons"]
SID = "{urn:xmpp:sid:0}stanza-id"


class Archive(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES)
        self.alice = await (await self.client(self.server, "alice", resource="desk")).available()
        self.bob = await (await self.client(self.server, "bob", resource="desk")).available()
        for client in [self.alice, self.bob]:
            for plugin in ["xep_0059", "xep_0297", "xep_0313", "xep_0030", "xep_0280"]:
                client.register_plugin(plugin)

    async def bodies(self, client, **query):
        results = client.plugin["xep_0313"].iterate(**query)
        return [result["mam_result"]["forwarded"]["stanza"]["body"] async for result in results]

    async def ask(self, client, kind, payload):
        iq = client.make_iq(itype=kind)
        iq.append(ET.fromstring(payload))
        return await iq.send()

    async def found(self, client, fields):
        """The ids of what a form finds, in the order in which they come; a range comes from its end."""
        found = []

        def notice(message):
            found.append(message.xml.find("{urn:xmpp:mam:2}result").get("id"))

        results = MatchXPath("{jabber:client}message/{urn:xmpp:mam:2}result")
        client.register_handler(Callback("results", results, notice))
        flip = "<flip-page/>" if "after-id" in fields else ""
        form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>{fields}</x>"
        await self.ask(client, "set", f"<query xmlns='urn:xmpp:mam:2'>{form}{flip}</query>")
        client.remove_handler("results")
        return found

    async def prefer(self, default, lists):
        """slixmpp has no function for it."""
        prefs = f"<prefs xmlns='urn:xmpp:mam:2' default='{default}'>{lists}</prefs>"
        answer = await self.ask(self.alice, "set", prefs)
        self.assertEqual(answer.xml.find("{urn:xmpp:mam:2}prefs").get("default"), default)

    async def test_what_was_said_during_swaps_is_found_again_in_order(self):
        arrived = []
        self.bob.add_event_handler("message", lambda message: arrived.append(message))
        said = [str(number) for number in range(120)]
        for number, body in enumerate(said):
            self.alice.send_message(f"bob@{DOMAIN}", body, mtype="chat")
            if number % 40 == 20:
                self.server.install("mod_mam", variant=number)
                await self.server.ctl("update", "mod_mam")

        async def all_arrived():
            return len(arrived) == len(said)

        await self.eventually("all messages arrived", all_arrived)
        self.assertEqual([message["body"] for message in arrived], said)
        for client in [self.alice, self.bob]:
            self.assertEqual(await self.bodies(client), said)
        ids = [message.xml.find(SID).get("id") for message in arrived]
        self.assertEqual({message.xml.find(SID).get("by") for message in arrived}, {f"bob@{DOMAIN}"})
        # From the id of a message that was delivered a client goes on.
        page = await self.bob.plugin["xep_0313"].retrieve(rsm={"after": ids[109], "max": 5})
        self.assertEqual([r["mam_result"]["id"] for r in page["mam"]["results"]], ids[110:115])
        last = "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>3</max><before/></set></query>"
        page = (await self.ask(self.bob, "set", last)).xml.find("{urn:xmpp:mam:2}fin/{http://jabber.org/protocol/rsm}set")
        self.assertEqual([edge.text for edge in page if edge.tag.endswith("st")], [ids[117], ids[119]])
        # Single messages, a range between two ids from its end, and where the archive begins and ends.
        fields = [f"<field var='ids'><value>{ids[7]}</value><value>{ids[3]}</value></field>",
                  f"<field var='after-id'><value>{ids[0]}</value></field><field var='before-id'><value>{ids[4]}</value></field>"]
        for content, wanted in zip(fields, [[ids[3], ids[7]], [ids[3], ids[2], ids[1]]]):
            self.assertEqual(await self.found(self.bob, content), wanted)
        metadata = await self.bob.plugin["xep_0313"].get_archive_metadata()
        edges = metadata["mam_metadata"]
        self.assertEqual((edges["start"]["id"], edges["end"]["id"]), (ids[0], ids[119]))
        self.assertEqual(await self.bodies(self.bob, with_jid=f"alice@{DOMAIN}"), said)
        self.assertEqual(await self.bodies(self.bob, with_jid=f"carol@{DOMAIN}"), [])
        info = await self.bob.plugin["xep_0030"].get_info(f"bob@{DOMAIN}")
        self.assertTrue({"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0"} <= set(info["disco_info"]["features"]))
        # Profanity asks the server only.
        info = await self.bob.plugin["xep_0030"].get_info(DOMAIN)
        self.assertIn("urn:xmpp:mam:2", info["disco_info"]["features"])
        count = await self.server.ctl("get_mam_count", "bob", DOMAIN)
        self.assertEqual(count.strip(), "120")
        self.assertEqual((await self.server.ctl("delete_old_mam_messages", "all", "1")).strip(), "0")
        await self.server.ctl("delete_old_mam_messages", "all", "0")
        self.assertEqual(await self.bodies(self.bob), [])

    async def test_an_archive_is_its_owners_alone_and_its_ids_are_not_forged(self):
        self.alice.send_message(f"bob@{DOMAIN}", "between us", mtype="chat")
        await self.bob.message_from(self.alice.boundjid)
        with self.assertRaises(IqError) as caught:
            await self.bob.plugin["xep_0313"].retrieve(jid=f"alice@{DOMAIN}")
        self.assertEqual(caught.exception.condition, "forbidden")
        with self.assertRaises(IqError) as caught:
            await self.bob.plugin["xep_0313"].retrieve(rsm={"after": "no such id"})
        self.assertEqual(caught.exception.condition, "item-not-found")
        message = self.alice.make_message(self.bob.boundjid.full, "forged", mtype="chat")
        message.append(ET.Element(SID, {"by": f"bob@{DOMAIN}", "id": "forged"}))
        message.send()
        received = await self.bob.message_from(self.alice.boundjid)
        ids = [element.get("id") for element in received.xml.findall(SID)]
        self.assertEqual(len(ids), 1)
        self.assertNotEqual(ids, ["forged"])

    async def test_users_choose_what_is_archived(self):
        phone = await (await self.client(self.server, "alice", resource="phone")).available()
        phone.register_plugin("xep_0280")
        await phone.plugin["xep_0280"].enable()
        await self.prefer("never", f"<always><jid>bob@{DOMAIN}</jid></always><never/>")
        copied = asyncio.get_running_loop().create_future()
        phone.add_event_handler("carbon_received", lambda copy: copied.done() or copied.set_result(copy))
        self.bob.send_message(self.alice.boundjid.full, "kept", mtype="chat")
        # The copy on the other client carries the id in the archive, so that it is not shown twice.
        copy = (await asyncio.wait_for(copied, 30))["carbon_received"]
        self.assertEqual(copy.xml.find(SID).get("by"), f"alice@{DOMAIN}")
        await self.prefer("always", f"<always/><never><jid>bob@{DOMAIN}</jid></never>")
        self.bob.send_message(self.alice.boundjid.full, "not kept", mtype="chat")
        await self.alice.message_from(self.bob.boundjid)
        self.assertEqual(await self.bodies(self.alice), ["kept"])
        self.assertEqual(await self.bodies(self.bob), ["kept", "not kept"])
        await self.server.ctl("unregister", "bob", DOMAIN)
        count = await self.server.ctl("get_mam_count", "bob", DOMAIN)
        self.assertEqual(count.strip(), "0")
