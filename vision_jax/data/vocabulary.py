"""The words that captions are written with, as numbers, and captions as rows of these numbers."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from vision_jax.config import UserError, within
from vision_jax.data.caption_folder import captions_of
from vision_jax.data.checked_values import printable, shown
from vision_jax.data.folders import read_json
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example, Source
from vision_jax.system import disk
from vision_jax.words import END, PAD, SPECIAL, START, UNKNOWN, tokenize


class Vocabulary:
    """Words and their tokens: 0 padding, 1 start, 2 end, 3 an unknown word, then the words.

    Attributes:
      words: of each token, the four special ones first.
    """

    def __init__(self, words: Iterable[str]):
        """Makes a vocabulary of these words, in the order of their tokens.

        Args:
          words: without the special ones.

        Raises:
          UserError: a word that is there twice, is a special one, or is empty.
        """
        self.words = (*SPECIAL, *words)
        self._tokens = {word: token for token, word in enumerate(self.words)}
        if len(self._tokens) != len(self.words):
            counts = collections.Counter(self.words)
            twice = next(word for word, count in counts.items() if count > 1)
            raise UserError(f"vocabulary: the word {shown(twice)} is there twice")
        if "" in self._tokens:
            raise UserError("vocabulary: a word is empty")

    @classmethod
    def of_captions(cls, captions: Iterable[str], threshold: int = 5) -> "Vocabulary":
        """Makes the vocabulary of a training set's captions, the most frequent words first.

        Args:
          captions: texts, which `words.tokenize` splits.
          threshold: a word that is there less often is left out. Karpathy & Fei-Fei 2015 have 5,
            Vinyals et al. 2015 have 4.

        Raises:
          UserError: no word is there so often.
        """
        counts = collections.Counter(word for text in captions for word in tokenize(text))
        frequent = [w for w, count in counts.items() if count >= threshold and w not in SPECIAL]
        if not frequent:
            most = max(counts.values(), default=0)
            raise UserError(
                f"vocabulary: no word is there {threshold} times, the most frequent one {most} "
                "times; choose a lower threshold"
            )
        return cls(sorted(frequent, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, caption: str) -> list[int]:
        """Returns a caption's tokens, between start and end."""
        words = (self._tokens.get(word, UNKNOWN) for word in tokenize(caption))
        return [START, *(token if token > END else UNKNOWN for token in words), END]

    def decode(self, tokens: Any) -> list[str]:
        """Returns the words of tokens (t,) up to the first end; start and padding are left out.

        Raises:
          ValueError: a number that is no token.
        """
        words = []
        for token in np.asarray(tokens).tolist():
            if not 0 <= token < len(self.words):
                raise ValueError(f"{token} is no token of {len(self.words)}")
            if token == END:
                break
            if token not in (PAD, START):
                words.append(self.words[token])
        return words

    def save(self, path: str | pathlib.Path) -> None:
        """Writes the words to a JSON file, which `read_vocabulary` reads.

        Raises:
          DiskError: the disk takes no more, or is gone.
        """
        text = json.dumps({"words": self.words}, ensure_ascii=False, indent=0)
        with disk.whole_file(path) as half:
            half.write_text(text + "\n", encoding="utf-8")


def read_vocabulary(path: str | pathlib.Path) -> Vocabulary:
    """Reads a file that `Vocabulary.save` wrote.

    Raises:
      UserError: no such file, or one of another content; it is named.
    """
    where, tree = printable(str(path)), read_json(path)
    words = tree.get("words") if isinstance(tree, dict) else None
    if not isinstance(words, list) or tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise UserError(f"{where}: no list 'words' that begins with {', '.join(SPECIAL)}")
    for place, word in enumerate(words):
        if not isinstance(word, str):
            raise UserError(f"{where}, words[{place}] is {shown(word)}, not a text")
    try:
        return Vocabulary(words[len(SPECIAL) :])
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def vocabulary_of(source: Source, threshold: int = 5) -> Vocabulary:
    """Makes the vocabulary of a source's captions; see `Vocabulary.of_captions`.

    Raises:
      UserError: the source has no captions, or no word is there so often.
    """
    texts = (text for own in captions_of(source) for text in own)
    return Vocabulary.of_captions(texts, threshold)


@dataclasses.dataclass(frozen=True)
class EncodeCaption(Transform):
    """A transform that turns one of an example's captions into `tokens` (length,) int32.

    They are the start's token, the words', the end's, and padding. Of a longer caption the first
    `length` tokens are taken, without an end, since it does not end there. An example that has no
    captions gets padding alone, and a picture of one's own stays as it is. Examples come from
    `data.WithVocabulary`.

    Attributes:
      length: tokens of a row, start and end among them.
      random: whether the caption is drawn; else it is the first.

    Raises:
      SettingError: a length below 2.
    """

    length: int = 20
    random: bool = True

    def __post_init__(self):
        within(self, "[2, inf)", "length")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if "encoded" not in example:
            if "captions" in example:
                raise ValueError("the example has no tokens; is the source a data.WithVocabulary?")
            return example
        encoded, tokens = example["encoded"], np.full(self.length, PAD, np.int32)
        if encoded:
            chosen = encoded[int(rng.integers(len(encoded))) if self.random else 0][: self.length]
            tokens[: len(chosen)] = chosen
        return {**example, "tokens": tokens}
