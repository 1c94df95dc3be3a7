// Socket.IO with rooms.
import { competeAsSocketIo } from './socket-io-server.js'

competeAsSocketIo()
