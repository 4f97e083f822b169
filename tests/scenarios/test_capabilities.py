"""The server's capabilities on its streams (XEP-0115, XEP-0390), computed anew when modules come, go or change. slixmpp
computes the verification string a second time."""

from slixmpp.exceptions import IqError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from moult import DOMAIN, Client, Scenario

MODULES = ["mod_disco", "mod_caps", "mod_contact_info", "mod_version", "mod_time"]
CONTACT = '[modules.mod_contact_info]\nabuse_addresses = ["mailto:{}@example.org"]\n'
CAPS, CAPS_2, HASHES = "http://jabber.org/protocol/caps", "urn:xmpp:caps", "urn:xmpp:hashes:2"
FEATURES = "{http://etherx.jabber.org/streams}features"


class Capabilities(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES, config=CONTACT.format("abuse"))

    async def log_in(self):
        """A client, and the features that its stream had after the login."""
        client, features = Client(self.server, "alice"), []
        client.register_plugin("xep_0115")
        client.register_handler(Callback("watch", MatchXPath(FEATURES), lambda seen: features.append(seen.xml)))
        await client.log_in()
        self.addAsyncCleanup(client.leave)
        return client, features[-1]

    async def announced(self):
        """A client, the node of XEP-0115, its hash, and one node of XEP-0390: what a new stream announces."""
        client, features = await self.log_in()
        first, second = features.find(f"{{{CAPS}}}c"), features.find(f"{{{CAPS_2}}}c")
        if first is None:
            return client, None, None, None
        self.assertEqual(first.get("hash"), "sha-1")
        hashes = {one.get("algo"): one.text for one in second.findall(f"{{{HASHES}}}hash")}
        self.assertEqual(sorted(hashes), ["sha-256", "sha3-256"])
        node = f"{first.get('node')}#{first.get('ver')}"
        return client, node, first.get("ver"), f"{CAPS_2}#sha3-256.{hashes['sha3-256']}"

    async def info(self, client, node):
        return await client.plugin["xep_0030"].get_info(jid=DOMAIN, node=node, local=False, cached=False)

    async def new_hash(self, before):
        """What is announced when it is no longer `before`, checked against the answer and slixmpp's own computation."""
        found = []

        async def changed():
            client, *rest = await self.announced()
            if rest[1] in (None, before):
                await client.leave()
                return False
            found[:] = [client, *rest]
            return True

        await self.eventually("other capabilities are announced", changed)
        client, node, ver, second = found
        for question in ("", node, second):
            info = await self.info(client, question)
            self.assertEqual(client.plugin["xep_0115"].generate_verstring(info["disco_info"], "sha-1"), ver, question)
        return client, node, ver, second

    async def test_the_hash_is_of_what_all_modules_declare_and_follows_them(self):
        client, node, first, _ = await self.new_hash(None)
        # Other code of the same features: of the module that announces, too.
        for module in ("mod_caps", "mod_disco", "mod_time"):
            self.server.install(module, variant=1)
            await self.server.ctl("update", module)
            self.assertEqual((await self.announced())[2], first, module)
        await self.server.ctl("module_unload", "mod_time")
        client, _, second, _ = await self.new_hash(first)
        features = (await self.info(client, node))["disco_info"]["features"]
        self.assertIn("urn:xmpp:time", features, "the node of before stands for what was before")
        # A form that changes without a restart of anything.
        self.server.write_config(CONTACT.format("postmaster"))
        await self.server.ctl("reload_config")
        _, _, third, _ = await self.new_hash(second)
        self.server.write_config(CONTACT.format("abuse"))
        await self.server.ctl("reload_config")
        client, _, again, _ = await self.new_hash(third)
        self.assertEqual(again, second)
        with self.assertRaises(IqError) as caught:
            await self.info(client, f"{node}x")
        self.assertEqual(caught.exception.condition, "item-not-found")

    async def test_without_discovery_there_is_nothing_to_announce(self):
        await self.new_hash(None)
        await self.server.ctl("module_unload", "mod_disco")

        async def gone():
            return (await self.announced())[1] is None

        await self.eventually("nothing is announced", gone)
