// Loaded before an example: the application gets a WebSocket of its own, as its other listener would give it one.
import { Server } from 'node:http'
import { WebSocketServer } from 'ws'

const { listen } = Server.prototype
Server.prototype.listen = function (...given) {
  const sockets = new WebSocketServer({ noServer: true })
  this.on('upgrade', (req, socket, head) => {
    if (req.url === '/chat') sockets.handleUpgrade(req, socket, head, (ws) => ws.send('from the application'))
  })
  return listen.apply(this, given)
}
