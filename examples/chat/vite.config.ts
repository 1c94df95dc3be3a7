import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// The dev server passes the hub's paths on, so page and hub have one origin, and the client connects to "/".
const target = process.env.RUNCAST_HUB ?? 'http://127.0.0.1:4600'

export default defineConfig({
  plugins: [react()],
  server: { proxy: { '/api': { target, ws: true } } },
})
