import { lexer, type Token, type Tokens } from 'marked'
import type { ComponentChildren } from 'preact'
import { hasLongRun } from './long-runs.js'
import { pure } from './pure.js'

/** Maximum depth of elements; what is nested deeper is shown as text. */
const depthMax = 16

/**
 * Markdown as elements of the page. Only the lexer is from a library. Text never becomes markup: HTML is shown as text,
 * and an image as a link to it.
 */
export const Markdown = pure(function Markdown({ text }: { readonly text: string }) {
  return <div class="markdown">{drawn(text)}</div>
})

function drawn(text: string): ComponentChildren {
  if (hasLongRun(text)) return text
  try {
    return all(lexer(text, { gfm: true, breaks: true }), 0)
  } catch {
    // Nested deeper than the lexer can follow.
    return text
  }
}

function all(tokens: readonly Token[] | undefined, depth: number): ComponentChildren {
  if (depth > depthMax) return tokens?.map(({ raw }) => raw).join('')
  return tokens?.map((token) => one(token, depth + 1))
}

function one(token: Token, depth: number): ComponentChildren {
  switch (token.type) {
    case 'space':
    case 'def':
      return null
    case 'heading':
      // Not a heading element, so that screen readers that list headings list the panels.
      return <p class={`heading level-${(token as Tokens.Heading).depth}`}>{all(token.tokens, depth)}</p>
    case 'paragraph':
      return <p>{all(token.tokens, depth)}</p>
    case 'blockquote':
      return <blockquote>{all(token.tokens, depth)}</blockquote>
    case 'code':
      return (
        <pre>
          <code>{(token as Tokens.Code).text}</code>
        </pre>
      )
    case 'list':
      return list(token as Tokens.List, depth)
    case 'table':
      return table(token as Tokens.Table, depth)
    case 'hr':
      return <hr />
    case 'strong':
      return <strong>{all(token.tokens, depth)}</strong>
    case 'em':
      return <em>{all(token.tokens, depth)}</em>
    case 'del':
      return <del>{all(token.tokens, depth)}</del>
    case 'codespan':
      return <code>{(token as Tokens.Codespan).text}</code>
    case 'br':
      return <br />
    case 'link':
      return link((token as Tokens.Link).href, all(token.tokens, depth))
    case 'image':
      return link((token as Tokens.Image).href, (token as Tokens.Image).text || (token as Tokens.Image).href)
    case 'escape':
      return (token as Tokens.Escape).text
    case 'text':
      return token.tokens === undefined ? (token as Tokens.Text).text : all(token.tokens, depth)
    default:
      return token.raw
  }
}

function list({ ordered, start, items }: Tokens.List, depth: number): ComponentChildren {
  const drawn = items.map(({ tokens, task, checked }) => (
    <li>
      {task && (checked === true ? '☑ ' : '☐ ')}
      {all(
        tokens.filter(({ type }) => type !== 'checkbox'),
        depth,
      )}
    </li>
  ))
  return ordered ? <ol start={start === '' ? 1 : start}>{drawn}</ol> : <ul>{drawn}</ul>
}

function table({ header, rows }: Tokens.Table, depth: number): ComponentChildren {
  return (
    <table>
      <thead>
        <tr>
          {header.map(({ tokens }) => (
            <th>{all(tokens, depth)}</th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr>
            {row.map(({ tokens }) => (
              <td>{all(tokens, depth)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** A link to `http`, `https` or `mailto` only, so that it can neither run a script nor lead into the page. */
function link(href: string, shown: ComponentChildren): ComponentChildren {
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return shown
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {shown}
    </a>
  )
}
