"""The users directory (XEP-0055) over vCards that clients set, with slixmpp's own plugins, while its modules are updated."""

from slixmpp.exceptions import IqError

from moult import DOMAIN, Scenario

MODULES = ["mod_vcard", "mod_vjud", "mod_disco"]
DIRECTORY = f"vjud.{DOMAIN}"
USERS = ("juliet", "tybalt", "romeo")


class Directory(Scenario):
    async def asyncSetUp(self):
        self.server = await self.start(modules=MODULES, users=USERS)

    async def log_in(self, user):
        client = await self.client(self.server, user)
        for plugin in ("xep_0030", "xep_0054", "xep_0055", "xep_0077"):
            client.register_plugin(plugin)
        return client

    async def publish(self, client, family, given):
        card = client.plugin["xep_0054"].make_vcard()
        card["N"]["FAMILY"], card["N"]["GIVEN"] = family, given
        await client.plugin["xep_0054"].publish_vcard(card)

    async def found(self, client, **wanted):
        """The accounts that a search by form gives."""
        iq = client.make_iq_set(ito=DIRECTORY)
        form = client.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value="jabber:iq:search")
        for field, value in wanted.items():
            form.add_field(var=field, value=value)
        iq["search"].append(form)
        answer = await iq.send()
        rows = answer["search"]["form"]["items"] if answer["search"].xml.find("{jabber:x:data}x") is not None else []
        return sorted(row["jid"] for row in rows)

    async def update(self, variant):
        for module in ("mod_vcard", "mod_vjud"):
            self.server.install(module, variant)
        report = await self.server.ctl_json("update", "all")
        self.assertEqual(sorted(report["updated"]), ["mod_vcard", "mod_vjud"], report)

    async def test_users_are_found_by_what_their_vcards_say_also_after_updates(self):
        juliet, tybalt, romeo = [await self.log_in(user) for user in USERS]
        await self.publish(juliet, "Capulet", "Juliet")
        items = await romeo.plugin["xep_0030"].get_items(jid=DOMAIN)
        self.assertIn(DIRECTORY, [item[0] for item in items["disco_items"]["items"]])
        info = await romeo.plugin["xep_0030"].get_info(jid=DIRECTORY)
        self.assertIn("jabber:iq:search", info["disco_info"]["features"])
        iq = romeo.make_iq_get(ito=DIRECTORY)
        iq.enable("search")
        questions = await iq.send()
        self.assertIn("last", questions["search"]["form"].get_fields())
        self.assertEqual(await self.found(romeo, last="capulet"), [f"juliet@{DOMAIN}"])
        await self.update(variant=1)
        await self.publish(tybalt, "Capulet", "Tybalt")
        await self.update(variant=2)
        self.assertEqual(await self.found(romeo, last="Cap*"), [f"juliet@{DOMAIN}", f"tybalt@{DOMAIN}"])
        await self.publish(tybalt, "of Cats", "Prince")
        self.assertEqual(await self.found(romeo, last="capulet"), [f"juliet@{DOMAIN}"])
        # juliet does not want to be found any more.
        remove = juliet.make_iq_set(ito=DIRECTORY)
        remove["register"]["remove"] = True
        await remove.send()
        self.assertEqual(await self.found(romeo, last="capulet"), [])
        await self.server.ctl("set_vcard2", "romeo", DOMAIN, "N", "FAMILY", "Montague")
        self.assertEqual(await self.found(juliet, last="montague"), [f"romeo@{DOMAIN}"])
        await self.server.ctl("unregister", "romeo", DOMAIN)
        self.assertEqual(await self.found(juliet, last="montague"), [])
        with self.assertRaises(IqError) as caught:
            await self.found(juliet, last="*")
        self.assertEqual(caught.exception.condition, "not-acceptable")

    async def test_vcards_from_before_are_found_when_the_module_comes(self):
        juliet, _, romeo = [await self.log_in(user) for user in USERS]
        await self.server.ctl("module_unload", "mod_vjud")
        await self.publish(juliet, "Capulet", "Juliet")
        await self.server.ctl("update", "mod_vjud")

        async def there():
            return await self.found(romeo, first="juliet") == [f"juliet@{DOMAIN}"]

        await self.eventually("the directory has read the vCards", there)
        self.server.write_config("[modules.mod_vjud]\nopt_in = true\n")
        await self.server.ctl("reload_config")
        self.assertEqual(await self.found(romeo, first="juliet"), [])
        self.assertEqual((await self.server.ctl("vjud_rebuild", DOMAIN)).strip(), "1")
