"""Words that people ask with, each beside what has to become of it."""

# Text, and what a warning has to name.
DENIES = {
    "no liver": "no",
    "everything except the liver": "except",
    "there is no abnormality": "no",
    "the abdomen without the spleen": "without",
    "don't draw the liver": "n't",
    "the patient is free of stones": "free of",
}
ANOTHER_LANGUAGE = {
    "\u043f\u0435\u0447\u0435\u043d\u044c": "Cyrillic",
    "\u809d\u81d3": "Cjk",
    "\u0627\u0644\u0643\u0628\u062f": "Arabic",
    "\u05db\u05d1\u05d3": "Hebrew",
    "l\u0456ver": "Cyrillic",  # one letter that only looks like ours
    "die Leber": "German",
    "le foie": "French",
    "h\u00edgado": "Spanish",
    "hi\u0301gado": "Spanish",  # the accent as a character of its own
    "rechte Niere": "German",
}
# Sentences that networks here were trained with, and names of anatomy in Latin.
UNDERSTOOD = [
    "liver",
    "the left kidney",
    "hepar",
    "ren dexter",
    "the liver, not the spleen",
    "only the liver, without the spleen",
    "the lesion with no enhancement",
    "Take the largest lesion, not another one.",
    "T12",
    "Couinaud segment IVa",
]
NO_WORD = [
    "?",
    "...",
    "-",
    "\U0001fac1",
    "\u2764\ufe0f",
    "1\ufe0f\u20e3",
    "\U0001f468\u200d\u2695\ufe0f",
    "( )",
]
BOTH = {
    "Both kidneys": ["left kidney", "right kidney"],
    "kidneys": ["left kidney", "right kidney"],
    "the left and right kidney": ["left kidney", "right kidney"],
    "both adrenal glands": ["left adrenal gland", "right adrenal gland"],
    "both of the parotid-glands": ["left parotid gland", "right parotid gland"],
    "both lungs": ["both lungs"],  # one structure with a name of its own
    "kidney": ["kidney"],
    "both livers": ["both livers"],
}
BIDIRECTIONAL = ["\u202e", "\u202a", "\u2066", "\u2069", "\u200f", "\u061c"]
