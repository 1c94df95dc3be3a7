import { Argument, Command } from 'commander'
import { exitCodes } from './exit-codes.js'
import type { Surroundings } from './surroundings.js'

const shells = ['bash', 'zsh', 'fish'] as const
type Shell = (typeof shells)[number]

const examples = `
Examples:
  $ source <(runcast completion bash)                              # in ~/.bashrc
  $ runcast completion zsh > "\${fpath[1]}/_runcast"
  $ runcast completion fish > ~/.config/fish/completions/runcast.fish`

export function completionCommand({ stdout }: Surroundings): Command {
  return new Command('completion')
    .summary('write a completion script for a shell')
    .description('Writes a script with which a shell completes commands and options of runcast.')
    .addArgument(new Argument('<shell>', 'the shell').choices(shells))
    .addHelpText('after', examples)
    .action((shell: Shell, _options: object, { parent }: Command) => {
      stdout.write(scripts[shell](wordsOf(parent?.commands ?? [])))
      process.exitCode = exitCodes.ok
    })
}

interface Words {
  readonly name: string
  readonly summary: string
  readonly options: readonly { readonly long: string; readonly description: string }[]
}

function wordsOf(commands: readonly Command[]): Words[] {
  return commands.map((command) => ({
    name: command.name(),
    summary: command.summary(),
    options: [
      ...command.options.map(({ long, description }) => ({ long: long ?? '', description })),
      { long: '--help', description: 'show this help' },
    ],
  }))
}

/** The words are our own and contain no quotes. */
const scripts: Readonly<Record<Shell, (commands: readonly Words[]) => string>> = {
  bash: (commands) => `_runcast() {
  local word=\${COMP_WORDS[COMP_CWORD]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map(({ name }) => name).join(' ')} help" -- "$word"))
    return
  fi
  case \${COMP_WORDS[1]} in
${commands.map(({ name, options }) => `    ${name}) COMPREPLY=($(compgen -W "${options.map(({ long }) => long).join(' ')}" -- "$word")) ;;`).join('\n')}
  esac
}
complete -o bashdefault -o default -F _runcast runcast
`,
  zsh: (commands) => `#compdef runcast
_runcast() {
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    '${name}:${plain(summary)}'`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  case $words[2] in
${commands.map(({ name, options }) => `    ${name}) _arguments ${options.map(({ long, description }) => `'${long}[${plain(description)}]'`).join(' ')} '*:file:_files' ;;`).join('\n')}
  esac
}
compdef _runcast runcast
`,
  fish: (commands) =>
    commands
      .flatMap(({ name, summary, options }) => [
        `complete -c runcast -n __fish_use_subcommand -a ${name} -d '${plain(summary)}'`,
        ...options.map(
          ({ long, description }) =>
            `complete -c runcast -n '__fish_seen_subcommand_from ${name}' -l ${long.slice(2)} -d '${plain(description)}'`,
        ),
      ])
      .join('\n')
      .concat('\n'),
}

/** @returns a description without characters that are special in a shell */
function plain(text: string): string {
  return text.replaceAll(/['"`$\\[\]:]/g, '')
}
