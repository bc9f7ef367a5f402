"""People followed through a clip by the memory of Meta's SAM 3, in one pass, whoever is known from which frame.

The package's own session takes every person in from one frame on, encodes frames one by one, and keeps all that it has
made of them. Here the frames are encoded once for everybody and for both directions of time, several at a time, and of
the past there stays what the model reads back (Ravi et al., SAM 2, 2024, section 4: a memory of the last frames, and
pointers to the objects in some more of them).
"""

from __future__ import annotations

import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

_THERE = 0.5  # probability that a person is in the frame, from which their mask counts
_NOWHERE = -20.0  # logit of a mask of nobody
_FEATURE_BYTES = 10.6e6  # of one frame's feature maps at 1008 pixels, in 16 bits
_FEWEST, _MOST = 32, 512  # frames whose features are held at once


class Found(NamedTuple):
    """What the tracker says of one person in one frame.

    Attributes:
        logits: float32 (h, w), low resolution; above 0 is the person.
        score: probability that they are there, 0..1.
    """

    logits: np.ndarray
    score: float


# ---- features


def room(device: str) -> int:
    """How many frames' features may be held on a device: a quarter of its free memory.

    Args:
        device: torch's name of it.
    """
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return _FEWEST
    return int(np.clip(0.25 * torch.cuda.mem_get_info()[0] / _FEATURE_BYTES, _FEWEST, _MOST))


class Features:
    """The frames of a clip after the vision encoder, handed out in an order that is known beforehand.

    Each frame is encoded once, together with those that come next, and is let go after its last use. Where more frames
    are wanted again later than there is room for, those wanted last are let go and encoded again.

    Args:
        encode: indices of frames -> the features of each.
        order: the indices that will be asked for, in that order.
        batch: frames encoded at a time.
        most: frames held at a time; at least `batch`.
    """

    def __init__(self, encode: Callable[[list[int]], list[Any]], order: Sequence[int], batch: int, most: int):
        self._encode, self._order = encode, list(order)
        self._batch, self._most = batch, max(batch, most)
        self._at = 0
        self._uses: dict[int, deque[int]] = defaultdict(deque)
        for position, index in enumerate(self._order):
            self._uses[index].append(position)
        self.held: dict[int, Any] = {}

    def next(self) -> Any:
        """The features of the next frame of the order."""
        index = self._order[self._at]
        if index not in self.held:
            wanted = self._missing()
            self.held.update(zip(wanted, self._encode(wanted), strict=True))
        found = self.held[index]
        self._uses[index].popleft()
        self._at += 1
        if not self._uses[index]:
            del self.held[index]
        while len(self.held) > self._most:
            del self.held[max(self.held, key=lambda i: self._uses[i][0])]
        return found

    def _missing(self) -> list[int]:
        """The next frame, and those after it that are not held, until the batch is full."""
        wanted: dict[int, None] = {}
        for index in self._order[self._at :]:
            if len(wanted) == self._batch:
                break
            if index not in self.held:
                wanted[index] = None
        return list(wanted)


# ---- groups


class Followed(Protocol):
    """Some people in one session or several, as a clip is gone through with them.

    Attributes:
        begin: the first frame that they are known in.
    """

    begin: int

    def step(self, index: int, features: Any, reverse: bool) -> dict[Hashable, Found]:
        """Everybody in the next frame.

        Args:
            index: of the frame; the first one is `begin`, and every other one is beside the one before it.
            features: of the frame.
            reverse: does time run backward?
        """
        ...

    def size_bytes(self) -> int:
        """Bytes of all tensors that are held."""
        ...


class Group:
    """People who are known in the same frames, in one session of the package: its batch.

    With people of other frames in it, the package would take everybody else's mask there for known too: an empty one
    of those who are not followed yet, and what it guessed of those who are, which makes their memory sure of a guess.

    Args:
        tracker: the package's tracker.
        state: a new session of it.
        seeds: index of a frame -> who -> their mask, as the tracker wants it; the same people in each.
        features: of those frames.
    """

    def __init__(
        self,
        tracker: Any,
        state: dict,
        seeds: Mapping[int, Mapping[Hashable, Any]],
        features: Mapping[int, Any],
    ):
        self._tracker, self._state = tracker, state
        self.begin = min(seeds)
        self.people = list(seeds[self.begin])
        state["cached_features"] = dict(features)
        for index in sorted(seeds):
            self._seed(index, [seeds[index][who] for who in self.people])
        tracker.propagate_in_video_preflight(state)
        # Which frames have inputs is asked again; what they were is not.
        for given in state["mask_inputs_per_obj"].values():
            given.update(dict.fromkeys(given))
        # Masks are wanted small: nothing is to be enlarged to the size of the video.
        state["video_height"] = state["video_width"] = tracker.low_res_mask_size
        state["cached_features"] = {}

    def _seed(self, index: int, masks: list[Any]) -> None:
        for number, mask in enumerate(masks):
            self._tracker.add_new_mask(self._state, index, number, mask)

    def step(self, index: int, features: Any, reverse: bool) -> dict[Hashable, Found]:
        """Everybody of the group in the next frame; see `Followed`."""
        self._state["cached_features"] = {index: features}
        steps = self._tracker.propagate_in_video(self._state, index, 0, reverse, tqdm_disable=True)
        _, numbers, low, _, scores = next(steps)
        steps.close()
        self._state["cached_features"] = {}
        self._prune(index, reverse)
        return found_of([self.people[int(number)] for number in numbers], low, scores)

    def answer(self, index: int, features: Any) -> dict[Hashable, Found]:
        """Everybody of the group in a frame after all the seeds, which leaves no trace."""
        state, tracker = self._state, self._tracker
        state["cached_features"] = {index: features}
        try:
            steps = tracker.propagate_in_video(state, index, 0, False, tqdm_disable=True, run_mem_encoder=False)
            _, numbers, low, _, scores = next(steps)
            steps.close()
            return found_of([self.people[int(number)] for number in numbers], low, scores)
        finally:
            state["cached_features"] = {}
            for outputs in (state["output_dict"], *state["output_dict_per_obj"].values()):
                outputs["non_cond_frame_outputs"].clear()
            state["frames_already_tracked"].pop(index, None)

    def _prune(self, index: int, reverse: bool) -> None:
        """Drop what is not read back. Results stay the same to the bit.

        Going back begins beside the frames that were passed first on the way forward: those stay until then.
        """
        state, tracker = self._state, self._tracker
        for outputs in state["output_dict_per_obj"].values():
            outputs["non_cond_frame_outputs"].clear()  # they would serve to correct one of several people
        kept = state["output_dict"]["non_cond_frame_outputs"]
        for at in list(kept):
            back = abs(index - at) if reverse else min(index - at, at - self.begin if self.begin else index)
            if back >= tracker.max_obj_ptrs_in_encoder:
                del kept[at]
                state["frames_already_tracked"].pop(at, None)
                continue
            kept[at]["pred_masks"] = None
            if back >= tracker.num_maskmem:
                kept[at]["maskmem_features"] = kept[at]["maskmem_pos_enc"] = None

    def size_bytes(self) -> int:
        """Bytes of all tensors that the session holds."""
        return sum(tensors_of(self._state).values())


def found_of(people: Sequence[Hashable], logits: Any, scores: Any) -> dict[Hashable, Found]:
    """The package's answer by person.

    Args:
        people: N of them.
        logits: (N, 1, h, w), on any device.
        scores: (N, 1), before the sigmoid.
    """
    small = logits.float().cpu().numpy().reshape(len(people), *logits.shape[-2:])
    sure = scores.float().sigmoid().cpu().numpy().reshape(len(people), -1)[:, 0]
    return {
        who: Found(mask if score >= _THERE else np.full_like(mask, _NOWHERE), float(score))
        for who, mask, score in zip(people, small, sure, strict=True)
    }


def tensors_of(value: Any, found: dict[int, int] | None = None) -> dict[int, int]:
    """Address of every block of memory that is held in nested dicts and lists of tensors -> its bytes."""
    found = {} if found is None else found
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | deque):
        for part in value:
            tensors_of(part, found)
    elif hasattr(value, "untyped_storage"):
        storage = value.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    return found


class Waiting:
    """What the way forward found of frames that the way back comes to again: a few kilobytes a person and frame."""

    def __init__(self) -> None:
        self._kept: dict[int, dict[Hashable, tuple[bytes, tuple[int, ...], float]]] = {}

    def put(self, index: int, found: Mapping[Hashable, Found]) -> None:
        """Keep what was found in a frame."""
        self._kept[index] = {
            who: (zlib.compress(one.logits.clip(-8, 8).astype(np.float16).tobytes(), 1), one.logits.shape, one.score)
            for who, one in found.items()
        }

    def pop(self, index: int) -> dict[Hashable, Found]:
        """What was found in a frame, and no longer kept; nothing where there is nothing."""
        return {
            who: Found(np.frombuffer(zlib.decompress(data), np.float16).astype(np.float32).reshape(shape), score)
            for who, (data, shape, score) in self._kept.pop(index, {}).items()
        }


# ---- the clip


class Plan(NamedTuple):
    """Who is known in which frames, and the way through a clip that follows from it.

    Attributes:
        groups: the frames that some people are known in, rising -> those people.
        first: the earliest frame that anybody is known in.
        last: the latest of the frames in which somebody is known first; the way back begins before it.
        frames: how many frames the clip has.
    """

    groups: dict[tuple[int, ...], list[Hashable]]
    first: int
    last: int
    frames: int

    @classmethod
    def of(cls, seeds: Mapping[int, Mapping[Hashable, Any]], count: int) -> Plan:
        """A plan for people who are known where their masks are.

        Args:
            seeds: index of a frame -> who is known there; at least one.
            count: frames of the clip.
        """
        known: dict[Hashable, list[int]] = {}
        for index in sorted(seeds):
            for who in seeds[index]:
                known.setdefault(who, []).append(index)
        groups: dict[tuple[int, ...], list[Hashable]] = {}
        for who, frames in known.items():
            groups.setdefault(tuple(frames), []).append(who)
        begins = [frames[0] for frames in groups]
        return cls(groups, min(begins), max(begins), count)

    def order(self) -> Iterator[int]:
        """The frames in the order in which their features are wanted."""
        for index in range(self.first, self.frames):
            for frames in self.groups:
                if frames[0] == index:
                    yield from frames[1:]
            yield index
        yield from range(self.last - 1, -1, -1)


class Following:
    """One way through a clip, forward and back; `steps` is to be gone through once.

    Args:
        plan: who is known where.
        features: of the frames, in the plan's order.
        begun: makes people to be followed out of {frame: {who: mask}} and {frame: features}.
        seeds: index of a frame -> who -> mask.
    """

    def __init__(
        self,
        plan: Plan,
        features: Features,
        begun: Callable[[dict[int, dict[Hashable, Any]], dict[int, Any]], Followed],
        seeds: Mapping[int, Mapping[Hashable, Any]],
    ):
        self._plan, self._features, self._begun, self._seeds = plan, features, begun, seeds
        self.groups: list[Followed] = []

    def steps(self) -> Iterator[Callable[[], tuple[int, dict[Hashable, Found]]]]:
        """Each step of the way, to be called: (frame, who was found there).

        A frame before the last seed is told on the way back, of everybody; on the way forward nobody is in it.
        """
        plan, waiting = self._plan, Waiting()

        def forward(index: int) -> tuple[int, dict[Hashable, Found]]:
            found = self._forward(index)
            if index >= plan.last:
                return index, found
            waiting.put(index, found)
            return index, {}

        def back(index: int) -> tuple[int, dict[Hashable, Found]]:
            features, found = self._features.next(), waiting.pop(index)
            for group in self.groups:
                if index < group.begin:
                    found |= group.step(index, features, True)
            return index, found

        for index in range(plan.first, plan.frames):
            yield lambda index=index: forward(index)  # type: ignore[misc]
        for index in range(plan.last - 1, -1, -1):
            yield lambda index=index: back(index)  # type: ignore[misc]

    def _forward(self, index: int) -> dict[Hashable, Found]:
        found: dict[Hashable, Found] = {}
        ahead = {
            frames: {at: self._features.next() for at in frames[1:]}
            for frames in self._plan.groups
            if frames[0] == index
        }
        features = self._features.next()
        for frames, seen in ahead.items():
            masks = {at: {who: self._seeds[at][who] for who in self._plan.groups[frames]} for at in frames}
            self.groups.append(self._begun(masks, seen | {index: features}))
        for group in self.groups:
            found |= group.step(index, features, False)
        return found

    def size_bytes(self) -> int:
        """Bytes of all tensors that are held: the sessions' and the features of frames to come."""
        return sum(group.size_bytes() for group in self.groups) + sum(tensors_of(self._features.held).values())
