import { readFile } from 'node:fs/promises'
import { hash } from '@node-rs/bcrypt'
import { ConfigError, htpasswdPath, type LoadOptions } from '../config/load.js'
import { nameFault } from '../lib/htpasswd.js'
import { withoutUser, withUser } from '../lib/htpasswd-edit.js'
import { writePrivateFile } from '../lib/private-file.js'
import { PasswordError, readPassword } from './password.js'

/** About 50 ms for each check. */
const COST = 10
/** What bcrypt looks at: the rest of a longer one would be no secret, and nobody told. */
const LONGEST_BYTES = 72

export interface PasswdOptions extends LoadOptions {
  user: string
  /** Takes the user away instead. */
  remove: boolean
  stdin: NodeJS.ReadStream
  /** Takes what was done, a line without its end. */
  out: (line: string) => void
  /** Takes what is asked and what went wrong; what is asked has no line end. */
  err: (text: string) => void
}

/**
 * `entrepot passwd`: sets the password of a user in the file that `auth.htpasswd` names, and makes the file if need be; a
 * running server sees it at the next login.
 *
 * @returns the exit code: 0 done, 1 not
 */
export async function passwd(options: PasswdOptions): Promise<number> {
  const { user, remove, out, err } = options
  try {
    const path = htpasswdPath(options)
    const fault = nameFault(user)
    if (fault !== undefined) throw new PasswordError(`${JSON.stringify(user)}: ${fault}`)
    if (remove) await removeUser(path, user)
    else await setUser(path, options)
    out(`${path}: ${user} ${remove ? 'is gone' : 'is set'}`)
    return 0
  } catch (error) {
    if (error instanceof ConfigError) err(`${error.message}\n`)
    else err(`entrepot: ${explain(error)}\n`)
    return 1
  }
}

async function setUser(path: string, { user, stdin, err }: PasswdOptions): Promise<void> {
  const password = await readPassword(stdin, err)
  if (password === '') throw new PasswordError('no password came: type one, or pipe it in')
  if (Buffer.byteLength(password) > LONGEST_BYTES)
    throw new PasswordError(`the password is longer than the ${LONGEST_BYTES} bytes that bcrypt looks at`)
  const hashed = await hash(password, COST)
  // Read as late as can be, so that what another one has changed meanwhile stays.
  await writePrivateFile(path, withUser((await readUsers(path)) ?? '', user, hashed))
}

async function removeUser(path: string, user: string): Promise<void> {
  const left = withoutUser((await readUsers(path)) ?? '', user)
  if (left === undefined) throw new PasswordError(`${path} has no user ${user}`)
  await writePrivateFile(path, left)
}

/** @returns `undefined` where there is no file yet */
async function readUsers(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
}

/** @throws what nobody foresaw */
function explain(error: unknown): string {
  if (error instanceof PasswordError) return error.message
  const { code, path } = error as NodeJS.ErrnoException
  const why: Record<string, string> = {
    ENOENT: 'the folder is not there',
    EACCES: 'no permission',
    EPERM: 'no permission to keep its owner: run it as the owner or as root',
    EROFS: 'it is on a read-only file system',
    EBUSY: 'it is mounted by itself: mount the folder that it lies in',
    ENOSPC: 'the disk is full',
    EISDIR: 'it is a folder',
  }
  if (code === undefined || why[code] === undefined) throw error
  return `cannot write ${path ?? 'the file of users'}: ${why[code]}`
}
