/** The default limit for the characters of a token. */
export const tokenLengthMax = 8_192

/** The reason for which a token that was valid is refused once it has expired. Clients ask for another one then. */
export const tokenHasExpired = 'The token has expired.'

/** Characters that the header `Authorization` can carry (RFC 6750, section 2.1, and similar ones). */
const headerPattern = /^[!-~]+$/

/**
 * Of the characters of tokens, those that the name of a subprotocol can carry (RFC 6455, section 4.1); they include all of a
 * JWT.
 */
const subprotocolPattern = /^[\w.~-]+$/

/**
 * @param carrier where it is sent
 * @returns whether it can be sent; false, for example, if a typographic quote or an invisible space was copied with it
 */
export function isSendable(token: string, carrier: 'header' | 'subprotocol'): boolean {
  const pattern = carrier === 'header' ? headerPattern : subprotocolPattern
  return token.length <= tokenLengthMax && pattern.test(token)
}
