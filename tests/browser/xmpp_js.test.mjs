// @xmpp/client in Node.js by WebSocket: login, requests, messages, and a session that goes on over a broken connection.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { client, xml } from '@xmpp/client';
import { WebSocket } from 'ws';
import { PASSWORD, start, until } from './server.mjs';

// Node.js 20 has none of its own.
globalThis.WebSocket ??= WebSocket;

let server;
before(async () => {
  server = await start('');
  for (const user of ['alice', 'bob']) await server.ctl('register', user, 'localhost', PASSWORD);
});
after(async () => { await server.stop(); });

async function online(username) {
  const entity = client({
    service: `ws://127.0.0.1:${server.ports.http}/ws`, domain: 'localhost', resource: 'node', username, password: PASSWORD,
  });
  // Broken connections are what one test is about.
  entity.on('error', () => {});
  entity.heard = [];
  entity.on('stanza', (stanza) => entity.heard.push(stanza));
  await entity.start();
  // It is enabled a moment after the login; a connection that breaks before is not resumed.
  await until('stream management', () => entity.streamManagement.id);
  await entity.send(xml('presence'));
  return entity;
}

/** Waits for a message with this text, which may have come already. */
async function message(entity, text) {
  const is = (stanza) => stanza.is('message') && stanza.getChildText('body') === text;
  for (;;) {
    const found = entity.heard.filter(is);
    if (found.length) return found;
    await once(entity, 'stanza');
  }
}

const chat = (to, text) => xml('message', { to, type: 'chat' }, xml('body', {}, text));

test('a login, requests and messages', async () => {
  const [alice, bob] = await Promise.all([online('alice'), online('bob')]);
  assert.equal(alice.jid.toString(), 'alice@localhost/node');
  const info = await alice.iqCaller.get(xml('query', 'http://jabber.org/protocol/disco#info'), 'localhost');
  assert.equal(info.getChild('identity').attrs.category, 'server');
  await assert.rejects(
    alice.iqCaller.get(xml('query', 'urn:of:nobody'), 'localhost'), (error) => error.condition === 'service-unavailable');
  await alice.send(chat('bob@localhost', 'hello'));
  const [heard] = await message(bob, 'hello');
  assert.equal(heard.attrs.from, 'alice@localhost/node');
  await server.ctl('restart_module', 'localhost', 'mod_disco');
  await alice.iqCaller.get(xml('query', 'http://jabber.org/protocol/disco#info'), 'localhost');
  await Promise.all([alice.stop(), bob.stop()]);
});

test('a session is resumed after its connection broke, and nothing is lost or doubled', async () => {
  const [alice, bob] = await Promise.all([online('alice'), online('bob')]);
  const resumed = once(alice.streamManagement, 'resumed');
  const lost = once(alice, 'disconnect');
  // As a network does it: without a word.
  alice.socket.socket.terminate();
  await lost;
  for (let number = 0; number < 10; number += 1) await bob.send(chat('alice@localhost/node', `number ${number}`));
  await resumed;
  for (let number = 0; number < 10; number += 1) await message(alice, `number ${number}`);
  await alice.iqCaller.get(xml('ping', 'urn:xmpp:ping'), 'localhost');
  for (let number = 0; number < 10; number += 1) {
    assert.equal((await message(alice, `number ${number}`)).length, 1, `number ${number}`);
  }
  await Promise.all([alice.stop(), bob.stop()]);
});
