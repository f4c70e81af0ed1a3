import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Ajv } from 'ajv'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

/** Ships the specification's schema as a file; pinned, so that the test means the same tomorrow. */
const SCHEMA_MODULE = 'github.com/compose-spec/compose-go/v2@v2.4.7'

const run = promisify(execFile)

test('docker-compose.yml keeps the schema of the compose specification', async () => {
  const { stdout } = await run('go', ['mod', 'download', '-json', SCHEMA_MODULE], { cwd: '/' })
  const { Dir: folder } = JSON.parse(stdout) as { Dir: string }
  const { $schema: _, ...schema } = JSON.parse(await readFile(join(folder, 'schema/compose-spec.json'), 'utf8'))
  const text = await readFile(join(import.meta.dirname, '../../docker-compose.yml'), 'utf8')
  const validate = new Ajv({ strict: false, validateFormats: false }).removeKeyword('id').compile(schema)

  validate(parse(text))

  expect(validate.errors ?? []).toEqual([])
  expect(validate({ ...parse(text), servizes: {} })).toBe(false)
})
