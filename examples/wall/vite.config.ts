import { defineConfig } from 'vite'

// `vite` and `vite preview` pass the hub's paths on, so page and hub have one origin, and the client connects to "/".
const target = process.env.RUNCAST_HUB ?? 'http://127.0.0.1:4600'

export default defineConfig({
  server: { proxy: { '/api': { target, ws: true } } },
})
