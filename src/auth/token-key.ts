import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import { writePrivateFile } from '../lib/private-file.js'

/**
 * The key that tokens are signed with (ES256), from its file; made anew where there is none or it is damaged, which costs
 * clients a new token. One that cannot be kept holds until the next start, and is told.
 */
export async function loadTokenKey(file: string, log: Logger): Promise<KeyObject> {
  const kept = await readKey(file, log)
  if (kept) return kept
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  try {
    await writePrivateFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }) as string)
  } catch (err) {
    log.warn({ err }, 'the key of the tokens cannot be written under storage.path: the next start makes another')
  }
  return privateKey
}

/** @returns `undefined` where there is none that can be used: it is replaced */
async function readKey(file: string, log: Logger): Promise<KeyObject | undefined> {
  try {
    const key = createPrivateKey(await readFile(file, 'utf8'))
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
    log.warn('the key of the tokens is of another kind: it is made anew')
  } catch (error) {
    // what OpenSSL says may quote the file
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') log.warn({ code }, 'the key of the tokens cannot be read: it is made anew')
  }
  return undefined
}
