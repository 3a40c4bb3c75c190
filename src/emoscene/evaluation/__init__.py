"""Judges read images, metrics turn what they read into figures with intervals.

metrics/      pure functions of what was read; one file, one metric
pairs         sums over all pairs of images, in one pass and little memory
statistics    paired differences with intervals
judges        who judges, and that they had no part in what they judge
predictions   images in, what every judge reads in them out
perceptual    LPIPS                          external    any folder of images as samples
generate      prompts x emotions x seeds become images to judge
evaluate      the verb
"""
