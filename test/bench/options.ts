import { Command, InvalidArgumentError } from 'commander'
import { GROUPS, ROWS, type Row } from './rows.js'

export interface BenchOptions {
  quick?: boolean
  only?: RegExp
  out?: string
  compare?: string
  from?: string
  readme?: boolean
}

/** The arguments of `npm run bench --`. Ends the process where they are wrong, or where help is asked for. */
export function benchOptions(args: readonly string[]): BenchOptions {
  return new Command('npm run bench --')
    .description(
      'Measures the built server and those it stands beside in one run, interleaved, over loopback in a network namespace of its own. ' +
        'Ends with 1 if something that must be reached is not.',
    )
    .option(
      '--quick',
      '3 minutes instead of 10: fewer and shorter rounds, and without what takes long (docker, a million blobs, some of the mirrors)',
    )
    .option('--only <pattern>', 'rows or groups that match, as a regular expression: hot, ^hot-4k$, cold|push', pattern)
    .option('--out <file>', 'where the samples go as JSON (default: bench-results/<date>.json)')
    .option('--compare <file>', 'also prints how each row has changed since that run')
    .option('--from <file>', 'measures nothing, prints the table of that run')
    .option('--readme', "puts the table into README.md, in the last one's place")
    .addHelpText('after', `\nGroups: ${GROUPS.join(', ')}\nRows: ${ROWS.map(({ id }) => id).join(', ')}`)
    .parse([...args], { from: 'user' })
    .opts<BenchOptions>()
}

/** Whether a row was asked for. */
export function isWanted({ id, group }: Row, only: RegExp | undefined): boolean {
  return !only || only.test(id) || only.test(group)
}

function pattern(text: string): RegExp {
  const only = new RegExp(text)
  if (!ROWS.some((row) => isWanted(row, only)))
    throw new InvalidArgumentError('no row and no group matches; see --help')
  return only
}
