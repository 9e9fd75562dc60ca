/** `data image-folder`: a folder of classes to training rows. */
import { defineCommand } from '../command.js'
import { writeImageFolder } from '../data/image-folder.js'
import { boolean, integer, nullable, option, path, required, string } from '../options.js'

export const command = defineCommand({
  options: {
    directory: required(path, 'folder of classes: one folder a class with its pictures'),
    output: required(path, 'JSONL file to write'),
    instruction: option(nullable(string), null, 'instruction of every query'),
    spaces: option(boolean, true, 'underscores in class names become spaces'),
    limit_per_class: option(nullable(integer(1)), null, 'pictures of a class, at most'),
    image_root: option(nullable(path), null, 'folder that the written paths are relative to; default: that of the file')
  },
  positionals: ['directory'],
  examples: ['data image-folder pictures --output train.jsonl --instruction "Which class is this?"'],
  run: async ({ directory, output, instruction, spaces, limit_per_class, image_root, json }, { print, log }) => {
    const { rows, classes } = await writeImageFolder(directory, {
      output,
      spaces,
      instruction: instruction ?? undefined,
      limitPerClass: limit_per_class ?? undefined,
      imageRoot: image_root ?? undefined
    })
    if (json) await print(JSON.stringify({ output, rows, classes }))
    else log.info(`${output}: ${rows} rows of ${classes.length} classes`)
  }
})
