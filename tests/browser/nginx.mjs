// nginx in the place of the small proxy, with the site of config/nginx.conf: what is written there is what is tried.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

/** Starts nginx in front of a server and of a site for everything else; gives what ends it. */
export async function startNginx(program, root, folder, port, http, siteAt) {
  const site = fs.readFileSync(path.join(root, 'config/nginx.conf'), 'utf8')
    .replace(/listen \[::\]:443 ssl;/, '')
    .replace('listen 443 ssl;', `listen 127.0.0.1:${port} ssl;`)
    .replace('example.org', 'localhost')
    .replace('/etc/moult/fullchain.pem', path.join(folder, 'server.crt'))
    .replace('/etc/moult/privkey.pem', path.join(folder, 'server.key'))
    .replaceAll('127.0.0.1:5280', `127.0.0.1:${http}`)
    .replace('location = /ws', `location / { proxy_pass http://127.0.0.1:${siteAt}; }\n    location = /ws`);
  const own = path.join(folder, 'nginx');
  fs.mkdirSync(own);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${own}/${kind};`);
  fs.writeFileSync(path.join(own, 'nginx.conf'), `
daemon off; master_process off; pid ${own}/pid; error_log stderr;
events { }
http { access_log off; ${temporary.join(' ')}
${site}
}`);
  const log = fs.openSync(path.join(own, 'log'), 'a');
  const nginx = spawn(program, ['-p', own, '-c', path.join(own, 'nginx.conf')], { stdio: ['ignore', log, log] });
  const ended = new Promise((resolve) => nginx.once('exit', resolve));
  return async () => {
    nginx.kill('SIGTERM');
    await ended;
  };
}
