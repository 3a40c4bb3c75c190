"""From images to what training reads: `sources` yield records, `preparation` writes them, `dataset` reads them."""
