"""The miniature: a whole Stable Diffusion of a rendered world, its judges and adapters, small enough to ship.

    world/        the rendered world: scenes, things, moods, faces, captions
    weights/      base, judges, adapters            bases/ lexicons/ recipes/ prompts.toml   what suits them
    build         everything made from nothing      recipe        its parts and their settings
    demo          the verb `demo`                   demo_page     its page
    claims        every figure of the README        experiment    images and readings, each made once
    mini          the verb `mini`: the world in the layout of a public data set
    source        the world as a data source of `prepare`

`emoscene` imports nothing of this package. It is registered by the entry points that any other package may use.
"""
