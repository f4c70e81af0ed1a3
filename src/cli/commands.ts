import { Command, CommanderError } from 'commander'
import { DEFAULT_FILE } from '../config/load.js'
import { doctor } from '../doctor/doctor.js'
import { checkConfig } from './check-config.js'
import { gc } from './gc.js'
import { passwd } from './passwd.js'
import { serve } from './serve.js'

const FILE_OPTION = [
  '-c, --config <file>',
  `configuration file (default: ./${DEFAULT_FILE} if it is there, else built-in defaults)`,
] as const

/**
 * Runs one command line.
 *
 * @param args without the interpreter and the script
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage
 */
export async function run(args: string[]): Promise<number> {
  let code = 0
  const program = buildProgram((result) => {
    code = result
  })
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // Asking for help is no mistake; everything else that commander throws is.
    return error.exitCode === 0 ? 0 : 2
  }
}

interface GcFlags {
  dryRun?: boolean
  json?: boolean
  server?: string
  config?: string
}

function buildProgram(done: (code: number) => void): Command {
  const program = new Command('entrepot')
    .description('Pull-through caching mirror and registry for Docker and OCI images')
    .exitOverride()
    .showHelpAfterError()
  const where = { env: process.env, cwd: process.cwd() }

  program
    .command('serve')
    .description(
      'the server, in the foreground; SIGTERM lets running transfers end and stops, SIGHUP reads the file again',
    )
    .option(...FILE_OPTION)
    .action(async ({ config }: { config?: string }) => done(await serve({ file: config, ...where })))

  program
    .command('check')
    .description('validates the configuration and reports every fault as file:line:column: message')
    .option(...FILE_OPTION)
    .action(({ config }: { config?: string }) =>
      done(checkConfig({ file: config, ...where, out: console.log, err: console.error })),
    )

  program
    .command('passwd')
    .description('sets the password of a user, asked for on the terminal or read from stdin; nothing need be restarted')
    .argument('<user>', 'who signs in with it')
    .option(...FILE_OPTION)
    .option('--delete', 'takes the user away instead')
    .action(async (user: string, { config, delete: remove = false }: { config?: string; delete?: boolean }) => {
      const err = (text: string) => void process.stderr.write(text)
      done(await passwd({ user, remove, file: config, ...where, stdin: process.stdin, out: console.log, err }))
    })

  program
    .command('doctor')
    .description(
      'shows the main job: a cold, warm, joined, cut, ranged and offline pull and a push, against a server and an upstream of its own',
    )
    .option(
      '--server <url>',
      'asks a running server what can be asked of it instead; http://user:password@host where users sign in',
    )
    .action(async ({ server }: { server?: string }) =>
      done(await doctor({ server, out: console.log, err: console.error })),
    )

  program
    .command('gc')
    .description(
      'has a running server collect its garbage: what nothing needs any more, and what the retention rules let go',
    )
    .option('--dry-run', 'says what would go, why and how many bytes, and changes nothing')
    .option('--json', 'prints one JSON value a line')
    .option(
      '--server <url>',
      'the server, as http://user:password@host:port where auth.admins asks for it (default: that of the configuration)',
    )
    .option(...FILE_OPTION)
    .action(async ({ dryRun = false, json = false, server, config }: GcFlags) =>
      done(await gc({ dryRun, json, server, file: config, ...where, out: console.log, err: console.error })),
    )

  return program
}
