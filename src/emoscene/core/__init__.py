"""What everything else stands on, without torch: errors, the eight emotions, seeds, configs, the registry, run folders.

    errors        the two kinds of error, each with a remedy        taxonomy   the emotions and how a mixture is written
    config        dataclasses as settings, read from words          request    the parameters of a generation
    typed_words   the keywords of the request, for editors           recipes/   settings that go together
    registry      plug-ins by name, of any installed package
    run_dir       a folder with a manifest: what every verb leaves  paths      names in files stay in their folder
    images        image files, their parameters, contact sheets     progress   a bar, and Ctrl-C
    image_origin  which images are of a rendered world              seeds      randomness by (seed, words)
    templates     HTML and SVG out of files `templates/*.j2`        processes  those that were launched together
    device_names  how devices and precisions are called             cluster    the workers of a Ray cluster (`--ray`)

The next room, `diffusion`, takes configs, errors and run folders from here.
"""
