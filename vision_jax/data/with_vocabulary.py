"""A source whose captions are tokens: its classes are the words of a vocabulary."""

import dataclasses
import functools

from vision_jax.config import UserError
from vision_jax.data.sources import Example, Source, Wrapped
from vision_jax.data.vocabulary import Vocabulary, read_vocabulary, vocabulary_of
from vision_jax.words import SPECIAL


@dataclasses.dataclass(frozen=True)
class WithVocabulary(Wrapped):
    """A source whose captions are also there as tokens, `encoded`, for `EncodeCaption`.

    A run's classes are then the vocabulary's words, which its folder holds, so that whoever reads
    the folder can read the captions that its network writes.

    A run gives the vocabulary of its training data to its evaluation data, which need no wrapper.

    Attributes:
      source: the source of images and captions.
      threshold: how often a word has to be there; see `Vocabulary.of_captions`.
      file: a vocabulary that `Vocabulary.save` wrote, such as `vocabulary.json` of a run folder,
        instead of that of the captions; '' is none.
      words: those of a vocabulary that is known already, `Vocabulary.words`, instead; () is none.

    Raises:
      UserError: no captions, no such file, or both `words` and `file`.
    """

    threshold: int = 5
    file: str = ""
    words: tuple[str, ...] = ()

    def __post_init__(self):
        if self.file and self.words:
            raise UserError("WithVocabulary: give either `words` or `file`")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.vocabulary.words

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The words and their tokens."""
        if self.words:
            return Vocabulary(self.words[len(SPECIAL) :])
        if self.file:
            return read_vocabulary(self.file)
        return vocabulary_of(self.source, self.threshold)

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        if "captions" not in example:
            raise ValueError("the example has no captions; is 'captions' among the fields?")
        encoded = [self.vocabulary.encode(caption) for caption in example["captions"]]
        return {**example, "encoded": encoded}


def with_words(source: Source, words: tuple[str, ...]) -> Source:
    """Makes a source whose captions are tokens of a vocabulary that is known already.

    Args:
      source: any source of captions. A `WithVocabulary` in it is given the words, so that nobody,
        no process that decodes either, reads all captions again; else the source gets one.
      words: `Vocabulary.words`.
    """
    inner = _given(source, words)
    return WithVocabulary(source, words=words) if inner is None else inner


def _given(source: Source, words: tuple[str, ...]) -> Source | None:
    """Returns the source with the words in its `WithVocabulary`; None if it has none."""
    if isinstance(source, WithVocabulary):
        return dataclasses.replace(source, words=words, file="")
    if not isinstance(source, Wrapped):
        return None
    inner = _given(source.source, words)
    return None if inner is None else dataclasses.replace(source, source=inner)
