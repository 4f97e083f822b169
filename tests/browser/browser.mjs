// Chromium, and Converse.js in it as a person uses it.

import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { DEADLINE, PASSWORD } from './server.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PICTURES = process.env.MOULT_PICTURES;

const ARGUMENTS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** The page of a site with Converse.js: who logs in, and how, is in its address. */
export const PAGE = `<!DOCTYPE html>
<html><head><meta charset="utf-8"><title>Converse.js</title><link rel="stylesheet" href="/converse.min.css"></head>
<body class="converse-fullscreen"><script type="module">
await import('/converse.min.js');
const asked = new URLSearchParams(location.search);
converse.initialize({
  authentication: 'login', auto_login: true, jid: asked.get('jid'), password: '${PASSWORD}',
  [asked.get('how')]: asked.get('where'), discover_connection_methods: asked.get('how') === 'discovered',
  view_mode: 'fullscreen', assets_path: '/', i18n: 'en', loglevel: 'debug', auto_reconnect: true,
  persistent_store: 'sessionStorage', show_background: false,
});
</script></body></html>`;

export function launch() {
  return chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
}

/** A person in front of an own, empty browser profile. */
export class Person {
  /** Logs in as alice; without a resource Converse.js would take another one after each reload, and resume with the old. */
  static async open(browser, resource, address, how, where) {
    // The certificate is the server's own.
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1200, height: 800 } });
    context.setDefaultTimeout(DEADLINE);
    const person = new Person();
    person.page = await context.newPage();
    person.said = [];
    person.page.on('console', (message) => person.said.push(`${message.type()} ${message.text()}`));
    person.page.on('pageerror', (error) => person.said.push(`error ${error.message}`));
    const query = new URLSearchParams({ jid: `alice@localhost/${resource}`, how, where });
    await person.page.goto(`${address}/?${query}`);
    await person.page.locator('.xmpp-status .online').waitFor();
    return person;
  }

  async close() {
    await this.page.context().close();
  }

  async picture(name) {
    if (!PICTURES) return;
    fs.mkdirSync(PICTURES, { recursive: true });
    await this.page.screenshot({ path: path.join(PICTURES, `${name}.png`) });
  }

  /** Waits until a contact is shown as present. */
  async online(jid) {
    await this.page.locator(`li.current-xmpp-contact.online a.open-chat[data-jid="${jid}"]`).waitFor();
  }

  async add(jid) {
    const { page } = this;
    await page.locator('converse-roster .dropdown--contacts .dropdown-toggle').click();
    await page.locator('.dropdown-item.add-contact').click();
    await page.locator('form.add-xmpp-contact input[name=jid]').fill(jid);
    await page.locator('form.add-xmpp-contact [type=submit]').click();
    await page.locator('form.add-xmpp-contact').waitFor({ state: 'detached' });
  }

  async chat(jid) {
    await this.page.locator(`a.open-chat[data-jid="${jid}"]`).click();
    await this.page.locator('textarea.chat-textarea').waitFor();
  }

  async say(text) {
    await this.page.locator('textarea.chat-textarea').fill(text);
    await this.page.keyboard.press('Enter');
  }

  /** Waits until a message with this text is shown. */
  async sees(text) {
    await this.page.locator('.chat-msg__text').getByText(text, { exact: true }).first().waitFor();
  }

  /** How often such a message is shown. */
  count(text) {
    return this.page.locator('.chat-msg__text').getByText(text, { exact: true }).count();
  }

  async upload(name, mimeType, buffer) {
    await this.page.locator('input.fileupload').setInputFiles({ name, mimeType, buffer });
  }
}
