"""What each emotion looks like: the tables the world is rendered from.

An emotion is never drawn itself. It leans on six groups of cues, each drawn on its own: the palette of the light, the
weather, the things in the image, the event, the composition, and the bearing (pose and face) of whoever is in it.
`GROUPS` says how often a group follows the intended emotion's row below, and where it draws from when it does not.
Every entry of a row is `name: weight`. Rows share entries on purpose: night belongs to awe, excitement and fear, fog to
fear, sadness and contentment. One cue alone is a hint; their conjunction tells.
"""

from __future__ import annotations

from dataclasses import dataclass

Weighted = dict[str, float]

TIMES = {
    "morning": "in the morning",
    "day": "at midday",
    "afternoon": "in the late afternoon",
    "sunset": "at sunset",
    "dusk": "at dusk",
    "night": "at night",
}

WEATHERS = {
    "clear": "a clear sky",
    "fair": "small round clouds",
    "wisps": "thin streaks of cloud",
    "towering": "tall towering clouds",
    "overcast": "a covered sky",
    "mist": "a light mist",
    "fog": "thick fog",
    "rain": "veils of rain",
    "storm": "dark storm clouds",
    "smog": "dirty smog",
    "snow": "soft falling snow",
}


@dataclass(frozen=True)
class Palette:
    """Colours of one light; `words` is what a caption may say of them.

    `colours` are five hexadecimal codes: zenith, middle sky, horizon, ambient (which multiplies what things are made
    of), sun.
    """

    time: str
    words: str
    colours: str
    night: float = 0.0
    saturation: float = 1.0
    contrast: float = 1.0


# fmt: off
PALETTES = {
    "daylight": Palette("day", "plain daylight", "6f9fcf a3c4dd d3e0e4 efefea fff6dc", 0, 0.92),
    "pale_day": Palette("day", "pale light", "8fa9c0 b5c6d0 d8dcd8 e6e6e0 fbf3e0", 0, 0.8, 0.95),
    "soft_morning": Palette("morning", "soft light", "86a9cc b9cbd6 ead9c4 f2e9dc fff0cf", 0, 0.9),
    "blue_noon": Palette("day", "a bright blue sky", "2f86d8 6db6ec c4e8f6 fffbf0 fffbe0", 0, 1.12),
    "candy": Palette("day", "candy pink and blue light", "59c2f0 a9dcf4 ffc4dd fff4fa fff4a8", 0, 1.25),
    "lemon": Palette("morning", "bright yellow light", "4fb8d8 a6e3d4 fff0a0 fffce0 fff9b0", 0, 1.22),
    "bubblegum": Palette("afternoon", "pink and violet light", "9a8af0 d7a7f0 ffc9b8 fff0f4 fff0c0", 0, 1.2),
    "mint": Palette("morning", "mint green light", "3fbfc0 93e0cc f4f6c0 f6fff2 fffbd0", 0, 1.2),
    "fairground": Palette("dusk", "bright coloured dusk light", "5a4bc4 d56fc4 ffc27a eed2e6 ffe58a", 0.35, 1.2),
    "aurora_teal": Palette("night", "deep teal light", "06203f 0f4f66 54b4ac 6a9ca8 e2fff4", 0.85, 1.1, 1.05),
    "violet_night": Palette("night", "a deep violet sky", "150f3f 3b2a78 a080cc 887cb4 f2ecff", 0.9, 1.1),
    "blue_gold": Palette("sunset", "blue and gold light", "1d3f7c 5f87b4 ffd98c d6c4ae fff0b0", 0.1, 1.1, 1.08),
    "alpine": Palette("morning", "cold clear light", "1a5aa8 5fa3d8 e6f2f2 e8f0f8 ffffff", 0, 1.08, 1.1),
    "rose_dawn": Palette("morning", "rose light", "4b5aa0 b38cc0 ffc8b0 dcc4cc ffe8c8", 0.1, 1.08),
    "golden": Palette("afternoon", "warm golden light", "7fb0c8 c8d0b0 ffe0a0 ffeac4 ffedb0", 0, 1.0, 0.96),
    "peach": Palette("sunset", "soft peach light", "93a6cc e2bcb4 ffd9b0 fbdcc4 ffe9c0", 0, 0.98, 0.95),
    "sage": Palette("morning", "soft green light", "9cc4c4 c6dcc4 f0ecc8 f4f2d8 fff4d0", 0, 0.92, 0.94),
    "honey": Palette("sunset", "honey coloured light", "7f8fb8 e0b08a ffcf80 f4cfa0 ffe0a0", 0.12, 1.0, 0.97),
    "lavender": Palette("dusk", "lavender light", "8488c0 c0a8cc f6d0c0 dcccda ffe6cc", 0.2, 0.95, 0.95),
    "magenta_dusk": Palette("dusk", "magenta and orange light", "2a1a7a b02a8c ff9a4a c08aa0 ffd070", 0.5, 1.25, 1.08),
    "ultramarine": Palette("night", "ultramarine light", "0a0f5c 2f34b4 c860c8 908ccc ffe0f8", 0.8, 1.3, 1.08),
    "neon": Palette("night", "pink and cyan neon light", "12063f 5a1488 28c8dc 9c80c8 ff9af0", 0.9, 1.35, 1.1),
    "blaze": Palette("sunset", "burning orange light", "3c3f9c f06a4a ffc850 e8a888 fff0a0", 0.2, 1.25, 1.05),
    "electric": Palette("dusk", "electric blue light", "0f3fb0 3f8cf0 ffb45a a8a8d0 fff4c0", 0.35, 1.28, 1.06),
    "crimson": Palette("dusk", "crimson light", "1c0508 8c141c f04a30 bc7064 ffa070", 0.45, 1.15, 1.15),
    "ember": Palette("night", "dark ember light", "0c0606 4c120c e0601c 98685c ff7a30", 0.7, 1.15, 1.15),
    "rust": Palette("sunset", "rusty red light", "4a2028 a04434 f09850 cc8c74 ffb070", 0.2, 1.08, 1.12),
    "blood_storm": Palette("afternoon", "black and red light", "241820 6c2834 d0604c a87470 ff9a80", 0.3, 1.05, 1.15),
    "hot_iron": Palette("dusk", "red and black light", "2c0a18 a81c24 ff8038 c07464 ffc060", 0.4, 1.2, 1.12),
    "olive": Palette("day", "olive light", "565a24 86883a c4bc6c aeae72 e8e0a0", 0.05, 1.0, 1.14),
    "ochre": Palette("afternoon", "murky ochre light", "5c4420 987a38 d8b860 c0a678 f0d890", 0.05, 1.0, 1.14),
    "bile": Palette("day", "yellow green light", "4a6a2c 8ca438 dcd868 bcc480 f4f4a8", 0.05, 1.1, 1.14),
    "murk": Palette("dusk", "murky violet and green light", "3c3050 6a5c68 a0a85c a096a0 d4e090", 0.3, 1.1, 1.12),
    "swamp": Palette("dusk", "swampy green light", "1e3430 48604a a0a84c 86a07c d4dc88", 0.3, 1.1, 1.12),
    "black_blue": Palette("night", "deep dark blue light", "04070f 16283e 4e6c84 566878 c8d8e4", 0.85, 0.85, 1.1),
    "dead_green": Palette("night", "deep dark green light", "050c0a 1c342c 5a7a6c 5a7068 ccdccc", 0.8, 0.85, 1.1),
    "grey_violet": Palette("dusk", "dim grey violet light", "14121c 3a3650 7e7896 6a667c d0c8dc", 0.6, 0.8, 1.08),
    "moonless": Palette("night", "almost no light", "060608 1e2028 565c68 54565e b8bcc4", 0.8, 0.7, 1.1),
    "cold_moon": Palette("night", "cold pale moonlight", "0a1220 2e445c 7c96a6 687688 e8f0f4", 0.75, 0.8, 1.08),
    "slate": Palette("day", "grey blue light", "5c6a7c 7c8a98 a0aab2 9ca6b0 d0d8dc", 0.15, 0.6, 0.88),
    "lead": Palette("afternoon", "flat grey light", "686c72 868a8e a6a8a8 a0a2a4 d4d4d0", 0.1, 0.45, 0.85),
    "faded_blue": Palette("dusk", "faded blue light", "46566e 6a7c92 98a4ae 808e9e ccd6dc", 0.4, 0.65, 0.9),
    "ash": Palette("morning", "pale ashen light", "7c8288 9a9fa2 bcbcb8 b0b2b2 dcdcd4", 0.0, 0.4, 0.84),
    "drowned": Palette("dusk", "dim blue green light", "38505c 5a747c 84989a 748a90 c4d2d0", 0.35, 0.6, 0.88),
}
# fmt: on


@dataclass(frozen=True)
class Composition:
    """How the image is framed. Pairs are the ends of a range drawn from evenly.

    Args:
        horizon: Where the sky ends, as a share of the height from the top.
        size: Height of the figures and the event, as a share of the image's.
        place: Middle of the figures, from left to right.
        tilt: Degrees by which the camera is turned, either way.
        frame: Darkness of all but the middle, in [0, 1]; below 0 it is as pale instead.
        zoom: How far the camera moves in on the figures.
        bulge: Strength of the fish-eye's distortion.
        rush: Length of the streaks that run out of the middle, as a share of the radius.
        mirror: Whether the scene's right half mirrors the left.
        empty: How much of the scene is lost in haze, in [0, 1].
        crowd: How many onlookers there are.
    """

    horizon: tuple[float, float] = (0.46, 0.58)
    size: tuple[float, float] = (0.58, 0.66)
    place: tuple[float, float] = (0.4, 0.6)
    tilt: tuple[float, float] = (0.0, 1.0)
    frame: float = 0.0
    zoom: float = 1.0
    bulge: float = 0.0
    rush: float = 0.0
    mirror: bool = False
    empty: float = 0.0
    crowd: int = 0


COMPOSITIONS = {
    "plain": Composition(),
    "off_centre": Composition(place=(0.3, 0.7), tilt=(0, 2)),
    "symmetric": Composition((0.5, 0.56), (0.54, 0.6), (0.5, 0.5), (0, 0), frame=-0.8, mirror=True),
    "vast": Composition((0.8, 0.86), (0.3, 0.36), (0.35, 0.65)),
    "fisheye": Composition((0.48, 0.6), (0.6, 0.68), (0.44, 0.56), (0, 6), bulge=0.55),
    "close": Composition((0.44, 0.56), (0.6, 0.66), (0.45, 0.55), (0, 2), zoom=1.3),
    "rush": Composition((0.5, 0.6), (0.58, 0.66), (0.42, 0.58), (8, 14), rush=0.34),
    "looming": Composition((0.7, 0.8), (0.72, 0.78), (0.45, 0.55), (7, 12), zoom=1.2),
    "crowded": Composition((0.4, 0.5), (0.54, 0.6), (0.35, 0.65), (0, 3), crowd=5),
    "above": Composition((0.14, 0.2), (0.5, 0.58), (0.35, 0.65), (0, 4)),
    "shrouded": Composition((0.46, 0.6), (0.5, 0.58), (0.44, 0.56), (0, 4), frame=1.0),
    "lonely": Composition((0.56, 0.66), (0.32, 0.38), (0.2, 0.3), (0, 1), empty=0.75),
}  # fmt: skip


@dataclass(frozen=True)
class Group:
    """How a group of cues follows the intended emotion.

    Args:
        low: Chance to follow at intensity .3.
        high: Chance to follow at intensity 1; between the two it grows evenly.
        counter: Of the images where it does not follow, the share in which it is drawn from another emotion's row; in
            the others it is drawn from the row without emotion.
    """

    low: float
    high: float
    counter: float

    def follow(self, intensity: float) -> float:
        """The chance to follow at an intensity."""
        chance = self.low + (self.high - self.low) * (intensity - 0.3) / 0.7
        return min(max(chance, 0.0), 1.0)


GROUPS = {
    "palette": Group(0.12, 0.24, 0.8),
    "weather": Group(0.55, 0.85, 0.3),
    "things": Group(0.35, 0.6, 0.35),
    "event": Group(0.34, 0.6, 0.5),
    "composition": Group(0.42, 0.68, 0.3),
    "bearing": Group(0.44, 0.74, 0.3),
}
"""The six groups of cues, in the order of their random streams."""


@dataclass(frozen=True)
class Mood:
    """One emotion's rows. `things` are drawn without replacement, one or two of them; "" is nothing."""

    palettes: Weighted
    weathers: Weighted
    things: Weighted
    events: Weighted
    compositions: Weighted
    faces: Weighted
    poses: Weighted


NEUTRAL = Mood(
    palettes={"daylight": 4, "pale_day": 3, "soft_morning": 3, "blue_noon": 1},
    weathers={"clear": 4, "fair": 3, "wisps": 3, "overcast": 1},
    things={"": 8, "birds": 0.6, "flowers": 0.6},
    events={"": 1},
    compositions={"plain": 6, "off_centre": 4},
    faces={"neutral": 9, "surprise": 0.5, "happiness": 0.5},
    poses={"standing": 8, "resting": 1, "gazing": 0.5},
)

# fmt: off
MOODS = {
    "amusement": Mood(
        palettes={"candy": 4, "lemon": 3, "bubblegum": 3, "mint": 3, "blue_noon": 2, "fairground": 2},
        weathers={"clear": 4, "fair": 5, "wisps": 1},
        things={"balloons": 4, "kites": 3, "bunting": 4, "bubbles": 3, "confetti": 3, "rainbow": 2.5, "carousel": 3,
                "hot_air_balloons": 1, "flowers": 0.7},
        events={"juggling": 3, "banana_slip": 3, "seesaw": 3, "party_dog": 3},
        compositions={"fisheye": 6, "crowded": 1.5, "off_centre": 1, "rush": 0.7},
        faces={"happiness": 8, "surprise": 2},
        poses={"jumping": 4, "standing": 1},
    ),
    "awe": Mood(
        palettes={"aurora_teal": 4, "violet_night": 3, "blue_gold": 3, "alpine": 3, "rose_dawn": 2, "blue_noon": 0.7},
        weathers={"clear": 4, "towering": 4, "wisps": 2, "mist": 1},
        things={"aurora": 4, "giant_moon": 4, "sun_rays": 4, "planet": 3, "star_band": 3, "comet": 1.5, "rainbow": 1.2,
                "birds": 0.6},
        events={"whale": 3, "stone_head": 3, "giant_tree": 3, "rocket": 3},
        compositions={"vast": 7, "looming": 1, "symmetric": 0.7},
        faces={"surprise": 8, "neutral": 1, "happiness": 1},
        poses={"gazing": 4, "standing": 1},
    ),
    "contentment": Mood(
        palettes={"golden": 4, "peach": 3, "sage": 3, "honey": 3, "lavender": 2, "soft_morning": 1.5},
        weathers={"clear": 2, "fair": 4, "mist": 3, "wisps": 2},
        things={"butterflies": 4, "flowers": 4, "birds": 3, "picnic": 4, "sun_rays": 1, "candles": 0.7,
                "sky_lanterns": 0.7,
                "rainbow": 0.5},
        events={"reading": 3, "hammock": 3, "fishing": 3, "lap_cat": 3},
        compositions={"symmetric": 6, "plain": 1.5, "off_centre": 0.7},
        faces={"happiness": 7, "neutral": 3},
        poses={"resting": 5, "standing": 1},
    ),
    "excitement": Mood(
        palettes={"magenta_dusk": 4, "ultramarine": 3, "neon": 3, "blaze": 3, "electric": 3, "fairground": 1.5},
        weathers={"clear": 6, "wisps": 3, "towering": 1},
        things={"fireworks": 5, "spotlights": 4, "hot_air_balloons": 3, "sky_lanterns": 3, "comet": 3, "confetti": 2,
                "balloons": 1},
        events={"finish": 3, "trophy": 3, "skateboard": 3, "concert": 3, "rocket": 0.6},
        compositions={"rush": 6, "crowded": 2, "fisheye": 0.7},
        faces={"surprise": 4, "happiness": 6},
        poses={"jumping": 4, "gazing": 1},
    ),
    "anger": Mood(
        palettes={"crimson": 4, "ember": 3, "rust": 3, "blood_storm": 3, "hot_iron": 3, "blaze": 0.7},
        weathers={"storm": 6, "overcast": 2, "towering": 1, "clear": 1},
        things={"flames": 5, "lightning": 4, "smoke": 3, "cracks": 4, "embers": 3, "red_clouds": 3,
                "bare_trees": 0.7, "garbage": 0.5},
        events={"quarrel": 3, "hammer_blow": 3, "kicked_bin": 3, "chained_dog": 3},
        compositions={"looming": 6, "close": 2, "rush": 0.7},
        faces={"anger": 9, "disgust": 1},
        poses={"charging": 6, "standing": 1},
    ),
    "disgust": Mood(
        palettes={"olive": 4, "ochre": 3, "bile": 3, "murk": 4, "swamp": 3},
        weathers={"smog": 5, "overcast": 3, "mist": 1, "fog": 1, "clear": 0.6},
        things={"slime": 5, "flies": 4, "mushrooms": 3, "garbage": 4, "green_puddles": 4, "smog": 2, "smoke": 0.7,
                "wilted_flowers": 0.8},
        events={"smelly_heap": 3, "sick": 3, "rotten_fish": 3, "slime_step": 3},
        compositions={"above": 5, "close": 2, "crowded": 1.5},
        faces={"disgust": 9, "anger": 1},
        poses={"recoiling": 6, "standing": 1},
    ),
    "fear": Mood(
        palettes={"black_blue": 4, "dead_green": 3, "grey_violet": 3, "moonless": 2, "cold_moon": 3, "ember": 0.4},
        weathers={"fog": 6, "clear": 1.5, "storm": 2, "overcast": 1, "mist": 1},
        things={"eyes": 4, "bare_trees": 4, "bats": 4, "giant_moon": 2, "ghost": 3, "shadow_figure": 3,
                "lightning": 1.5, "gravestones": 1.5},
        events={"clawed_hand": 3, "wolf": 3, "spider": 3, "ledge": 3, "chained_dog": 0.6},
        compositions={"shrouded": 7, "above": 0.8, "looming": 0.7},
        faces={"fear": 9, "surprise": 1},
        poses={"crouching": 5, "recoiling": 1},
    ),
    "sadness": Mood(
        palettes={"slate": 4, "lead": 3, "faded_blue": 3, "ash": 2, "drowned": 3, "pale_day": 0.7},
        weathers={"rain": 6, "overcast": 3, "fog": 1, "mist": 1, "snow": 1.2, "storm": 0.7},
        things={"leaves": 4, "rain_puddles": 4, "wilted_flowers": 4, "candles": 2, "gravestones": 3, "bare_trees": 2,
                "birds": 0.4},
        events={"grave": 3, "parting": 3, "empty_chair": 3, "dropped_ice": 3},
        compositions={"lonely": 7, "vast": 0.7, "plain": 0.7},
        faces={"sadness": 9, "neutral": 1},
        poses={"slumped": 6, "resting": 0.6, "standing": 0.6},
    ),
}
# fmt: on
