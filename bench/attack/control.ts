/** What the attacker does when it does not attack: what is slow then is the machine. */
export const controlName = 'none: the attacker works for itself'
