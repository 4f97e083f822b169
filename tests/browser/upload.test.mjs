// Files put and got by a browser through a proxy (XEP-0363): what other origins may do, and that nothing that somebody
// uploads runs as if it were the server's.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { client, xml } from '@xmpp/client';
import { WebSocket } from 'ws';
import { launch } from './browser.mjs';
import { PASSWORD, start } from './server.mjs';

globalThis.WebSocket ??= WebSocket;

const NS = 'urn:xmpp:http:upload:0';

let server;
let browser;
let alice;
before(async () => {
  browser = await launch();
  server = await start('<!DOCTYPE html><title>another origin</title>');
  await server.ctl('register', 'alice', 'localhost', PASSWORD);
  alice = client({ service: `ws://127.0.0.1:${server.ports.http}/ws`, domain: 'localhost', username: 'alice', password: PASSWORD });
  alice.on('error', () => {});
  await alice.start();
});
after(async () => {
  await alice.stop();
  await browser.close();
  await server.stop();
});

async function slot(filename, size, type) {
  const asked = xml('request', { xmlns: NS, filename, size, 'content-type': type });
  const answer = await alice.iqCaller.request(xml('iq', { type: 'get', to: 'upload.localhost' }, asked));
  return answer.getChild('slot').getChild('put').attrs.url;
}

/** A page of another origin, in an empty profile. */
async function elsewhere() {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await page.goto(`http://localhost:${server.siteAt}/`);
  return page;
}

const put = (page, url, type, text) => page.evaluate(async ([url, type, text]) => {
  const answer = await fetch(url, { method: 'PUT', body: new Blob([text]), headers: { 'content-type': type } });
  return answer.status;
}, [url, type, text]);

test('a page of another origin puts a file once and gets it', async () => {
  const page = await elsewhere();
  const url = await slot('très bien.txt', 5, 'text/plain');
  assert.match(url, new RegExp(`^https://localhost:${server.proxyAt}/upload/localhost/`));
  assert.equal(await put(page, url, 'text/plain', 'hello'), 201);
  assert.equal(await put(page, url, 'text/plain', 'other'), 403);
  assert.equal(await put(page, await slot('long.txt', 5, 'text/plain'), 'text/plain', 'longer'), 413);
  const got = await page.evaluate(async (url) => (await fetch(url)).text(), url);
  assert.equal(got, 'hello');
  const answer = await page.request.get(url, { ignoreHTTPSErrors: true });
  const headers = answer.headers();
  assert.equal(headers['access-control-allow-origin'], '*');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers['content-disposition'], "inline; filename*=UTF-8''tr%C3%A8s%20bien.txt");
  assert.match(headers['content-security-policy'], /default-src 'none'.*sandbox/);
  await page.context().close();
});

test('what is uploaded does not run', async () => {
  const page = await elsewhere();
  const script = '<script>document.title = "run"; fetch("/upload/run")</script>';
  const kinds = [
    ['a.html', 'text/html', `<html><body>${script}</body></html>`],
    ['a.svg', 'image/svg+xml', `<svg xmlns="http://www.w3.org/2000/svg">${script}</svg>`],
    ['a.txt', 'text/plain', `<html><body>${script}</body></html>`],
    ['a.png', 'image/png', `<html><body>${script}</body></html>`],
  ];
  for (const [name, type, text] of kinds) {
    const url = await slot(name, text.length, type);
    assert.equal(await put(page, url, type, text), 201);
    const asked = [];
    page.on('request', (request) => asked.push(request.url()));
    const saved = page.waitForEvent('download').then((download) => download.suggestedFilename());
    saved.catch(() => {});
    const shown = await page.goto(url).then(() => true, () => false);
    if (!shown) assert.equal(await saved, name);
    assert.notEqual(await page.title(), 'run', name);
    assert.ok(!asked.some((url) => url.endsWith('/run')), name);
    assert.equal(shown, !['a.html', 'a.svg'].includes(name), name);
    page.removeAllListeners('request');
    await page.goto(`http://localhost:${server.siteAt}/`);
  }
  await page.context().close();
});
