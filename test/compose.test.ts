import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import {
  copyFile,
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'

const CHECKOUT = join(import.meta.dirname, '..')

interface Service {
  build: { context: string; dockerfile_inline?: string }
  ports: string[]
  volumes: string[]
  tmpfs: string[]
  healthcheck: { test: string[] }
  read_only: boolean
  cap_drop: string[]
  security_opt: string[]
}

/** `${NAME:-default}` as compose fills it in when nothing is set; the file uses no other form. */
const text = readFileSync(join(CHECKOUT, 'docker-compose.yml'), 'utf8')
const compose: { services: { entrepot: Service }; volumes: object } = parse(
  text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1'),
)
const service = compose.services.entrepot

/** One line of a Dockerfile, without its instruction's flags. */
interface Step {
  instruction: string
  flags: string[]
  rest: string
}

/** The steps of each stage, in order. */
function stagesOf(dockerfile: string): Step[][] {
  const steps = dockerfile
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map(
      (line) =>
        /^(?<instruction>[A-Z]+) (?<flags>(?:--\S+ )*)(?<rest>.*)$/.exec(line)!.groups as Record<string, string>,
    )
    .map(({ instruction, flags, rest }) => ({
      instruction: instruction!,
      flags: flags!.split(' ').filter(Boolean),
      rest: rest!,
    }))
  const starts = steps.flatMap(({ instruction }, at) => (instruction === 'FROM' ? [at] : []))
  return starts.map((start, at) => steps.slice(start, starts[at + 1]))
}

const stages = stagesOf(service.build.dockerfile_inline!)
const [build, final] = stages as [Step[], Step[]]
const argumentOf = (stage: Step[], instruction: string) => stage.find((step) => step.instruction === instruction)?.rest

describe('docker-compose.yml', () => {
  test('nothing in it is left for compose to fill in but defaults that are there', () => {
    expect(JSON.stringify(compose)).not.toContain('$')
  })

  test('the container has no more rights than it needs', () => {
    expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] })
    expect(argumentOf(final, 'USER')).toBe('node')
  })

  test('what must be written lies on the volume or in tmpfs, owned by who runs it', () => {
    expect(service.volumes).toContain('data:/data')
    expect(compose.volumes).toHaveProperty('data')
    expect(final.map(({ rest }) => rest)).toContain('install -d -o node -g node /data')
    expect(service.tmpfs).toEqual(['/tmp'])
  })

  test('it copies named things of the checkout only, and all are there', () => {
    const copied = stages
      .flat()
      .filter(({ instruction, flags }) => instruction === 'COPY' && flags.length === 0)
      .flatMap(({ rest }) => rest.split(' ').slice(0, -1))

    expect(copied.filter((path) => !existsSync(join(CHECKOUT, path)))).toEqual([])
    expect(copied.filter((path) => ['.', 'data', 'node_modules', 'dist'].includes(path.replace(/^\.\//, '')))).toEqual(
      [],
    )
  })

  test('the port of the shipped configuration is the one that is published and looked at', () => {
    const { server } = parse(readFileSync(join(CHECKOUT, 'mirrors.yaml'), 'utf8'))

    expect(server.listen).toBe('0.0.0.0:5000')
    expect(service.ports).toEqual(['5000:5000'])
    expect(argumentOf(final, 'EXPOSE')).toBe('5000')
    expect(service.healthcheck.test.join(' ')).toContain('127.0.0.1:5000/healthz')
  })
})

/**
 * The steps are run in folders that stand for the two stages' file systems: everything but what a base image brings
 * (`install`, users) and `npm ci`, for which this checkout's node_modules stand in.
 */
describe('the build steps, without a base image', () => {
  const run = promisify(execFile)
  let root: string
  let server: ChildProcess | undefined

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'compose-'))
    await replay(build, join(root, 'build'))
    await replay(final, join(root, 'final'))
  }, 60_000)
  afterAll(async () => {
    server?.kill('SIGKILL')
    await rm(root, { recursive: true, force: true })
  })

  async function replay(stage: Step[], stageRoot: string): Promise<void> {
    const workdir = join(stageRoot, argumentOf(stage, 'WORKDIR')!)
    await mkdir(workdir, { recursive: true })
    for (const { instruction, flags, rest } of stage) {
      if (instruction === 'COPY') await copy(rest.split(' '), flags, { workdir, stageRoot })
      if (instruction === 'RUN') await runStep(rest, workdir)
    }
  }

  async function copy(
    paths: string[],
    flags: string[],
    { workdir, stageRoot }: { workdir: string; stageRoot: string },
  ) {
    const target = paths.at(-1)!
    const from = flags.includes('--from=build') ? join(root, 'build') : CHECKOUT
    const to = target.startsWith('/') ? join(stageRoot, target) : join(workdir, target)
    for (const path of paths.slice(0, -1)) {
      const source = join(from, path)
      if (path.endsWith('node_modules')) await linkTree(source, to)
      else await cp(source, target.endsWith('./') ? join(to, path.split('/').at(-1)!) : to, { recursive: true })
    }
  }

  async function runStep(command: string, cwd: string): Promise<void> {
    if (command.startsWith('npm ci')) await linkTree(join(CHECKOUT, 'node_modules'), join(cwd, 'node_modules'))
    else if (!command.startsWith('install ')) await run('sh', ['-c', command], { cwd })
  }

  test('the image holds the command and what it needs, and nothing for development', async () => {
    const { dependencies, devDependencies } = JSON.parse(await readFile(join(CHECKOUT, 'package.json'), 'utf8'))
    const has = (name: string) => existsSync(join(root, 'final/app/node_modules', name))

    expect(Object.keys(dependencies).filter((name) => !has(name))).toEqual([])
    // Fastify needs ajv as well.
    expect(Object.keys(devDependencies).filter((name) => has(name) && name !== 'ajv')).toEqual([])
    expect(existsSync(join(CHECKOUT, 'node_modules/typescript'))).toBe(true)
  })

  test('its command serves from /data, passes the health check, and ends in order', async () => {
    const configuration = join(root, 'final/mirrors.yaml')
    await writeFile(configuration, (await readFile(configuration, 'utf8')).replace('0.0.0.0:5000', '127.0.0.1:0'))
    const [, ...args] = (JSON.parse(argumentOf(final, 'CMD')!) as string[]).map((word) =>
      word.startsWith('/') ? join(root, 'final', word) : word,
    )

    server = spawn(process.execPath, args, { cwd: join(root, 'final/app'), stdio: ['ignore', 'pipe', 'ignore'] })
    let output = ''
    server.stdout!.on('data', (chunk) => {
      output += chunk
    })
    await expect.poll(() => output, { timeout: 10_000 }).toContain('"msg":"listening"')
    const port = /"listen":"127\.0\.0\.1:(\d+)"/.exec(output)![1]!
    const [kind, , ...check] = service.healthcheck.test
    const healthy = (at: string) =>
      run(
        process.execPath,
        check.map((word) => word.replace('5000', at)),
      )

    expect(kind).toBe('CMD')
    await healthy(port)
    expect(await readdir(join(root, 'final/data'))).toContain('index.db')
    server.kill('SIGTERM')
    expect(await once(server, 'exit')).toEqual([0, null])
    await expect(healthy(port)).rejects.toMatchObject({ code: 1 })
  })
})

/** A copy by hard links, but for npm's own record, which it rewrites. */
async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await linkTree(source, target)
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target)
    else if (entry.name === '.package-lock.json') await copyFile(source, target)
    else await link(source, target).catch(() => copyFile(source, target))
  }
}
