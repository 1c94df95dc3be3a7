import { createHub, mount } from 'runcast'

/** Next loads a file once for each route and again after each change, but there must be only one hub. */
export const hub = (globalThis.hub ??= createHub())

// Everybody may do everything here. In your application, `authorize` says what the signed-in user may.
export const live = (globalThis.live ??= mount(hub, { prefix: '/live', open: true }))
