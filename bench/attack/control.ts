/** What the attacker is told. */
export type AttackerWord =
  | 'stop'
  | { readonly attack: string; readonly url: string; readonly perSecond: number }
