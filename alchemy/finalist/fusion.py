"""Evidence and draft → a cited answer, in verified pieces, or an honest refusal."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from alchemy.errors import AlchemyError, ErrorCode
from alchemy.finalist import abstention, citations, prompts
from alchemy.finalist.evidence import Candidate, Choice, Evidence, candidates, choose
from alchemy.finalist.grounding import Grounding, SentenceStream, Support, bare
from alchemy.finalist.shape import asks_for_document
from alchemy.finalist.terms import content_words
from alchemy.logs import get_logger
from alchemy.protocols import ChatModel
from alchemy.types import Answer, Chunk, Citation, Draft, Passage, Release

Embed = Callable[[list[str]], Awaitable[np.ndarray]]
Read = Callable[[str, list[str], list[list[tuple[int, int]]]], Awaitable[list[np.ndarray]]]
"""As `protocols.Reader.read`."""
PROMPT = "finalist"
"""Key of the system prompt in `Release.prompts`."""
_PIECE = re.compile(r"\s*\S+(?:\s+\S{1,3}(?!\S))*")
_NEIGHBOUR_CHARS = 160
_MAX_REPLY_TOKENS = 400


@dataclass
class _Writer:
    """The answer while it grows: text sent so far and its citations."""

    text: str = ""
    cited: list[Citation] = field(default_factory=list)

    def number(self, citation: Citation) -> int:
        """The marker of a citation; the same quote keeps its number."""
        if citation not in self.cited:
            self.cited.append(citation)
        return self.cited.index(citation) + 1

    def pieces(self, text: str) -> Iterator[str]:
        """Record the text and cut it into the pieces a person sees appear."""
        self.text += text
        start = 0
        for match in _PIECE.finditer(text):
            yield text[start : match.end()]
            start = match.end()
        if start < len(text):
            yield text[start:]


class Fusion:
    """Answers one question at a time from its passages; safe for concurrent calls.

    Args:
        embed: texts → float32[n, d], L2-normalised.
        chat_model: writes the answer; None picks and quotes sentences instead.
        read: scores sentences in their passages; None where the release has no reader.
    """

    def __init__(
        self, embed: Embed, chat_model: ChatModel | None = None, read: Read | None = None
    ) -> None:
        self._embed = embed
        self._chat_model = chat_model
        self._read = read

    async def answer(
        self,
        question: str,
        passages: Sequence[Passage],
        draft: Draft | None,
        release: Release,
    ) -> AsyncIterator[str | Answer]:
        """Text pieces as they are verified, then the `Answer` whose text they make up.

        Raises:
            AlchemyError: CORRUPT for a release without a threshold, MODEL_UNAVAILABLE.
        """
        started = time.perf_counter()
        draft = _of_release(draft, release)
        evidence = await self.evidence(question, passages, draft)
        writer = _Writer()
        sure, choice = 0.0, None
        if evidence is not None:
            choice = choose(evidence, release.thresholds, release.id)
            sure = abstention.confidence(choice.features, release.thresholds, release.id)
            if sure >= abstention.threshold(release.thresholds, "abstain", release.id):
                if self._chat_model is None:
                    written = self._quote(evidence, choice, writer)
                else:
                    written = self._compose(self._chat_model, evidence, draft, release, writer)
                async for piece in written:
                    yield piece
        abstained = not writer.text
        if abstained:
            for piece in self._refuse(passages, choice, writer):
                yield piece
        if not citations.consistent(writer.text, writer.cited):
            raise AlchemyError(
                ErrorCode.INTERNAL, "the answer's markers do not match its citations"
            )
        yield Answer(
            id=uuid.uuid4().hex,
            question=question,
            text=writer.text,
            citations=tuple(writer.cited),
            confidence=round(sure, 4),
            abstained=abstained,
            release=release.id,
            adapter=release.adapter,
            adapter_digest=release.adapter_digest,
            timings={"fuse": round(time.perf_counter() - started, 4)},
        )

    async def evidence(
        self, question: str, passages: Sequence[Passage], draft: Draft | None
    ) -> Evidence | None:
        """The candidate sentences, scored in one call to the embedder and one to the reader; or None."""
        weighed, found = candidates(question, passages)
        if not found:
            return None
        guess = [draft.text] if draft is not None and draft.text.strip() else []
        vectors, reading = await asyncio.gather(
            self._embed([question, *guess, *(c.unit.text for c in found)]),
            self._reading(question, passages, found),
        )
        own = vectors[1 + len(guess) :]
        agreement = own @ vectors[1] if guess else np.zeros(len(found), dtype=np.float32)
        return Evidence(weighed, passages, found, own, own @ vectors[0], agreement, reading)

    async def _reading(
        self, question: str, passages: Sequence[Passage], found: Sequence[Candidate]
    ) -> np.ndarray | None:
        """The reader's score of each candidate."""
        if self._read is None:
            return None
        places = sorted({candidate.place for candidate in found})
        spans = [[(c.unit.start, c.unit.end) for c in found if c.place == n] for n in places]
        read = await self._read(question, [passages[n].chunk.text for n in places], spans)
        scores = np.zeros(len(found), dtype=np.float32)
        for place, own in zip(places, read, strict=True):
            scores[[i for i, c in enumerate(found) if c.place == place]] = own
        return scores

    async def _quote(
        self, evidence: Evidence, choice: Choice, writer: _Writer
    ) -> AsyncIterator[str]:
        """The chosen sentences, each verified against its chunk before it is sent."""
        document = None
        by_name = asks_for_document(evidence.question.text)
        for group in _grouped(choice.picked):
            chunk = evidence.passages[group[0].place].chunk
            quote = chunk.text[group[0].unit.start : group[-1].unit.end]
            for candidate in group:
                whole = citations.verify(candidate.unit.text, chunk)
                if not whole or candidate.unit.text not in quote:
                    raise AlchemyError(ErrorCode.INTERNAL, f"a quote is not in {chunk.id!r}")
            number = writer.number(citations.cite(chunk, quote))
            gap = "" if document is None else " " if document == chunk.document_id else "\n\n"
            said = _said(group)
            if by_name and document != chunk.document_id:
                said = _introduced(chunk, said)
            document = chunk.document_id
            for piece in writer.pieces(f"{gap}{said} [{number}]"):
                yield piece

    async def _compose(
        self,
        model: ChatModel,
        evidence: Evidence,
        draft: Draft | None,
        release: Release,
        writer: _Writer,
    ) -> AsyncIterator[str]:
        """The language model's reply, without the sentences that no passage carries."""
        if PROMPT not in release.prompts:
            raise AlchemyError(
                ErrorCode.CORRUPT,
                f"release {release.id!r} has no prompt {PROMPT!r}",
                "Run the stages evaluate and release again.",
            )
        messages = prompts.fusion_messages(
            release.prompts[PROMPT], evidence.question.text, evidence.passages, draft
        )
        grounding = Grounding(list(evidence.passages), evidence.candidates, evidence.vectors)
        sentences = SentenceStream()
        dropped = 0

        async def checked(sentence: str) -> list[str]:
            nonlocal dropped
            plain = bare(sentence)
            if not plain or plain.strip(".") == prompts.UNKNOWN:
                return []
            vector = (await self._embed([plain]))[0]
            supports = grounding.supports(sentence, vector)
            if not supports:
                dropped += 1
                return []
            return list(writer.pieces(self._grounded(sentence, supports, evidence, writer)))

        async for part in model.stream(messages, max_new_tokens=_MAX_REPLY_TOKENS):
            for sentence in sentences.feed(part):
                for piece in await checked(sentence):
                    yield piece
        for sentence in sentences.end():
            for piece in await checked(sentence):
                yield piece
        if dropped:
            get_logger().info("fusion.sentences_dropped", release=release.id, count=dropped)

    @staticmethod
    def _grounded(
        sentence: str, supports: list[Support], evidence: Evidence, writer: _Writer
    ) -> str:
        """The sentence with our markers instead of the model's."""
        numbers = []
        for support in supports:
            chunk = evidence.passages[support.place].chunk
            quote = support.candidate.unit.text
            if citations.verify(quote, chunk):
                numbers.append(writer.number(citations.cite(chunk, quote)))
        lead = "" if not writer.text else "\n" if sentence.startswith("\n") else " "
        return f"{lead}{bare(sentence)} " + "".join(f"[{n}]" for n in dict.fromkeys(numbers))

    @staticmethod
    def _refuse(
        passages: Sequence[Passage], choice: Choice | None, writer: _Writer
    ) -> Iterator[str]:
        """The refusal, citing the closest source."""
        closest = passages[choice.best.place] if choice is not None else None
        if closest is not None and choice is not None:
            writer.number(citations.cite(closest.chunk, choice.best.unit.text))
        return writer.pieces(abstention.refusal(passages, closest))


def _grouped(picked: Sequence[Candidate]) -> list[list[Candidate]]:
    """Neighbours in one chunk share a citation; its quote spans them."""
    groups: list[list[Candidate]] = []
    for candidate in picked:
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.place == candidate.place
            and 0 <= candidate.unit.start - last.unit.end <= _NEIGHBOUR_CHARS
        ):
            groups[-1].append(candidate)
        else:
            groups.append([candidate])
    return groups


def _said(group: Sequence[Candidate]) -> str:
    """The sentences of a group as one text; fields and items are set apart."""
    text = ""
    for candidate in group:
        sentence = citations.shown(candidate.unit.text, candidate.unit.kind)
        closed = not text or text[-1] in ".!?:;。！？`"
        text += ("" if not text else " " if closed else "; ") + sentence
    return text


def _introduced(chunk: Chunk, said: str) -> str:
    """The name of the document before what it says, unless that is its title anyway."""
    name = citations.named(chunk)
    if content_words(said) == content_words(chunk.title):
        return name
    return f"{name}{'' if name[-1] in '.!?。！？' else '.'} {said}"


def _of_release(draft: Draft | None, release: Release) -> Draft | None:
    """The draft, unless another adapter wrote it: releases are never mixed in an answer."""
    if draft is None or draft.digest == release.adapter_digest:
        return draft
    get_logger().warning(
        "fusion.foreign_draft", release=release.id, expected=release.adapter, got=draft.adapter
    )
    return None
