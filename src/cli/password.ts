/** No password could be had; the message says why and what to do. */
export class PasswordError extends Error {
  override readonly name = 'PasswordError'
}

const ENTER = /[\r\n]/
const INTERRUPT = '\u0003'
const END = '\u0004'
const ERASE = new Set(['\u007f', '\b'])

/**
 * Asks for a password, twice and without showing it, if `stdin` is a terminal; otherwise it is the first line of what is
 * piped in.
 *
 * @throws {PasswordError} when the two differ, or it is interrupted
 */
export async function readPassword(stdin: NodeJS.ReadStream, ask: (text: string) => void): Promise<string> {
  if (!stdin.isTTY) return firstLine(stdin)
  // The terminal is left as it was, whatever happens.
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  const characters = charactersOf(stdin)
  try {
    ask('Password: ')
    const first = await typed(characters)
    ask('\nAgain: ')
    const second = await typed(characters)
    if (first !== second) throw new PasswordError('the two passwords differ: nothing was changed')
    return first
  } finally {
    ask('\n')
    stdin.setRawMode(false)
    await characters.return(undefined)
    stdin.pause()
  }
}

async function firstLine(stdin: NodeJS.ReadStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stdin) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString('utf8').split(/\r?\n/, 1)[0]!
}

/** One at a time, since what is pasted comes all at once. */
async function* charactersOf(stdin: NodeJS.ReadStream): AsyncGenerator<string, void, undefined> {
  for await (const text of stdin as AsyncIterable<string>) yield* text
}

async function typed(characters: AsyncGenerator<string, void, undefined>): Promise<string> {
  const password: string[] = []
  for (;;) {
    const { value: character, done } = await characters.next()
    if (done || ENTER.test(character) || character === END) return password.join('')
    if (character === INTERRUPT) throw new PasswordError('interrupted: nothing was changed')
    if (ERASE.has(character)) password.pop()
    else password.push(character)
  }
}
