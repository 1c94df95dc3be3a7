// mosquitto, subscribed to over WebSocket and published to over TCP, all at QoS 0.
import { writeFileSync } from 'node:fs'
import { compete } from '../server/contestant.js'
import { mqttConnect, mqttPublish } from '../swarm/mqtt.js'
import { type ChannelEvent, channelEvents } from './channels.js'
import { freePorts, startProcess } from './process.js'

const [port = 0, publishPort = 0] = await freePorts(2)
const config = `
listener ${port} 127.0.0.1
protocol websockets
listener ${publishPort} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
persistence false
log_type error
`

const { pid, publisher } = await startProcess((dir) => {
  writeFileSync(`${dir}/mosquitto.conf`, config)
  return ['mosquitto', '-c', `${dir}/mosquitto.conf`]
}, publishPort)
publisher.write(mqttConnect('bench-publisher'))
let eventOf: (number: number, stamp: number) => ChannelEvent

compete({
  port,
  pid,
  prepare(round) {
    eventOf = channelEvents(round)
  },
  publish(first, events, stamp) {
    const packets: Buffer[] = []
    for (let index = 0; index < events; index += 1) {
      const { channel, data } = eventOf(first + index, stamp)
      packets.push(mqttPublish(channel, JSON.stringify(data)))
    }
    publisher.write(Buffer.concat(packets))
  },
})
