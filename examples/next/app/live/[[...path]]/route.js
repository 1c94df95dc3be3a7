import { live } from '../../../hub.mjs'

export const dynamic = 'force-dynamic'

const answer = (request) => live.fetch(request)

export {
  answer as DELETE,
  answer as GET,
  answer as HEAD,
  answer as OPTIONS,
  answer as PATCH,
  answer as POST,
  answer as PUT,
}
