// Converse.js in Chromium: a whole session of a person, by WebSocket and, from a page of another origin, by BOSH, both through
// a proxy that ends TLS.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { PAGE, Person, launch } from './browser.mjs';
import { PASSWORD, start, until } from './server.mjs';

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

/** A picture of one blue pixel. */
const PICTURE = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPj/HwADBwIAMCbHYQAAAABJRU5ErkJggg==', 'base64');

async function withServer(work) {
  const server = await start(PAGE);
  for (const user of ['alice', 'bob']) await server.ctl('register', user, 'localhost', PASSWORD);
  const python = path.join(process.env.MOULT_ROOT, 'target/scenarios-venv/bin/python');
  const peer = spawn(python, ['peer.py', server.ports.c2s], { stdio: ['ignore', 'pipe', 'inherit'] });
  const gone = once(peer, 'exit');
  await once(peer.stdout, 'data');
  try {
    await work(server);
  } catch (error) {
    console.error(server.log().split('\n').slice(-60).join('\n'));
    throw error;
  } finally {
    peer.kill();
    await gone;
    await server.stop();
  }
}

async function connection(server) {
  const sessions = JSON.parse(await server.ctl('--json', 'user_sessions_info', 'alice', 'localhost'));
  return sessions.map((session) => session.connection);
}

/** What a person does with a chat client in its first half hour. */
async function session(server, name, enter) {
  let alice;
  const open = async (resource) => (alice = await enter(resource));
  try {
    await firstHour(server, name, open);
  } catch (error) {
    await alice?.picture(`${name}-failed`);
    console.error(alice?.said.slice(-60).join('\n'));
    throw error;
  }
}

async function firstHour(server, name, open) {
  let alice = await open('morning');
  assert.deepEqual(await connection(server), [name]);
  await alice.add('bob@localhost');
  await alice.online('bob@localhost');
  await until('both see each other', async () => {
    const roster = await server.ctl('--json', 'get_roster', 'alice', 'localhost');
    return /"bob@localhost"/.test(roster) && /"both"/.test(roster);
  });
  await alice.chat('bob@localhost');
  await alice.say('good morning');
  await alice.sees('echo: good morning');
  for (const module of ['mod_roster', 'mod_mam', 'mod_disco', 'mod_carbons', 'mod_http_upload']) {
    await server.ctl('restart_module', 'localhost', module);
  }
  await alice.say('after the swaps');
  await alice.sees('echo: after the swaps');
  await alice.picture(`${name}-chat`);
  await upload(server, alice);
  await alice.picture(`${name}-upload`);
  await alice.close();

  // Another browser knows nothing: what it shows comes from the archive.
  alice = await open('evening');
  await alice.online('bob@localhost');
  await alice.chat('bob@localhost');
  for (const text of ['good morning', 'echo: good morning', 'after the swaps', 'echo: after the swaps']) {
    await alice.sees(text);
    assert.equal(await alice.count(text), 1, text);
  }
  await alice.picture(`${name}-history`);
  // The same after a reload of the page.
  await alice.page.reload();
  await alice.sees('echo: after the swaps');
  await alice.say('once more');
  await alice.sees('echo: once more');
  assert.equal(await alice.count('after the swaps'), 1);
  await alice.close();
}

async function upload(server, alice) {
  const answered = alice.page.waitForResponse((response) => response.request().method() === 'PUT');
  await alice.upload('très bleu.png', 'image/png', PICTURE);
  const put = await answered;
  assert.equal(put.status(), 201);
  const image = alice.page.locator('.chat-msg__media img, img.chat-image__img, converse-chat-message img[src*="/upload/"]').first();
  await image.waitFor();
  await until('the picture is shown', () => image.evaluate((image) => image.complete && image.naturalWidth === 1));
  const got = await alice.page.evaluate(async (address) => {
    const answer = await fetch(address);
    return { status: answer.status, type: answer.headers.get('content-type'), bytes: (await answer.arrayBuffer()).byteLength };
  }, put.url());
  assert.deepEqual(got, { status: 200, type: 'image/png', bytes: PICTURE.length });
}

test('a person uses Converse.js by WebSocket behind a proxy', async () => {
  await withServer((server) => session(server, 'websocket', (resource) => Person.open(
    browser, resource, `https://localhost:${server.proxyAt}`, 'websocket_url', `wss://localhost:${server.proxyAt}/ws`)));
});

test('a person uses Converse.js by BOSH from another origin', async () => {
  await withServer((server) => session(server, 'bosh', (resource) => Person.open(
    browser, resource, `http://localhost:${server.siteAt}`, 'bosh_service_url', `https://localhost:${server.proxyAt}/bosh`)));
});
