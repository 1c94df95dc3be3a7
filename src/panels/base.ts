import { baseOf } from './place.js'

/** The address of this page's hub, which a proxy or the mounting server may have put under any path. */
export const base = baseOf(new URL(location.href))
