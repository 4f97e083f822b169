// A real moultd in a temporary folder, with all bundled modules, and what stands around it on the web: a site with a page
// on another origin, and a proxy that ends TLS and passes on what belongs to XMPP.

import { execFile, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { startNginx } from './nginx.mjs';

const ROOT = process.env.MOULT_ROOT;
const BINARIES = process.env.MOULT_BINARIES ?? path.join(ROOT, 'target/debug');
const PACKAGES = path.resolve('node_modules');
export const DEADLINE = 30_000;
export const PASSWORD = 'sesame';

const run = promisify(execFile);

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm' };

/** A port that nobody listens on. */
async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listen(server) {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server.address().port;
}

function configuration(ports, proxy) {
  return `
[server]
data_dir = "data"
plugin_dir = "plugins"
control_socket = "ctl.sock"
[log]
level = "debug"
[tls]
certificate = "server.crt"
key = "server.key"
[auth]
scram_iterations = 4096
[[listener]]
kind = "c2s"
address = "127.0.0.1"
port = ${ports.c2s}
[[listener]]
kind = "http"
address = "127.0.0.1"
port = ${ports.http}
[vhost."localhost"]
[modules.mod_host_meta]
websocket = "wss://localhost:${proxy}/ws"
bosh = "https://localhost:${proxy}/bosh"
[modules.mod_http_upload]
docroot = "uploads"
url = "https://localhost:${proxy}/upload/localhost"
`;
}

/** The page of a site, and the files of Converse.js beside it. */
function site(page) {
  return (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
      return;
    }
    const file = path.join(PACKAGES, 'converse.js/dist', path.normalize(pathname));
    if (!fs.existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
    fs.createReadStream(file).pipe(response);
  };
}

const PASSED_ON = ['/ws', '/bosh', '/upload/', '/.well-known/'];

/** What a proxy tells of the client, as nginx and others do. */
function forwarded(request) {
  return { ...request.headers, 'x-forwarded-for': request.socket.remoteAddress, 'x-forwarded-proto': 'https' };
}

function proxy(tls, port, elsewhere) {
  const options = (request) => ({ host: '127.0.0.1', port, method: request.method, path: request.url, headers: forwarded(request) });
  const server = https.createServer(tls, (request, response) => {
    if (!PASSED_ON.some((path) => request.url.startsWith(path))) {
      elsewhere(request, response);
      return;
    }
    const onward = http.request(options(request), (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.on('upgrade', (request, socket) => {
    const onward = http.request(options(request));
    onward.on('upgrade', (answer, upstream, head) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`);
      socket.write(['HTTP/1.1 101 Switching Protocols', ...lines, '', ''].join('\r\n'));
      socket.write(head);
      socket.pipe(upstream).pipe(socket);
      for (const end of [socket, upstream]) end.on('error', () => { socket.destroy(); upstream.destroy(); });
    });
    onward.on('error', () => socket.destroy());
    onward.end();
  });
  return server;
}

/** Everything, ready; `stop` ends it. */
export async function start(page) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'moult-browser-'));
  fs.mkdirSync(path.join(folder, 'plugins'));
  await run(path.join(BINARIES, 'moult-bench'), ['certificate', folder, 'localhost']);
  const modules = fs.readdirSync(path.join(ROOT, 'plugins'));
  for (const module of modules) {
    fs.copyFileSync(path.join(BINARIES, `lib${module}.so`), path.join(folder, 'plugins', `${module}.so`));
  }
  const tls = { cert: fs.readFileSync(path.join(folder, 'server.crt')), key: fs.readFileSync(path.join(folder, 'server.key')) };
  const ports = { c2s: await freePort(), http: await freePort() };
  const pages = http.createServer(site(page));
  const front = proxy(tls, ports.http, site(page));
  const siteAt = await listen(pages);
  const nginx = process.env.MOULT_NGINX;
  const proxyAt = nginx ? await freePort() : await listen(front);
  const stopNginx = nginx && await startNginx(nginx, ROOT, folder, proxyAt, ports.http, siteAt);
  fs.writeFileSync(path.join(folder, 'moult.toml'), configuration(ports, proxyAt));
  const log = fs.openSync(path.join(folder, 'moultd.log'), 'a');
  const daemon = spawn(path.join(BINARIES, 'moultd'), ['--config', 'moult.toml'], { cwd: folder, stdio: ['ignore', log, log] });
  const ended = new Promise((resolve) => daemon.once('exit', resolve));
  const ctl = async (...words) => {
    const { stdout } = await run(path.join(BINARIES, 'moultctl'), ['--socket', path.join(folder, 'ctl.sock'), ...words]);
    return stdout;
  };
  const text = () => fs.readFileSync(path.join(folder, 'moultd.log'), 'utf8');
  await until('moultd is ready', () => ctl('started').then(() => true, () => false));
  return {
    ports, siteAt, proxyAt, ctl, log: text, folder,
    async stop() {
      pages.close(); pages.closeAllConnections();
      front.close(); front.closeAllConnections();
      if (stopNginx) await stopNginx();
      daemon.kill('SIGTERM');
      await ended;
      if (/ERROR|panicked/.test(text())) throw new Error(`the server complained:\n${text()}`);
      fs.rmSync(folder, { recursive: true });
    },
  };
}

/** Waits for a condition, not for a time. */
export async function until(what, condition) {
  const deadline = Date.now() + DEADLINE;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
