/** `doctor`: what this machine can run, and how to repair what it can't. */
import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, freemem, platform, release, totalmem } from 'node:os'
import { defineCommand, type CommandContext } from '../command.js'
import { Vlm2VecError } from '../errors.js'
import { native, type BackendInfo } from '../native.js'

interface Finding {
  name: string
  value: unknown
  /** absent: all is well */
  problem?: string
  repair?: string
}

export const command = defineCommand({
  options: {},
  examples: ['doctor', 'doctor --json'],
  run: async ({ json }, context) => {
    const missing = addonProblem()
    const findings = [...machine(), ...(missing ? [] : addon()), await library('sharp'), await library('tokenizers')]
    await print(findings, json, context)
    if (missing) throw missing
    const broken = findings.find(({ name, problem }) => problem !== undefined && REQUIRED.includes(name))
    if (broken) throw new Vlm2VecError('E_NATIVE_MISSING', `${broken.name}: ${broken.problem}. ${broken.repair}`)
  }
})

/** Without these nothing can be embedded; the rest is worth knowing. */
const REQUIRED = ['sharp', 'tokenizers']

function addonProblem(): Vlm2VecError | undefined {
  try {
    native()
    return undefined
  } catch (error) {
    if (error instanceof Vlm2VecError) return error
    throw error
  }
}

function machine(): Finding[] {
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`
  const require = createRequire(import.meta.url)
  return [
    { name: 'vlm2vec-native', value: (require('../../package.json') as { version: string }).version },
    { name: 'node', value: process.version },
    { name: 'system', value: `${platform()} ${arch()} ${release()}` },
    { name: 'cpu', value: cpus()[0]?.model ?? 'unknown' },
    { name: 'cores', value: availableParallelism() },
    { name: 'memory', value: `${gib(totalmem())}, ${gib(freemem())} free` }
  ]
}

function addon(): Finding[] {
  const info: BackendInfo = native().backendInfo()
  return [
    { name: 'addon', value: info.version },
    { name: 'instruction set', value: info.isa },
    { name: 'oneDNN', value: info.oneDnn },
    cuda(info.cuda)
  ]
}

function cuda({ built, devices, problem }: BackendInfo['cuda']): Finding {
  if (!built)
    return {
      name: 'cuda',
      value: 'not built',
      problem: 'this addon was built without CUDA',
      repair: 'With a CUDA toolkit installed, `npm run build` in a checkout builds it; the CPU needs none.'
    }
  const value = devices.map(
    ({ name, memory, computeCapability }) => `${name}, ${(memory / 2 ** 30).toFixed(0)} GiB, ${computeCapability}`
  )
  if (problem === undefined) return { name: 'cuda', value }
  return { name: 'cuda', value, problem, repair: 'Install or update the NVIDIA driver; the CPU needs none.' }
}

async function library(name: 'sharp' | 'tokenizers'): Promise<Finding> {
  try {
    return { name, value: await VERSIONS[name]() }
  } catch (error) {
    const problem = (error as Error).message.split('\n')[0]!
    const repair = 'Run `npm install` (with optional dependencies) or, in a checkout, `npm run setup`.'
    return { name, value: 'missing', problem, repair }
  }
}

/** Loading them is the check: each has a binary of its own. */
const VERSIONS = {
  sharp: async () => (await import('sharp')).default.versions['sharp'] ?? 'unknown',
  tokenizers: async () => {
    await import('tokenizers')
    return (createRequire(import.meta.url)('tokenizers/package.json') as { version: string }).version
  }
}

async function print(findings: Finding[], json: boolean, { print: line }: CommandContext): Promise<void> {
  if (json) return line(JSON.stringify(Object.fromEntries(findings.map(({ name, ...rest }) => [name, rest]))))
  for (const { name, value, problem, repair } of findings) {
    await line(`${name.padEnd(16)} ${[value].flat().join('; ') || 'none'}`)
    if (problem !== undefined) await line(`${' '.repeat(16)} ${problem}. ${repair ?? ''}`)
  }
}
