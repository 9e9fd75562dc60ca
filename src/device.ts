/** Where to compute. */
import { Vlm2VecError } from './errors.js'

/**
 * The device that a choice stands for. `auto` is the CPU: models have no CUDA kernels yet, only single operations do, and
 * these run on a GPU where it is asked for by name.
 */
export function resolveDevice(choice: string): string {
  if (choice === 'auto') return 'cpu'
  if (/^(cpu|cuda(:\d+)?)$/.test(choice)) return choice
  throw new Vlm2VecError(
    'E_OPTION',
    `Expected one of auto, cpu, cuda, cuda:N for "device", received ${JSON.stringify(choice)}.`
  )
}
