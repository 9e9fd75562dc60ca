{
  # For those who run node-gyp: the build graph is CMakeLists.txt, and this only calls it. No source is listed twice.
  'targets': [
    {
      'target_name': 'vlm2vec_native',
      'type': 'none',
      'actions': [
        {
          'action_name': 'cmake',
          'inputs': ['CMakeLists.txt'],
          'outputs': ['<(module_root_dir)/build/Release/vlm2vec_native.node', '<(module_root_dir)/build/always'],
          'action': ['node', '<(module_root_dir)/scripts/build.mjs', '--native'],
        },
      ],
    },
  ],
}
