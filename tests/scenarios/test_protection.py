"""What keeps people from what they do not want: the spam filter, and reports of who was blocked."""

from xml.etree import ElementTree as ET

from slixmpp.xmlstream.handler import Waiter
from slixmpp.xmlstream.matcher import MatcherId

from moult import DOMAIN, Scenario

MODULES = ["mod_disco", "mod_roster", "mod_blocking", "mod_spam_filter", "mod_report"]


def condition(error):
    """The condition of an error; slixmpp does not know policy-violation."""
    return error.xml.find("{jabber:client}error")[0].tag.partition("}")[2]


class Protection(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES, users=("alice", "bob", "mallory"), config=self.config("bounce"))
        self.alice = await (await self.client(self.server, "alice", resource="desk")).available()
        self.mallory = await (await self.client(self.server, "mallory", resource="m")).available()

    def config(self, action):
        return f"""
[modules.mod_spam_filter]
patterns = ["(?i)cheap\\\\s+pills"]
content_action = "{action}"
rate = 3
rate_interval = "1h"
"""

    def write(self, client, text, to=None):
        client.send_message(to or self.alice.boundjid.full, text, mtype="chat")

    async def test_what_strangers_send_is_judged_over_a_swap_and_a_reload(self):
        self.write(self.mallory, "Cheap  PILLS!")
        error = await self.mallory.message_from(self.alice.boundjid, event="message_error")
        self.assertEqual(condition(error), "policy-violation")
        # Two more are let through, and then it is too much, also for the next build of the module.
        for text in ["one", "two"]:
            self.write(self.mallory, text)
            self.assertEqual((await self.alice.message_from(self.mallory.boundjid))["body"], text)
        self.server.install("mod_spam_filter", variant=1)
        await self.server.ctl("update", "mod_spam_filter")
        self.write(self.mallory, "three")
        error = await self.mallory.message_from(self.alice.boundjid, event="message_error")
        self.assertEqual(condition(error), "policy-violation")

        # A friend is not judged.
        await self.server.ctl("add_rosteritem", "alice", DOMAIN, "bob", DOMAIN, "Bob", "", "both")
        bob = await (await self.client(self.server, "bob", resource="desk")).available()
        for text in ["cheap pills", "1", "2", "3", "4"]:
            self.write(bob, text)
            self.assertEqual((await self.alice.message_from(bob.boundjid))["body"], text)

        # Whom alice writes to may answer, whatever it says.
        self.write(self.alice, "what do you want?", self.mallory.boundjid.full)
        await self.mallory.message_from(self.alice.boundjid)
        self.write(self.mallory, "sell cheap pills")
        self.assertEqual((await self.alice.message_from(self.mallory.boundjid))["body"], "sell cheap pills")

        # Another action is taken over without a new instance.
        generation = await self.server.generation("mod_spam_filter")
        self.server.write_config(self.config("tag").replace("rate = 3", "rate = 0"))
        await self.server.ctl("reload_config")
        self.assertEqual(await self.server.generation("mod_spam_filter"), generation)
        self.write(self.mallory, "cheap pills", bob.boundjid.full)
        tagged = await bob.message_from(self.mallory.boundjid)
        self.assertEqual(tagged.xml.find("{urn:moult:spam:0}spam").get("rule"), "content")

    async def test_commands_change_the_lists(self):
        await self.server.ctl("spam_filter_add", DOMAIN, "blocked", f"Mallory@{DOMAIN}")
        self.assertIn(f"mallory@{DOMAIN}", await self.server.ctl("spam_filter_list", DOMAIN, "blocked"))
        self.write(self.mallory, "hello")
        error = await self.mallory.message_from(self.alice.boundjid, event="message_error")
        self.assertEqual(condition(error), "policy-violation")
        answer = Waiter("refused", MatcherId("ping-1"))
        self.mallory.register_handler(answer)
        ping = "<iq type='get' id='ping-1' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>"
        self.mallory.send_raw(ping.format(self.alice.boundjid.full))
        self.assertEqual(condition(await answer.wait(30)), "policy-violation")
        await self.server.ctl("spam_filter_remove", DOMAIN, "blocked", f"mallory@{DOMAIN}")
        self.write(self.mallory, "hello")
        self.assertEqual((await self.alice.message_from(self.mallory.boundjid))["body"], "hello")

    async def test_a_report_comes_with_the_blocking_and_waits_for_an_administrator(self):
        self.assertIn("urn:xmpp:reporting:1", await self.features())
        block = ("<block xmlns='urn:xmpp:blocking'><item jid='{}'><report xmlns='urn:xmpp:reporting:1' reason='{}'>"
                 "<text xml:lang='en'>{}</text></report></item></block>")
        for jid, reason, text in [(f"mallory@{DOMAIN}", "urn:xmpp:reporting:spam", "sells pills"),
                                  ("eve@elsewhere.example", "", "this one has no reason")]:
            iq = self.alice.make_iq_set()
            iq.append(ET.fromstring(block.format(jid, reason, text)))
            await iq.send()
        blocked = self.alice.make_iq_get()
        blocked.append(ET.fromstring("<blocklist xmlns='urn:xmpp:blocking'/>"))
        items = (await blocked.send()).xml.find("{urn:xmpp:blocking}blocklist")
        self.assertEqual({item.get("jid") for item in items}, {f"mallory@{DOMAIN}", "eve@elsewhere.example"})

        self.server.install("mod_report", variant=1)
        await self.server.ctl("update", "mod_report")
        reports = []

        async def kept():
            reports[:] = await self.server.ctl_json("list_reports", DOMAIN)
            return reports

        await self.eventually("the report is kept", kept)
        [report] = reports
        self.assertEqual((report["reporter"], report["jid"]), (f"alice@{DOMAIN}", f"mallory@{DOMAIN}"))
        self.assertEqual((report["reason"], report["text"]), ("spam", "sells pills"))
        await self.server.ctl("delete_report", DOMAIN, report["id"])
        self.assertEqual(await self.server.ctl_json("list_reports", DOMAIN), [])
        # Without the module the feature is gone, and blocking is what it was.
        await self.server.ctl("module_unload", "mod_report")
        self.assertNotIn("urn:xmpp:reporting:1", await self.features())
        iq = self.alice.make_iq_set()
        iq.append(ET.fromstring(block.format("x@elsewhere.example", "urn:xmpp:reporting:spam", "")))
        await iq.send()

    async def features(self):
        info = self.alice.make_iq_get(ito=DOMAIN)
        info.append(ET.fromstring("<query xmlns='http://jabber.org/protocol/disco#info'/>"))
        return {feature.get("var") for feature in (await info.send()).xml.iter("{http://jabber.org/protocol/disco#info}feature")}
