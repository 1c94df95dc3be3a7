/** Characters of one token, as hubs take it unless they were told otherwise. */
export const tokenLengthMax = 8_192

/** What the header `Authorization` can carry (RFC 6750, section 2.1, and what is like it). */
const headerPattern = /^[!-~]+$/

/** What the name of a subprotocol can carry (RFC 6455, section 4.1), of what tokens are made of: a JWT is within it. */
const subprotocolPattern = /^[\w.~-]+$/

/**
 * @param carrier what it is to be sent in
 * @returns whether it can be: not with a typographic quote or an invisible space that was copied along
 */
export function isSendable(token: string, carrier: 'header' | 'subprotocol'): boolean {
  const pattern = carrier === 'header' ? headerPattern : subprotocolPattern
  return token.length <= tokenLengthMax && pattern.test(token)
}
