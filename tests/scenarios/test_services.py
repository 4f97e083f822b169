"""What the bundled modules answer to a real client."""

import datetime
from xml.etree import ElementTree as ET

from slixmpp.exceptions import IqError

from moult import DOMAIN, PASSWORD, Client, Scenario

MODULES = ["mod_ping", "mod_version", "mod_time", "mod_disco", "mod_register", "mod_echo", "mod_cputime"]


class Services(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES)
        self.alice = await self.client(self.server, "alice")
        for plugin in ["xep_0030", "xep_0092", "xep_0199", "xep_0202", "xep_0077"]:
            self.alice.register_plugin(plugin)

    async def test_ping_is_answered(self):
        self.assertGreater(await self.alice.plugin["xep_0199"].ping(DOMAIN), 0)

    async def test_version_names_the_server(self):
        answer = await self.alice.plugin["xep_0092"].get_version(DOMAIN)
        self.assertIn("moult", answer["software_version"]["name"].lower())
        self.assertTrue(answer["software_version"]["version"])

    async def test_time_is_the_time(self):
        answer = await self.alice.plugin["xep_0202"].get_entity_time(DOMAIN)
        # slixmpp appends a second Z to what it parses, so the text is read as XEP-0202 has it.
        text = answer.xml.find("{urn:xmpp:time}time/{urn:xmpp:time}utc").text
        utc = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        difference = datetime.datetime.now(datetime.timezone.utc) - utc
        self.assertLess(abs(difference.total_seconds()), 60)

    async def test_disco_tells_what_the_modules_registered(self):
        info = await self.alice.plugin["xep_0030"].get_info(DOMAIN)
        features = info["disco_info"]["features"]
        for feature in ["urn:xmpp:ping", "urn:xmpp:time", "jabber:iq:version", "http://jabber.org/protocol/disco#info"]:
            self.assertIn(feature, features)
        self.assertIn(("server", "im"), {identity[:2] for identity in info["disco_info"]["identities"]})
        items = await self.alice.plugin["xep_0030"].get_items(DOMAIN)
        self.assertIn(f"echo.{DOMAIN}", {item[0] for item in items["disco_items"]["items"]})

    async def test_a_feature_leaves_disco_with_its_module(self):
        await self.server.ctl("module_unload", "mod_time")
        info = await self.alice.plugin["xep_0030"].get_info(DOMAIN)
        self.assertNotIn("urn:xmpp:time", info["disco_info"]["features"])
        with self.assertRaises(IqError) as caught:
            await self.alice.plugin["xep_0202"].get_entity_time(DOMAIN)
        self.assertEqual(caught.exception.condition, "service-unavailable")

    async def test_a_password_is_changed_in_band(self):
        await self.alice.plugin["xep_0077"].change_password("open, sesame", jid=DOMAIN)
        await (await Client(self.server, "alice", password="open, sesame").log_in()).leave()
        with self.assertRaises(ConnectionRefusedError):
            await Client(self.server, "alice", password=PASSWORD).log_in()
        # Profanity names nobody, and means itself.
        query = ET.Element("{jabber:iq:register}query")
        for name, text in [("username", "alice"), ("password", "close, sesame")]:
            ET.SubElement(query, "{jabber:iq:register}" + name).text = text
        iq = self.alice.make_iq_set()
        iq.append(query)
        await iq.send()
        await (await Client(self.server, "alice", password="close, sesame").log_in()).leave()

    async def test_the_echo_service_returns_what_it_gets(self):
        self.alice.send_message(f"echo.{DOMAIN}", "hello, wood", mtype="chat")
        message = await self.alice.message_from(f"echo.{DOMAIN}")
        self.assertEqual(message["body"], "hello, wood")

    async def test_the_cpu_time_has_three_decimals_and_cannot_be_set(self):
        iq = self.alice.make_iq_get(queryxmlns="ejabberd:cputime", ito=DOMAIN)
        answer = await iq.send()
        time = answer.xml.find("{ejabberd:cputime}query/{ejabberd:cputime}time").text
        self.assertRegex(time, r"^\d+\.\d{3}$")
        iq = self.alice.make_iq_set(ito=DOMAIN)
        iq.append(ET.Element("{ejabberd:cputime}query"))
        with self.assertRaises(IqError) as caught:
            await iq.send()
        self.assertEqual(caught.exception.condition, "not-allowed")
