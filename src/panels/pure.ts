import { Component, type FunctionComponent, h } from 'preact'

/**
 * A component that is drawn again only when one of its properties is another. That of `preact/compat` is not used:
 * where it is loaded, each `onChange` of a text field is told of every key.
 */
export function pure<P extends object>(draw: FunctionComponent<P>) {
  return class Pure extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      const names = Object.keys({ ...this.props, ...next }) as (keyof P)[]
      return names.some((name) => this.props[name] !== next[name])
    }

    override render() {
      return h(draw, this.props)
    }
  }
}
