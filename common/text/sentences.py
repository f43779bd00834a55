"""One vector for a whole text, from the features of its word pieces."""

import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import InputError

CLIP_TEXT = "clip_text_model"  # transformers' model_type


class SentenceVectors:
    """What `TextEncoder` and the bank that stands for it say of sentences.

    A sentence vector is what the language model was trained to give: of BERT the first token, of CLIP the
    last real one (its end-of-text token, which alone has read the whole text) times `text_projection`. It is
    had from the word features and their mask, so whoever keeps these needs no more. The mask says what is
    real and no id does: CLIP pads with its end-of-text token.

    Attributes:
        source: hub id or folder of the language model; None for a random one.
        width: D, of the word features.
    """

    source: str | None
    width: int

    @property
    def sentence_projection(self) -> Tensor | None:
        """(S, D) for the last token; None where the first token is taken; (0, D) where there is no vector."""
        raise NotImplementedError

    @property
    def sentence_width(self) -> int:
        """S, of the sentence vectors.

        Raises:
            InputError: the language model has none: it is a decoder, or CLIP's without `text_projection`.
        """
        projection = self._checked_projection()
        return self.width if projection is None else len(projection)

    def sentences(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Word features as `forward` gives them, and their mask -> one vector a text.

        Args:
            tokens: (P, T, D) last hidden states, padded on the right.
            mask: (P, T) bool, True = real token; at least one a text.

        Returns:
            (P, S), not normalised.

        Raises:
            InputError: see `sentence_width`.
        """
        projection = self._checked_projection()
        if projection is None:
            return tokens[:, 0]
        last = (mask.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, tokens.shape[2])
        return F.linear(tokens.gather(1, last).squeeze(1), projection.to(tokens.dtype))

    def _checked_projection(self) -> Tensor | None:
        projection = self.sentence_projection
        if projection is not None and len(projection) == 0:
            raise InputError(
                f"{self.source or 'config'}: found a language model without sentence vectors, expected a "
                "BERT, or the text part of a CLIP with its weight text_projection; give the folder of one."
            )
        return projection


def projection_of(model: PreTrainedModel) -> Tensor | None:
    """See `SentenceVectors.sentence_projection`."""
    head = getattr(model, "text_projection", None)
    if head is not None:
        return head.weight
    # Where words see only those before them, the first token has read nothing.
    causal = any(getattr(module, "is_causal", False) for module in model.modules())
    if causal or model.config.model_type == CLIP_TEXT:
        return next(model.parameters()).new_empty(0, model.config.hidden_size)
    return None
