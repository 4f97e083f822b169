"""Administration by XMPP: the server's commands as ad-hoc commands, and announcements, under the same permissions."""

import asyncio

from slixmpp.exceptions import IqError

from moult import DOMAIN, Scenario

MODULES = ["mod_disco", "mod_adhoc", "mod_announce"]
# The section of the vhost is the last one of the harness's configuration.
ADMINS = f'admins = ["alice@{DOMAIN}"]\n[vhost."second.example"]\n'
ADMIN = "http://jabber.org/protocol/admin#"


class Administration(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES, config=ADMINS)
        self.alice = await (await self.client(self.server, "alice", resource="desk")).available()
        self.bob = await (await self.client(self.server, "bob", resource="desk")).available()
        for client in [self.alice, self.bob]:
            for plugin in ["xep_0004", "xep_0030", "xep_0050"]:
                client.register_plugin(plugin)

    async def nodes(self, client):
        answer = await client.plugin["xep_0050"].get_commands(DOMAIN)
        return {item[1] for item in answer["disco_items"]["items"]}

    async def command(self, client, node, fields=None, sessionid=None):
        form = None
        if fields is not None:
            form = client.plugin["xep_0004"].make_form(ftype="submit")
            for name, value in fields.items():
                form.add_field(var=name, value=value)
        answer = await client.plugin["xep_0050"].send_command(DOMAIN, node, payload=form, sessionid=sessionid)
        return answer["command"]

    async def condition(self, client, node):
        with self.assertRaises(IqError) as caught:
            await self.command(client, node)
        return caught.exception.condition

    async def test_an_administrator_runs_commands_by_forms_and_nobody_else_does(self):
        nodes = await self.nodes(self.alice)
        self.assertTrue({"registered_users", "announce_send_all", ADMIN + "add-user"} <= nodes, nodes)
        # Of the whole server, and an administrator of one vhost is none of that.
        self.assertFalse({"status", "stop"} & nodes)
        self.assertEqual(await self.nodes(self.bob), set())
        for node in ["registered_users", "stop", ADMIN + "add-user"]:
            self.assertEqual(await self.condition(self.bob, node), "forbidden", node)
        self.assertEqual(await self.condition(self.alice, "no_such_command"), "item-not-found")

        info = await self.alice.plugin["xep_0030"].get_info(DOMAIN, node="registered_users")
        self.assertIn(("automation", "command-node"), {identity[:2] for identity in info["disco_info"]["identities"]})
        asked = await self.command(self.alice, ADMIN + "add-user")
        self.assertEqual(asked["status"], "executing")
        self.assertIn("accountjid", asked["form"].get_fields())
        # The module is swapped between the form and its return.
        self.server.install("mod_adhoc", variant=1)
        await self.server.ctl("update", "mod_adhoc")
        fields = {"accountjid": f"carol@{DOMAIN}", "password": "sesame", "password-verify": "sesame"}
        done = await self.command(self.alice, ADMIN + "add-user", fields, asked["sessionid"])
        self.assertEqual(done["status"], "completed")
        listed = await self.command(self.alice, "registered_users", {"host": DOMAIN})
        self.assertEqual(listed["form"].get_values()["result"], ["alice", "bob", "carol"])
        again = await self.command(self.alice, ADMIN + "add-user", fields)
        self.assertEqual([note[0] for note in again["notes"]], ["error"])
        with self.assertRaises(IqError) as caught:
            await self.command(self.alice, "registered_users", {"host": "elsewhere.example"})
        self.assertEqual(caught.exception.condition, "forbidden")

    async def test_announcements_reach_everybody_and_come_from_administrators(self):
        text = asyncio.ensure_future(self.bob.message_from(DOMAIN))
        self.alice.send_message(f"{DOMAIN}/announce/online", "At noon we stop.", mtype="normal")
        self.assertEqual((await text)["body"], "At noon we stop.")
        self.bob.send_message(f"{DOMAIN}/announce/online", "Me too!", mtype="normal")
        error = await self.bob.message_from(f"{DOMAIN}/announce/online", event="message_error")
        self.assertEqual(error["error"]["condition"], "forbidden")
        await self.server.ctl("announce_motd_update", DOMAIN, "Welcome", "Be kind.")
        # The instance of the other vhost takes this one.
        await self.server.ctl("announce_motd_update", "second.example", "Welcome", "You are elsewhere.")
        self.server.install("mod_announce", variant=1)
        await self.server.ctl("update", "mod_announce")
        bodies = []
        for resource in ["phone", "tablet"]:
            client = await self.client(self.server, "bob", resource=resource)
            client.add_event_handler("message", lambda message: bodies.append(message["body"]))
            await client.available()
            # What the server sent before this answer has arrived as well.
            client.register_plugin("xep_0030")
            await client.plugin["xep_0030"].get_info(DOMAIN)
        self.assertEqual(bodies, ["Be kind."])
