/** What is embedded: any mix of text and pictures, with an instruction. Only what is present counts. */
export interface Item {
  id?: string
  text?: string
  instruction?: string
  /** paths (relative to the file that names them, or the image root), data: or file: URLs, or encoded bytes (JPEG, PNG, ...) */
  images?: ImageSource[]
  videos?: Video[]
}

export type ImageSource = string | URL | Uint8Array

export interface Video {
  /** pictures in order of time, taken as given */
  frames: ImageSource[]
  /** frames a second; default 2 */
  fps?: number
}

/** One row of training data. */
export interface Example {
  query: Item
  /** at least one */
  positives: Item[]
  negatives: Item[]
}
