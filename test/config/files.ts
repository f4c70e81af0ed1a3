import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { ConfigError, loadConfig } from '../../src/config/load.js'

const made: string[] = []
afterAll(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** A folder with the files given, by name; gone after the test file. */
export function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-config-'))
  made.push(folder)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

/** Loads `text` as `mirrors.yaml`, beside `files`. */
export function load(
  text: string,
  { env = {}, files = {} }: { env?: NodeJS.ProcessEnv; files?: Record<string, string> } = {},
) {
  return loadConfig({ env, cwd: folderWith({ ...files, 'mirrors.yaml': text }) }).config
}

/** What is wrong with `text`, one `line:column: message` each. */
export function faultsOf(...file: Parameters<typeof load>): string[] {
  try {
    load(...file)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.faults.map(({ line, column, message }) => `${line}:${column}: ${message}`)
  }
  return []
}
