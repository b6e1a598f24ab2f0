// The shop's web server: files of shop/ on PORT, nothing else.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';

const types = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript' };

createServer(async (request, response) => {
  const name = new URL(request.url, 'http://shop').pathname.slice(1) || 'index.html';
  try {
    if (!/^[a-z]+\.[a-z]+$/.test(name)) throw new Error('not a file of the shop');
    const body = await readFile(new URL(`shop/${name}`, import.meta.url));
    response.writeHead(200, { 'content-type': `${types[extname(name)]}; charset=utf-8` }).end(body);
  } catch {
    response.writeHead(404).end('not found');
  }
}).listen(Number(process.env.PORT), '127.0.0.1');
