import { writeFileSync } from 'node:fs'
import { compete } from '../server/contestant.js'
import type { Engine } from '../server/engine.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { freePorts, startProcess } from './process.js'

/**
 * Takes part as nginx with nchan, one worker; published to over HTTP with all requests of a turn in one write.
 *
 * @param engine where messages are kept, in place of its own memory
 */
export async function competeAsNchan(engine?: Engine): Promise<void> {
  const pass = engine === undefined ? '' : 'nchan_redis_pass engine;'
  const [port = 0] = await freePorts(1)
  const config = (dir: string) => `
  load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
  daemon off; master_process off; pid ${dir}/pid; error_log stderr crit; worker_rlimit_nofile 20000;
  events { worker_connections 19000; multi_accept on; }
  http {
    access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 1h;
    client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir};
    scgi_temp_path ${dir};
    nchan_shared_memory_size 512M;
    ${engine === undefined ? '' : `upstream engine { nchan_redis_server ${engine.url}; }`}
    server {
      listen 127.0.0.1:${port} backlog=4096;
      location ~ ^/pub/(.+)$ {
        nchan_publisher; nchan_channel_id $1; ${pass}
        nchan_message_buffer_length 1000; nchan_message_timeout 0;
      }
      location ~ ^/sub/(.+)$ {
        nchan_subscriber websocket eventsource; nchan_channel_id $1; nchan_channel_id_split_delimiter ",";
        ${pass}
        nchan_subscriber_first_message newest;
      }
      location ~ ^/all/(.+)$ {
        nchan_subscriber websocket eventsource; nchan_channel_id $1;
        nchan_subscriber_first_message oldest; ${pass}
      }
    }
  }
  `

  const { pid, publisher } = await startProcess((dir) => {
    writeFileSync(`${dir}/nginx.conf`, config(dir))
    return ['nginx', '-p', dir, '-c', `${dir}/nginx.conf`, '-e', 'stderr']
  }, port)
  let eventOf: (number: number, stamp: number) => ChannelEvent

  compete({
    port,
    pid,
    ...(engine && { engine: engine.pid }),
    prepare(round) {
      eventOf = channelEvents(round)
    },
    publish(first, events, stamp) {
      let requests = ''
      for (let index = 0; index < events; index += 1) {
        const { channel, data } = eventOf(first + index, stamp)
        const body = JSON.stringify(data)
        requests += `POST /pub/${channel} HTTP/1.1\r\nHost: bench\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
      }
      publisher.write(requests)
    },
  })
}
