"""Every mechanism that slixmpp speaks, over STARTTLS and direct TLS; and what must not log in."""

import ssl

from moult import Client, Scenario

MECHANISMS = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
# Python's ssl module has no channel binding but tls-unique, which TLS 1.3 forbids, so the -PLUS forms are tested by the Rust client.


class Login(Scenario):
    async def test_every_mechanism_over_starttls_and_direct_tls(self):
        server = await self.start()
        for direct_tls in (False, True):
            for mechanism in MECHANISMS:
                with self.subTest(mechanism=mechanism, direct_tls=direct_tls):
                    client = await Client(server, "alice", mechanism=mechanism, direct_tls=direct_tls).log_in()
                    self.assertEqual(client.boundjid.bare, "alice@localhost")
                    self.assertTrue(client.boundjid.resource)
                    await client.leave()

    async def test_a_client_that_chooses_by_itself_gets_in(self):
        server = await self.start()
        client = await self.client(server, "alice", resource="desk")
        self.assertEqual(client.boundjid.full, "alice@localhost/desk")

    async def test_a_wrong_password_is_refused_with_every_mechanism(self):
        server = await self.start()
        for mechanism in MECHANISMS:
            with self.subTest(mechanism=mechanism):
                client = Client(server, "alice", mechanism=mechanism, password="wrong")
                with self.assertRaises(ConnectionRefusedError):
                    await client.log_in()
                await client.leave()

    async def test_tls_1_2_is_enough(self):
        server = await self.start()
        client = Client(server, "alice", direct_tls=True)
        get_context = client.get_ssl_context

        def tls_1_2():
            context = get_context()
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            return context

        client.get_ssl_context = tls_1_2
        await client.log_in()
        await client.leave()
