import { baseOf } from './place.js'

/** Where this page's hub is: a proxy, or the server that it is mounted in, may have put it under any path. */
export const base = baseOf(new URL(location.href))
