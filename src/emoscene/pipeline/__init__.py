"""From a call to images: parameters, samplers, image inputs, adapters, and the folder that images go to.

    samplers      one generator of latents over diffusers' schedulers
    image_inputs  images that are edited, or whose emotion is taken
    adapters      names and folders become methods on a base
    image_folder  a folder of images with an index, filled by one process or many
    pipeline      `EmotionPipeline`, and the verb `generate`

Start in `pipeline.py`; `methods` says what an emotion does before, inside and after the UNet.
"""
