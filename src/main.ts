#!/usr/bin/env node
import { install } from 'undici'
import { run } from './cli/commands.js'

// undici takes over the built-in fetch's dispatcher as soon as it is loaded; its own fetch must come with it.
install()
process.exitCode = await run(process.argv.slice(2))
