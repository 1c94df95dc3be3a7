// nats-server, subscribed to over WebSocket and published to over TCP: core NATS, without JetStream.
import { writeFileSync } from 'node:fs'
import { compete } from '../server/contestant.js'
import { natsConnect, natsPublish } from '../swarm/nats.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { freePorts, startProcess } from './process.js'

const [port = 0, publishPort = 0] = await freePorts(2)
const config = `
listen: 127.0.0.1:${publishPort}
max_connections: 100000
ping_interval: "10m"
logfile: "/dev/null"
websocket {
  listen: "127.0.0.1:${port}"
  no_tls: true
  compression: false
}
`

const { pid, publisher } = await startProcess((dir) => {
  writeFileSync(`${dir}/nats.conf`, config)
  return ['nats-server', '-c', `${dir}/nats.conf`]
}, publishPort)
publisher.write(natsConnect)
let eventOf: (number: number, stamp: number) => ChannelEvent

compete({
  port,
  pid,
  prepare(round) {
    eventOf = channelEvents(round)
  },
  publish(first, events, stamp) {
    let operations = ''
    for (let index = 0; index < events; index += 1) {
      const { channel, data } = eventOf(first + index, stamp)
      operations += natsPublish(channel, JSON.stringify(data))
    }
    publisher.write(operations)
  },
})
