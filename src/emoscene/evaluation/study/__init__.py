"""Studies with people: which of two images shows an emotion more, and which emotion an image shows.

    design.py         what is asked, of which images, in which blocks
    making.py         the folder of a study: `study.json`, the key, and `index.html`, the page that raters see
    answers.py        what raters send back, checked
    preferences.py    Bradley-Terry, with intervals that generalise over raters and prompts
    agreement.py      Krippendorff's alpha
    analysis.py       from answers to figures, which `report` shows as those of a judge named `people`
    power.py          how many raters and pairs an effect needs

The verb `study` (cli/study.py) calls them; web/study_server.py collects answers. What a paper should say about its
study follows Otani et al. 2023, who found that few papers say enough to repeat theirs.
"""
