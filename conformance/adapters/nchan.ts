import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Adapter, Reading, ReadOptions, Started } from '../adapter.js'
import { readEvents } from '../event-stream.js'
import { freePort } from '../program.js'

/** The module of the Debian package `libnginx-mod-nchan`, or another build of it. */
const module = process.env['RESUME_NCHAN'] ?? '/usr/lib/nginx/modules/ngx_nchan_module.so'

const config = (directory: string, port: number, retain: number) => `
load_module ${module};
daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
events { worker_connections 1000; }
http {
  access_log off; client_max_body_size 10m;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  server {
    listen 127.0.0.1:${port};
    location ~ ^/pub/(.+)$ {
      nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length ${retain}; nchan_message_timeout 0;
    }
    location ~ ^/sub/(.+)$ { nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message oldest; }
  }
}`

function read({ channel, port, after }: ReadOptions): Reading {
  const headers = typeof after === 'string' && { 'last-event-id': after }
  const url = `http://127.0.0.1:${port}/sub/${channel}`
  return readEvents(url, { ...headers }, after, ({ id, data }, reading) => {
    if (id !== undefined) reading.position = id
    if (data !== undefined) reading.received.push({ kind: 'message', text: data })
  })
}

/** nginx with Nchan, its messages in memory. */
export const nchan: Adapter = {
  name: 'Nchan',
  promises:
    'A subscriber continues after the message id that it sends, as long as the buffer has what follows.',
  canEvict: true,
  canFilter: false,
  resumes: true,
  replays: true,
  missing: () =>
    existsSync(module) ? undefined : 'nginx has no module Nchan here (Debian: libnginx-mod-nchan)',
  async start({ directory, retain = 1_000 }): Promise<Started> {
    const port = await freePort()
    writeFileSync(join(directory, 'nginx.conf'), config(directory, port, retain))
    const child: ChildProcess = spawn(
      'nginx',
      ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', 'stderr'],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    )
    const url = `http://127.0.0.1:${port}/pub`
    for (let tries = 0; ; tries++) {
      const isThere = await fetch(`${url}/there`).then(
        () => true,
        () => false,
      )
      if (isThere) break
      if (tries === 500) throw new Error('nginx does not answer')
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return {
      port,
      async publish(channel, text) {
        const answer = await fetch(`${url}/${channel}`, { method: 'POST', body: text })
        await answer.text()
        if (!answer.ok) throw new Error(`POST ${url}/${channel}: ${answer.status}`)
      },
      read,
      async close() {
        const exited = once(child, 'exit')
        child.kill('SIGTERM')
        await exited
      },
    }
  },
}
