import { BlockList, isIP } from 'node:net'
import { quote } from '../../protocol/codes.js'

/** Ranges of IPv4 that are not out in the internet: IANA's registry of special-purpose addresses (RFC 6890). */
const special: readonly (readonly [address: string, bits: number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
]

/** The part of IPv6 that is given out, and what of it leads to other places: Teredo, documentation, 6to4. */
const unicast = ['2000::', 3] as const
const specialSix: readonly (readonly [address: string, bits: number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]

const elsewhere = new BlockList()
for (const [address, bits] of special) elsewhere.addSubnet(address, bits, 'ipv4')
for (const [address, bits] of specialSix) elsewhere.addSubnet(address, bits, 'ipv6')
const given = new BlockList()
given.addSubnet(...unicast, 'ipv6')

/** Which addresses a webhook may be sent to: public ones, and those of loopback and private networks that are named. */
export class PermittedAddresses {
  readonly #allowed = new BlockList()

  /**
   * @param allow addresses and ranges, as `10.1.0.0/16`
   * @throws Error that names the place of the one that is neither
   */
  constructor(allow: unknown, place: string) {
    if (!Array.isArray(allow)) throw new Error(`${place}: expected a list of addresses, got ${quote(allow)}`)
    for (const one of allow as unknown[]) this.#allow(one, place)
  }

  #allow(one: unknown, place: string): void {
    const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(String(one)) ?? []
    const version = isIP(address)
    const length = version === 4 ? 32 : 128
    if (typeof one !== 'string' || version === 0 || Number(bits ?? 0) > length) {
      throw new Error(`${place}: expected addresses like 127.0.0.1 or 10.1.0.0/16, got ${quote(one)}`)
    }
    this.#allowed.addSubnet(address, Number(bits ?? length), familyOf(address))
  }

  /**
   * @param isPlain it is spoken to without TLS
   * @returns why nothing is sent to the address; nothing where it may be
   */
  faultOf(address: string, isPlain: boolean): string | undefined {
    const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
    if (this.#allowed.check(plain, familyOf(plain))) return undefined
    if (!isPublic(plain))
      return `${address} is a loopback or private address: name it in "allow" to permit it`
    if (isPlain) return `${address} is public: use https, or name the address in "allow"`
    return undefined
  }
}

function isPublic(address: string): boolean {
  const family = familyOf(address)
  return (family === 'ipv4' || given.check(address, family)) && !elsewhere.check(address, family)
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}
