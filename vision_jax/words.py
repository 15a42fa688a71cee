"""Splits captions into words by the rules of the Penn Treebank, as captions are evaluated.

The rules are those that show in what Stanford's tokenizer answers with `-preserveLines -lowerCase`,
whose punctuation pycocoevalcap then drops (Chen et al. 2015, section 3.1). They cover captions;
the tokenizer's rules for legal texts, other scripts and dates in newspapers are left out.
"""

import re

# Tokens with a meaning of their own come before a vocabulary's words.
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
PAD, START, END, UNKNOWN = range(len(SPECIAL))

_DROPPED = {"'", "''", "`", "``", ",", ":", ";", "-", "--", "---", "----", '"'}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_ALIKE = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "«": '"', "»": '"', "–": "--", "—": "--", "…": "..."}
)
# Their full stop is a part of them, also at the end of a caption.
_ABBREVIATED = (
    "adm asst ave blvd bros capt cmdr col corp dr drs esq etc ft gen gov hon inc jr lt ltd maj mr "
    "mrs ms mt ph prof rd rep rev sen sgt sr st ste univ vs"
)
# Two words that are written as one, by the number of letters of the first.
_TWO_WORDS = {
    "cannot": 3,
    "gimme": 3,
    "gonna": 3,
    "gotta": 3,
    "lemme": 3,
    "wanna": 3,
    "'tis": 2,
    "'twas": 2,
}
_LETTER = "[\\w\u0300-\u036f]"  # an accent may follow its letter as a character of its own

_PLAIN = re.compile(r"[a-z ,]*\.?")
_TOKEN = re.compile(
    rf"""
    -[lr][rsc]b-                                              # a bracket that has its name already
    | (?:https?://|www\.)[^\s"<>]*[^\s"<>.,;:!?'()]           # addresses
    | [\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}
    | [\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{0,8}}\.(?:com|net|org|edu)\b
    | (?:{_ABBREVIATED.replace(" ", "|")})\.(?!\w)
    | [^\W\d_](?:\.[^\W\d_])+\.?(?!\w) | [^\W\d_]\.(?!\w)     # e.g. U.S. p.m. and initials
    | (?:(?<!\S)[-+])?\d+(?:[.,:]\d+)+ | (?<!\S)[-+]\d+       # 3.5  1,000  2:30  -5
    | '(?:tis|twas|em|\d\ds?)\b
    | '(?:s|m|d|t|ll|re|ve)\b | n't\b
    | {_LETTER}+?(?=n't\b)
    | (?:[dol]'(?={_LETTER}))?{_LETTER}+(?:[-/]{_LETTER}+)*   # half-eaten  plate/table  o'clock
    | [.?!]+ | -+ | '' | `` | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokenize(caption: str) -> list[str]:
    """Splits a caption into words: lower-case, without punctuation.

    "Don't!" is "do n't", "the boys' hats" is "the boys hats", "$5.00" is "$ 5.00", and a bracket is
    "-lrb-" or "-rrb-", which evaluations keep. Words that are separated by single blanks stay as
    they are, so that a text can be split twice.
    """
    plain = _plain_words(caption)
    return _words_by_rules(caption) if plain is None else plain


def _plain_words(caption: str) -> list[str] | None:
    """Splits a caption of letters, blanks and commas with at most a last full stop, as most are.

    None stands for any other, and for one whose words the rules treat in a way of their own.
    """
    caption = caption.strip().lower()
    if not _PLAIN.fullmatch(caption):
        return None
    words = caption.replace(",", " ").split()
    if words and words[-1].endswith("."):
        last = words.pop()[:-1]
        if len(last) == 1 or last in _ABBREVIATED.split():
            return None
        words += [last] if last else []
    return words if _TWO_WORDS.keys().isdisjoint(words) else None


def _words_by_rules(caption: str) -> list[str]:
    words = []
    for match in _TOKEN.finditer(caption.translate(_ALIKE).replace("&amp;", "&")):
        word = match[0].lower()
        if word in _DROPPED or not word.strip(".?!"):
            continue
        word = _BRACKETS.get(word, word)
        first = _TWO_WORDS.get(word, len(word))
        words += [part for part in (word[:first], word[first:]) if part]
    return words
