/**
 * The one error type of the package. `code` is stable; the message says what was wrong, where (file, record, tensor) and
 * what to do about it.
 */
export type ErrorCode =
  | 'E_OPTION' // wrong usage, unknown or invalid option
  | 'E_OUTPUT' // the output directory holds another run
  | 'E_DATA' // a data file or record
  | 'E_IMAGE' // a picture that cannot be read or is refused
  | 'E_CHECKPOINT' // a weight file: header, missing, unexpected or wrongly shaped tensor, NaN
  | 'E_MODEL' // a model directory: config, tokenizer, unknown architecture
  | 'E_BATCH' // a batch that does not fit the model
  | 'E_SHAPE' // sizes of arrays that do not fit each other
  | 'E_CLOSED' // used after close()
  | 'E_MEMORY' // out of memory
  | 'E_IO' // reading or writing failed: disk full, permission
  | 'E_NUMERIC' // loss or gradient not finite
  | 'E_CUDA' // no GPU, driver too old, a CUDA call failed
  | 'E_NATIVE_MISSING' // the addon was not found
  | 'E_ABORTED' // stopped by a signal
  | 'E_INTERNAL'

export class Vlm2VecError extends Error {
  override readonly name = 'Vlm2VecError'
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: { cause?: unknown }
  ) {
    super(message, options)
  }
}

const EXIT_CODES: Partial<Record<ErrorCode, number>> = {
  E_OPTION: 2,
  E_OUTPUT: 2,
  E_CUDA: 3,
  E_NATIVE_MISSING: 3,
  E_DATA: 4,
  E_IMAGE: 4,
  E_CHECKPOINT: 4,
  E_MODEL: 4,
  E_ABORTED: 130
}

/** Exit code of the command line for an error: 1 run time, 2 usage, 3 environment, 4 data or model files, 130 stopped. */
export function exitCodeOf(error: unknown): number {
  return (error instanceof Vlm2VecError && EXIT_CODES[error.code]) || 1
}
