"""transformers' SAM 3 video models where they leave Meta's own code, which the weights were trained with.

Without real weights it can be tested that these do what Meta's code does; what it is worth in masks cannot.
"""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np

_Library: Any = object  # a class of transformers', once it is loaded: see `mend`


def mend(whole: Any) -> None:
    """Let a loaded model follow words, and its tracker people, as these do.

    Args:
        whole: transformers' `Sam3VideoModel`; its own class and that of its tracker are changed.
    """
    for model, mends in ((whole, WordMends), (whole.tracker_model, TrackerMends)):
        library = type(model)
        model.__class__ = type(library.__name__, (mends, library), {})  # the library looks things up by this name


def viewed(model: Any, **settings: Any) -> Any:
    """The same weights with other settings, which nobody else who uses the model sees.

    Args:
        model: a torch module; it is left as it is.
        settings: attributes of the copy; a module among them takes a part's place.
    """
    view = copy.copy(model)
    view.__dict__.update(settings)  # by setattr a module would be registered with the original, which shares the table
    return view


class TrackerMends(_Library):
    """`Sam3TrackerVideoModel`, with four differences to transformers 5.23:

    A seed's object pointer is made by the single-mask head (`_forward_sam_heads` without `multimask_output` in Meta's
    `sam3_tracker_base.py`), where transformers takes the best of three. A seed is kept at four times the mask decoder's
    resolution (`input_mask_size`), where transformers shrinks it to the picture's side first. Only the person who is
    seeded has their memory made of a hard mask; transformers hardens everybody's in that frame. People whose memories
    are equally long go through memory attention and mask decoder together, after `look_ahead`; transformers takes them
    one by one.

    On enlarged random weights the two pointers have a cosine of about .93; how much better either follows a person
    takes the published weights to say.
    """

    def _single_frame_forward(self, *given: Any, **named: Any) -> Any:
        if named.get("input_masks") is not None and named.get("input_points") is None:
            named.setdefault("multimask_output", False)
        return super()._single_frame_forward(*given, **named)

    def look_ahead(self, session: Any, frame: int) -> None:
        """Work out what everybody followed is in a frame, in as few passes as may be; `forward` then finds it there.

        Args:
            session: of the people; those who are seeded in the frame are left to `forward`.
            frame: its index; its features are in the session's cache.
        """
        groups: dict[tuple[int, int], list[tuple[int, Any, Any]]] = {}
        for row in range(session.get_obj_num()):
            seeded = session.obj_idx_to_id(row) in session.obj_with_new_inputs
            if not seeded and frame not in session.output_dict_per_obj[row]["cond_frame_outputs"]:
                memory, places, pointers = self._memory_of(session, row, frame)
                groups.setdefault((len(memory), pointers), []).append((row, memory, places))
        session.ahead = {}
        for (_, pointers), group in groups.items():
            if len(group) > 1:
                found = self._together(session, frame, group, pointers)
                session.ahead.update(zip((row for row, _, _ in group), found, strict=True))

    def _memory_of(self, session: Any, row: int, frame: int) -> tuple[Any, Any, int]:
        """(memory (L, 1, C), the codes of its places, of these how many are pointers), as transformers puts them
        together for one object (`_prepare_memory_conditioned_features`)."""
        import torch

        device = session.inference_device
        before = self._gather_memory_frame_outputs(session, row, frame, False)
        memories, places = self._build_memory_attention_inputs(before, device)
        offsets, tokens, most = self._get_object_pointers(session, row, frame, session.num_frames, device, False, True)
        pointers = 0
        if tokens:
            found, codes = self._process_object_pointers(offsets, tokens, most, 1, self.hidden_dim, device)
            memories.append(found)
            places.append(codes)
            pointers = len(found)
        return torch.cat(memories).to(session.dtype), torch.cat(places), pointers

    def _together(self, session: Any, frame: int, group: list[tuple[int, Any, Any]], pointers: int) -> list[dict]:
        """What `_run_single_frame_inference` says of each of some objects with equally long memories."""
        import torch

        count, sizes = len(group), self.backbone_feature_sizes
        seen, codes = self._prepare_vision_features(session, frame, 1)
        flat = self.memory_attention(
            current_vision_features=seen[-1].expand(-1, count, -1),
            current_vision_position_embeddings=codes[-1].expand(-1, count, -1),
            memory=torch.cat([memory for _, memory, _ in group], 1),
            memory_posision_embeddings=torch.cat([places for _, _, places in group], 1),
            num_object_pointer_tokens=pointers,
        )
        own = flat.squeeze(0).transpose(1, 2).reshape(count, self.hidden_dim, *sizes[-1])
        shared = [x.permute(1, 2, 0).reshape(1, x.size(2), *s) for x, s in zip(seen[:-1], sizes[:-1], strict=True)]
        nowhere = torch.zeros(count, 1, 1, 2, dtype=own.dtype, device=own.device)
        sparse, dense = self.prompt_encoder(nowhere, -torch.ones(count, 1, 1, dtype=torch.int32, device=own.device),
                                            None, None)  # fmt: skip
        many = self._use_multimask(False, None)
        decoded = self.mask_decoder(
            image_embeddings=own,
            image_positional_embeddings=self.get_image_wide_positional_embeddings().repeat(count, 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=many,
            high_resolution_features=[x.expand(count, -1, -1, -1) for x in shared],
        )
        return [
            self._chosen([part[i : i + 1] for part in decoded], [*shared, own[i : i + 1]], many) for i in range(count)
        ]

    def _chosen(self, decoded: list[Any], maps: list[Any], many: bool) -> dict[str, Any]:
        """One object's part of what was decoded for several, chosen from by transformers itself."""
        told = viewed(self, mask_decoder=lambda **_: decoded)
        out = super(TrackerMends, told)._single_frame_forward(image_embeddings=maps, multimask_output=many)
        names = ("pred_masks", "object_pointer", "high_res_masks", "object_score_logits")
        return {name: getattr(out, name) for name in names}

    def _run_single_frame_inference(self, inference_session: Any, *given: Any, **named: Any) -> dict[str, Any]:
        known = getattr(inference_session, "ahead", {}).pop(named.get("obj_idx"), None)
        if known is not None:
            return known
        return super()._run_single_frame_inference(inference_session, *given, **named)

    def _use_mask_as_output(self, *given: Any, **named: Any) -> Any:
        seeding = viewed(self, image_size=4 * self.prompt_encoder.mask_input_size[0])
        return super(TrackerMends, seeding)._use_mask_as_output(*given, **named)

    def _batch_encode_memories(
        self,
        inference_session: Any,
        frame_idx: int,
        objects_needing_memory_encoding: list[int],
        high_res_masks_for_memory: list[Any],
        object_score_logits_for_memory: list[Any],
        is_mask_from_pts_per_obj: list[bool],
    ) -> None:
        for hard in (False, True):
            rows = [i for i, given in enumerate(is_mask_from_pts_per_obj) if bool(given) == hard]
            if rows:
                super()._batch_encode_memories(
                    inference_session,
                    frame_idx,
                    [objects_needing_memory_encoding[i] for i in rows],
                    [high_res_masks_for_memory[i] for i in rows],
                    [object_score_logits_for_memory[i] for i in rows],
                    [hard] * len(rows),
                )


class WordMends(_Library):
    """`Sam3VideoModel`, with three differences to transformers 5.23:

    Duplicate detections go, and holes and specks of all masks, whether or not the optional `kernels` package
    is installed; without it transformers keeps them, with a warning. A new object does not have those that are followed
    already tracked again and their memory of that frame written over: Meta's code adds it to a state of its own.
    """

    def run_detection(self, inference_session: Any, vision_embeds: Any) -> dict:
        """What the detector finds for each phrase, less duplicates; see `Sam3VideoModel`."""
        found = super().run_detection(inference_session, vision_embeds)
        if self.det_nms_thresh > 0:
            for phrase, one in found.items():
                keep = distinct(one["mask"] > 0, one["scores"], self.det_nms_thresh)
                found[phrase] = {name: values[keep] for name, values in one.items()}
        return found

    def run_tracker_propagation(self, inference_session: Any, frame_idx: int, reverse: bool) -> tuple:
        """The next masks of everything followed, tidied; see `Sam3VideoModel`."""
        masks, scores = super().run_tracker_propagation(inference_session, frame_idx, reverse)
        return _tidied(masks, self.fill_hole_area), scores

    def build_outputs(
        self,
        inference_session: Any,
        det_out: dict,
        tracker_low_res_masks_global: Any,
        tracker_update_plan: dict,
        *given: Any,
        **named: Any,
    ) -> dict:
        """The masks of a frame, those of new objects tidied; see `Sam3VideoModel`."""
        found = super().build_outputs(
            inference_session, det_out, tracker_low_res_masks_global, tracker_update_plan, *given, **named
        )
        for number in map(int, tracker_update_plan["new_det_obj_ids"]):
            found[number] = _tidied(found[number], self.fill_hole_area)
        return found

    def _tracker_add_new_objects(self, inference_session: Any, frame_idx: int, *given: Any, **named: Any) -> None:
        outputs, tracked = inference_session.output_dict_per_obj, inference_session.frames_tracked_per_obj
        known = {row: {kind: frames.get(frame_idx) for kind, frames in parts.items()} for row, parts in outputs.items()}
        known = {row: {k: None if o is None else dict(o) for k, o in parts.items()} for row, parts in known.items()}
        before = {row: frames.get(frame_idx) for row, frames in tracked.items()}
        super()._tracker_add_new_objects(inference_session, frame_idx, *given, **named)
        for row, parts in known.items():
            for kind, output in parts.items():
                _put_back(outputs[row][kind], frame_idx, output)
            _put_back(tracked[row], frame_idx, before[row])


def _put_back(table: dict, key: int, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def distinct(masks: Any, scores: Any, most: float) -> Any:
    """Indices, rising, of the masks that are left when of two that overlap the surer stays (greedy suppression).

    Args:
        masks: bool (N, h, w).
        scores: float (N,).
        most: IoU above which two masks are one.
    """
    flat = masks.flatten(1).float()
    shared = flat @ flat.T
    areas = flat.sum(1)
    iou = (shared / (areas[:, None] + areas - shared).clamp(min=1)).cpu().numpy()
    kept: list[int] = []
    for i in scores.float().argsort(descending=True, stable=True).tolist():
        if all(iou[i, other] <= most for other in kept):
            kept.append(i)
    return scores.new_tensor(sorted(kept)).long()


def _tidied(masks: Any, largest: int) -> Any:
    """Logits (N, h, w) without holes and specks of up to `largest` pixels (specks: no more than half of the mask), as
    `fill_holes_in_mask_scores` does it with the optional package."""
    if largest <= 0 or not len(masks):
        return masks
    import torch

    inside = (masks > 0).cpu().numpy()
    holes = np.stack([_small(~one, largest) for one in inside])
    inside |= holes
    specks = np.stack([_small(one, min(largest, int(np.count_nonzero(one)) // 2)) for one in inside])
    device = masks.device
    masks = masks.masked_fill(torch.from_numpy(holes).to(device), 0.1)
    return masks.masked_fill(torch.from_numpy(specks).to(device), -0.1)


def _small(where: np.ndarray, largest: int) -> np.ndarray:
    """The parts (8-connected) of a bool (h, w) of no more than `largest` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(where.astype(np.uint8))
    small = stats[:, cv2.CC_STAT_AREA] <= largest
    small[0] = False
    return small[labels]
