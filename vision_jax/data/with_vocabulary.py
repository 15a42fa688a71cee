"""A source whose captions are tokens: its classes are the words of a vocabulary."""

import dataclasses
import functools

from vision_jax.config import UserError
from vision_jax.data.sources import Example, Source, Wrapped
from vision_jax.data.vocabulary import Vocabulary, read_vocabulary, vocabulary_of


@dataclasses.dataclass(frozen=True)
class WithVocabulary(Wrapped):
    """A source whose captions are also there as tokens, `encoded`, for `EncodeCaption`.

    A run's classes are then the vocabulary's words, which its folder holds, so that whoever reads
    the folder can read the captions that its network writes.

    Attributes:
      source: the source of images and captions.
      of: the training data, whose captions make the vocabulary; None is `source` itself.
      threshold: how often a word has to be there; see `Vocabulary.of_captions`.
      file: a vocabulary that `Vocabulary.save` wrote, instead; '' is none.

    Raises:
      UserError: no captions, no such file, or both `of` and `file`.
    """

    of: Source | None = None
    threshold: int = 5
    file: str = ""

    def __post_init__(self):
        if self.file and self.of is not None:
            raise UserError("WithVocabulary: give either `of` or `file`")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.vocabulary.words

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The words and their tokens."""
        if self.file:
            return read_vocabulary(self.file)
        return vocabulary_of(self.source if self.of is None else self.of, self.threshold)

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        if "captions" not in example:
            raise ValueError("the example has no captions; is 'captions' among the fields?")
        encoded = [self.vocabulary.encode(caption) for caption in example["captions"]]
        return {**example, "encoded": encoded}
